-- A whole course of the runtime: start, mixed load, reload, crash, scale, load, stop. A short
-- form of it runs here; `make tsan` and `make memcheck` run it where what the processes do to
-- memory is watched, and any word of the watchers makes it fail.
local load = require "support.load"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local wait = require "support.wait"

local APP = [[
    local dirty = require "dirty"
    local App = dirty.app {}
    function App:init() self.calls = 0 end
    function App:count() self.calls = self.calls + 1 return self.calls end
    function App:tokens(n)
        return function()
            n = n - 1
            return n >= 0 and ("token %d"):format(n) or nil
        end
    end
    function App:endless() while true do end end
    function App:crash() os.exit(3) end
    function App:close() end
    return App]]

-- Programs that watch the runtime, by their name in DIRTY_WATCH, and what they say of a fault.
local WATCHERS = {
    -- lax-ioctls: it does not know SIOCUNIXFILE, by which the socket's file is found
    memcheck = { "valgrind", "--quiet", "--trace-children=yes", "--child-silent-after-fork=no",
        "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite",
        "--errors-for-leak-kinds=definite", "--sim-hints=lax-ioctls" },
}
local FAULTS = { "ThreadSanitizer", "AddressSanitizer", "runtime error:", "==%d+== %a" }

local WATCH = os.getenv("DIRTY_WATCH")
local CALLERS = WATCH and 4 or 3
local BIG = ("x"):rep(300000)

-- Every call has to have the outcome that its turn calls for.
local function take_turn(client, number, n)
    local turn = (number + n) % 6
    if turn == 0 then
        local value, err = client:execute("apps.echo", "echo", BIG)
        return value == BIG or nil, err or "another payload"
    elseif turn == 1 then
        local _, err, info = client:execute("apps.echo", "fail", "on purpose")
        return info and info.code == "APP" or nil, err
    elseif turn == 2 then
        local stream, err = client:stream("app", "tokens", 20)
        if not stream then
            return nil, err
        end
        local count = 0
        for token in stream do
            count = count + (token:find("^token") and 1 or 0)
        end
        return count == 20 or nil, stream.err or "not all tokens"
    elseif turn == 3 then
        local _, err, info = client:with({ timeout = 0.05 }):execute("app", "endless")
        return info and info.code == "TIMEOUT" or nil, err
    end
    return client:execute("app", "count")
end

-- Give the callers time until each has had so many further calls answered.
local function answered(rt, count)
    local before = rt:status().counters.values
    wait.until_true(function() return rt:status().counters.values >= before + count end, 60,
        count .. " answers")
end

local function reload(rt)
    local number = rt:status().reload.number
    rt:signal(signal.SIGHUP)
    wait.until_true(function()
        local r = rt:status().reload
        return r.number > number and r.state == "idle"
    end, 60, "the end of a reload")
    assert.equal("done", rt:status().reload.result)
end

describe("the life of a runtime", function()
    it("works as expected: start, load, reload, crash, scale, stop", function()
        local rt = runtime.start { apps = { "apps.echo", "app" }, files = { ["app.lua"] = APP },
            args = { "--workers", "2", "--threads", "4" }, wrap = WATCHERS[WATCH], seconds = 60 }
        finally(function() rt:close() end)
        local callers = load.start(rt.socket, CALLERS, take_turn)
        answered(rt, 60)
        reload(rt)
        rt:signal(signal.SIGTTIN)
        answered(rt, 60)
        rt:signal(signal.SIGTTOU)
        reload(rt)
        answered(rt, 60)
        local report = callers:stop()
        assert.same({}, report.failures)
        assert.equal(0, report.hung)
        local _, _, info = rt:call("app", "crash")
        assert.equal("WORKER_LOST", info.code)
        wait.until_true(function() return rt:status().ready end, 60, "a new worker")
        assert.same({ exit = 0 }, rt:stop(60))
        for _, fault in ipairs(FAULTS) do
            assert.is_nil(rt:log():match("[^\n]*" .. fault .. "[^\n]*"), rt:log())
        end
    end)
end)
