--- An app for the tests of the lane: every action shows one way to go wrong, or one thing
-- that an app can ask.
local dirty = require("dirty")
local ffi = require("ffi")

local Trouble = dirty.app()

function Trouble:init(options)
    self.options = options
    self.count = 0
end

function Trouble:_private()
    return "not for callers"
end

-- Of each length: that a name is hidden is told by its length, too.
for _, name in ipairs { "_", "_2", "_33", "_444", "_5555", "_66666", "_777777" } do
    Trouble[name] = Trouble._private
end

Trouble.not_a_function = 42

function Trouble:option(name)
    return self.options[name]
end

function Trouble:warm()
    self.count = self.count + 1
    return self.count
end

-- -- Errors -----------------------------------------------------------------------------

local OBJECTS = {
    ["a table"] = { code = 7, why = "so" },
    ["a message"] = { message = "told by its field" },
    ["tostring"] = setmetatable({}, { __tostring = function() return "told by itself" end }),
    ["bad tostring"] = setmetatable({}, { __tostring = function() error("worse") end }),
    ["no json"] = { f = print },
    ["true"] = true,
    ["number"] = 12,
    ["function"] = print,
    ["cdata"] = ffi.new("int64_t", 5),
}

function Trouble:raise(name)
    error(OBJECTS[name])
end

function Trouble:nil_err(...)
    return nil, ...
end

function Trouble:overflow()
    local function down(n)
        return 1 + down(n + 1)
    end
    return down(1)
end

function Trouble:long_error(n)
    error(("x"):rep(n), 0)
end

function Trouble:memory()
    local t = {}
    for i = 1, 1e9 do
        t[i] = ("x"):rep(2 ^ 24) .. i
    end
    return #t
end

-- -- Results ----------------------------------------------------------------------------

local cycle = {}
cycle.me = cycle

local deep = {}
for _ = 1, 1001 do
    deep = { deep }
end

local RESULTS = {
    ["function inside"] = { rows = { 1, 2, { fn = print } } },
    ["odd key"] = { ["a b"] = { coroutine.create(print) } },
    ["nan"] = 0 / 0,
    ["inf inside"] = { x = math.huge },
    ["cycle"] = cycle,
    ["deep"] = deep,
    ["sparse"] = { 1, [100] = 2 },
    ["bad key"] = { [true] = 1 },
    ["cdata"] = ffi.new("int64_t", 5),
    ["thread"] = coroutine.create(print),
    ["userdata"] = io.stdout,
}

function Trouble:result(name)
    return "fine", RESULTS[name]
end

function Trouble:nothing() end

function Trouble:numbers()
    return 0, -0.0, 1, -1, 0.1, 1e15, 2 ^ 53, 2 ^ 53 + 2, 1e300, -2.5e-10
end

function Trouble:nulls()
    return dirty.null, { dirty.null }, {}, { {} }
end

function Trouble:bytes(n)
    return ("b"):rep(n)
end

function Trouble:many(n)
    return unpack({}, 1, n)
end

function Trouble:rows(n)
    local rows = {}
    for i = 1, n do
        rows[i] = { id = i }
    end
    return rows
end

-- -- Streams ----------------------------------------------------------------------------

function Trouble:generator(n)
    return coroutine.wrap(function()
        for i = 1, n do
            coroutine.yield("item", i)
        end
    end)
end

function Trouble:pairs_of(t)
    return ipairs(t)
end

function Trouble:stream_error(kind)
    local i = 0
    return function()
        i = i + 1
        if i < 3 then
            return i
        elseif kind == "raise" then
            error("the third chunk")
        elseif kind == "nil" then
            return nil, "no third chunk"
        end
        return print
    end
end

function Trouble:endless(bytes)
    local chunk = ("c"):rep(bytes)
    return function()
        return chunk
    end
end

-- -- The request ------------------------------------------------------------------------

function Trouble:request()
    local r = dirty.request
    return {
        id = r.id,
        app = r.app,
        action = r.action,
        metadata = r.metadata,
        has_deadline = r.deadline ~= nil,
        in_future = r.deadline and r.deadline > os.time() - 1,
        pid = r.pid,
        uid = r.uid,
        remaining = dirty.remaining(),
    }
end

function Trouble:bad_field()
    return dirty.request.no_such_field
end

function Trouble:write_field()
    dirty.request.id = 5
end

function Trouble:until_late(catch)
    local function loop()
        while true do
            dirty.check()
        end
    end
    if catch then
        local _, err = pcall(loop)
        return tostring(err)
    end
    loop()
end

function Trouble:log()
    dirty.log.warn("from the app", { n = 1, text = "two words" })
end

function Trouble:set_global()
    rawset(_G, "ignored", nil)
    a_new_global = 1 -- luacheck: ignore
    return true
end

function Trouble:own_call(...)
    return self:call("warm", ...)
end

function Trouble:own_call_private()
    return self:call("_private")
end

function Trouble:close()
    io.stderr:write("trouble closed\n")
    error("even that fails")
end

return Trouble
