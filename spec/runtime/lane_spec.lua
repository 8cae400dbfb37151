-- What an app does to the Lua state that it shares with the other apps of its lane, on the
-- running system: the others, and the runtime's own Lua, must not notice.
local raw = require "support.raw"
local runtime = require "support.runtime"
local wire = require "dirty.wire"

local codec = wire.new()

local GUEST = [[
local guest = {}
function guest:hook(event)
    debug.sethook(function() error("the guest's hook") end, event or "", event and 0 or 1)
    return "set"
end
function guest:hook_and_raise()
    pcall(self.hook, self)
    error { code = 7 }
end
function guest:hook_a_stream()
    local i = 0
    return function()
        i = i + 1
        if i == 2 then debug.sethook(function() error("the guest's hook") end, "l") end
        if i < 4 then return i end
    end
end
function guest:count_lines()
    local n = 0
    debug.sethook(function() n = n + 1 end, "l")
    local a = 1
    a = a + 1
    debug.sethook()
    return n
end
return guest]]

local HOST = [[
local host, error = {}, error
function host:raise(x) error(x) end
function host:bad() return { rows = { self.bad } } end
function host:late() while true do end end
return host]]

local function start(files, config)
    return runtime.start { files = files, config = config }
end

-- Every way in which the runtime's own Lua runs for another app of the lane.
local function expect_well(rt, app)
    local function answer(...)
        local _, err, info = rt:call(app, ...)
        return err, info
    end
    assert.equal("value", rt:call("apps.echo", "echo", "value"))
    assert.same({ a = { 1 } }, rt:call("apps.echo", "echo", { a = { 1 } }))
    local err, info = answer("raise", { code = 9 })
    assert.equal("APP", info.code)
    assert.truthy(err:find('error object: {"code":9}', 1, true), err)
    assert.same({ code = 9 }, info.error)
    err, info = answer("raise", "plain")
    assert.equal("APP", info.code)
    assert.truthy(err:find(": plain", 1, true), err)
    assert.truthy(info.traceback:find("in function", 1, true), info.traceback)
    err, info = answer("bad")
    assert.equal("APP", info.code)
    assert.truthy(err:find("result 1: .rows[1] is a function", 1, true), err)
    err, info = answer("rasie")
    assert.equal("ACTION_NOT_FOUND", info.code)
    assert.truthy(err:find("did you mean 'raise'?", 1, true), err)
    assert.equal("raise", info.nearest)
end

describe("a debug hook that an app sets", function()
    local rt
    setup(function()
        rt = start({ ["guest.lua"] = GUEST, ["host.lua"] = HOST },
            [[workers = 1; apps = { "guest", "host", "apps.echo" }]])
    end)
    teardown(function() rt:close() end)

    it("is removed when its call is over", function()
        for _, event in ipairs { false, "l", "c", "r" } do
            rt:call("guest", "hook", event or nil)
            expect_well(rt, "host")
        end
    end)

    it("does not run while the app's error is described", function()
        local _, err, info = rt:call("guest", "hook_and_raise")
        assert.equal("APP", info.code)
        assert.truthy(err, err)
        expect_well(rt, "host")
    end)

    it("is removed after a step of a stream", function()
        local connection = raw.connect(rt.socket)
        assert(connection:send(table.concat((assert(codec:encode_request(1, { app = "guest",
            action = "hook_a_stream", budget_ms = 5000 }, {}, 0))))))
        assert.equal(codec.CHUNK, (connection:frame()))
        local kind = connection:frame() -- the hook has it, or nobody
        connection:close()
        assert.is_true(kind == codec.CHUNK or kind == codec.ERROR)
        expect_well(rt, "host")
    end)

    it("works during the call", function()
        assert.is_true(rt:call("guest", "count_lines") >= 2)
    end)

    it("does not disturb interrupts", function()
        rt:call("guest", "hook", "l")
        local _, err, info = rt:client { timeout = 0.1 }:execute("host", "late")
        assert.equal("TIMEOUT", info.code, err)
        expect_well(rt, "host")
    end)
end)

-- What an app can do to what all Lua of the lane shares.
local VANDAL = [[
local vandal = {}
local keep = { pairs = pairs, type = type, tostring = tostring, require = require }
function vandal:globals()
    for _, name in ipairs { "type", "pcall", "xpcall", "error", "tostring", "getmetatable",
        "setmetatable", "pairs", "ipairs", "select", "unpack", "rawset", "next", "require" } do
        _G[name] = nil
    end
    return "gone"
end
function vandal:functions()
    for _, lib in keep.pairs { string, table, math, debug, package } do
        for name, f in keep.pairs(lib) do
            if keep.type(f) == "function" then
                lib[name] = function() return nil end
            end
        end
    end
    return "gone"
end
function vandal:libraries()
    _G.string, _G.table, _G.math, _G.debug, _G.package, _G.io = nil, nil, nil, nil, nil, nil
    return "gone"
end
function vandal:strings()
    local mt = debug.getmetatable("")
    mt.__index = function() return function() return nil end end
    mt.__metatable = false
    return "gone"
end
return vandal]]

describe("an app that breaks shared Lua libraries", function()
    for _, way in ipairs { "globals", "functions", "libraries", "strings" } do
        it("does not break the errors of other apps: its " .. way, function()
            local rt = start({ ["vandal.lua"] = VANDAL, ["host.lua"] = HOST }, [[
                workers = 1
                apps = { "vandal", "host", "apps.echo" }]])
            finally(function() rt:close() end)
            assert.equal("gone", rt:call("vandal", way))
            expect_well(rt, "host")
            assert.is_nil(rt:log():find("can't describe an app's error", 1, true), rt:log())
        end)
    end
end)

describe("a value that is not JSON", function()
    local rt
    setup(function() rt = start(nil, [[workers = 1; threads = 2; apps = { "apps.echo" }]]) end)
    teardown(function() rt:close() end)

    it("gets a plain error message", function()
        for text, words in pairs {
            ["[1,"] = "argument 1 is not JSON: Expected value but found the end at character 4",
            ["[1 2]"] = "but found a number",
            ["{]"] = "but found ']'",
        } do
            local connection = raw.connect(rt.socket)
            local value = "j" .. ("\0\0\0%c"):format(#text) .. text
            local route = ("\0\0\0\0\0\0\0\1%c\4apps.echoecho"):format(#"apps.echo")
            assert(connection:send(("DW\1\1\0\0\0%c\0\0\0\0\0\0\0\7")
                :format(#route + #value) .. route .. value))
            local kind, _, said = connection:frame()
            connection:close()
            assert.equal(codec.ERROR, kind)
            assert.truthy(said.message:find(words, 1, true), said.message)
        end
    end)
end)

describe("the highest limits that can be set", function()
    local rt
    setup(function()
        rt = start({ ["deep.lua"] = [[
local deep = {}
function deep:nest(n, key)
    local t = {}
    for _ = 1, n do t = { [key] = t } end
    return t
end
function deep:depth(t)
    local n = 0
    while t do t, n = t[1] or t.a, n + 1 end
    return n
end
return deep]] }, [[
            workers = 1
            max_args = 4096
            max_depth = 2000
            apps = { "apps.echo", "deep" }]])
    end)
    teardown(function() rt:close() end)

    it("hold for arguments and results", function()
        local list = {}
        for i = 1, 4096 do
            list[i] = i % 2 == 0 and i or { i }
        end
        local got = { rt:call("apps.echo", "echo", unpack(list)) }
        assert.equal(4096, #got, tostring(got[2]))
        assert.same(list, got)
    end)

    it("hold for the depth of arguments and results", function()
        local client = rt:client { max_depth = 2000 }
        for _, key in ipairs { 1, "a" } do
            local nested, err = client:execute("deep", "nest", 1999, key)
            assert.is_nil(err)
            assert.equal(2000, (client:execute("deep", "depth", nested)))
        end
    end)

    it("are named when they are exceeded", function()
        for _, depth in ipairs { 2000, 5000, 20000 } do
            for _, key in ipairs { 1, "a" } do
                local _, err = rt:call("deep", "nest", depth, key)
                assert.truthy(err:find("^APP: result 1: "), err:sub(1, 200))
                assert.truthy(err:find("is nested deeper than max_depth (2000)", 1, true),
                    err:sub(-200))
            end
        end
    end)
end)

describe("an app that calls its own actions by name", function()
    it("gets what a caller would get, refusals included", function()
        local rt = start({ ["own.lua"] = [[
            local own = {}
            function own:add(a, b) return a + b end
            function own:_hidden() return "hidden" end
            function own:pass(...) return self:call(...) end
            return own]] }, "apps = { 'own' }")
        finally(function() rt:close() end)
        assert.equal(5, (rt:call("own", "pass", "add", 2, 3)))
        for _, action in ipairs { "nothing", "_hidden" } do
            local _, _, info = rt:call("own", "pass", action)
            assert.equal("ACTION_NOT_FOUND", info.code)
        end
        assert.equal(5, (rt:call("own", "add", 2, 3)))
    end)
end)
