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
local host = {}
function host:raise(x) error(x) end
function host:bad() return { rows = { print } } end
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

describe("a hook that an app sets", function()
    local rt
    setup(function()
        rt = start({ ["guest.lua"] = GUEST, ["host.lua"] = HOST },
            [[workers = 1; apps = { "guest", "host", "apps.echo" }]])
    end)
    teardown(function() rt:close() end)

    it("is gone when its call is over", function()
        for _, event in ipairs { false, "l", "c", "r" } do
            rt:call("guest", "hook", event or nil)
            expect_well(rt, "host")
        end
    end)

    it("does not meet what tells the app's own error", function()
        local _, err, info = rt:call("guest", "hook_and_raise")
        assert.equal("APP", info.code)
        assert.truthy(err, err)
        expect_well(rt, "host")
    end)

    it("is gone after the step of a stream", function()
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

    it("leaves interrupts as they are", function()
        rt:call("guest", "hook", "l")
        local _, err, info = rt:client { timeout = 0.1 }:execute("host", "late")
        assert.equal("TIMEOUT", info.code, err)
        expect_well(rt, "host")
    end)
end)
