-- A reload under load loses no call.
local load = require "support.load"
local shop = require "support.shop"
local signal = require "posix.signal"
local wait = require "support.wait"

local start, versioned = shop.start, shop.versioned

-- Seconds that a call takes, without CPU: so the queue is never empty, and there is CPU left for
-- the reloads.
local A_WHILE = 0.002

describe("a reload under load", function()
    local rt, callers
    after_each(function()
        if callers then
            callers:stop()
            callers = nil
        end
        if rt then
            rt:close()
            rt = nil
        end
    end)

    it("loses no call with an init of 5 s; the old code serves meanwhile", function()
        rt = start()
        callers = load.start(rt.socket, 8, function(client)
            return client:execute("shop", "sleep", A_WHILE)
        end)
        rt:write("shop.lua", (versioned("v2"):gsub("self.options = options", [[%0
            local ffi = require "ffi"
            ffi.cdef "unsigned sleep(unsigned);"
            ffi.C.sleep(5)]])))
        local began = wait.now()
        rt:signal(signal.SIGHUP)
        wait.until_true(function()
            return rt:status().reload.state == "covering"
        end, 10, "covering")
        for _ = 1, 20 do
            assert.equal("v1", (rt:call("shop", "version")))
        end
        wait.until_true(function() return rt:status().reload.result == "done" end, 20, "done")
        assert.is_true(wait.now() - began >= 5)
        assert.equal("v2", (rt:call("shop", "version")))
        local report = callers:stop()
        assert.same({}, report.failures)
        assert.equal(0, report.hung)
        assert.is_true(report.slowest < 4, report.slowest .. " s")
    end)

    it("loses no call with broken new code", function()
        rt = start()
        callers = load.start(rt.socket, 8, function(client)
            local version, err = client:execute("shop", "sleep", A_WHILE)
            return version == "v1" or nil, err or version
        end)
        rt:write("shop.lua", "return {")
        for _ = 1, 3 do
            assert.equal("failed", rt:reload().result)
        end
        local report = callers:stop()
        assert.same({}, report.failures)
        assert.equal(0, report.hung)
    end)
end)
