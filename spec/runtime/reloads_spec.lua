-- Reload after reload under load. A short storm by default; `make reloads` runs a long one by
-- DIRTY_RELOADS and DIRTY_CALLERS.
local load = require "support.load"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local wait = require "support.wait"

local RELOADS = tonumber(os.getenv "DIRTY_RELOADS" or "") or 10
local CALLERS = tonumber(os.getenv "DIRTY_CALLERS" or "") or 8

-- A call takes a millisecond, in which it needs no CPU: the queue is never empty, and there is CPU
-- left for the reloads.
local APP = [[
    local ffi = require "ffi"
    ffi.cdef "int usleep(unsigned);"
    local App = require("dirty").app { timeout = 20 }
    function App:version()
        ffi.C.usleep(1000)
        return %d
    end
    return App]]

local function descriptors(pid)
    local n = 0
    for _ in require("posix.dirent").files(("/proc/%d/fd"):format(pid)) do
        n = n + 1
    end
    return n
end

describe("a storm of reloads", function()
    it(("of %d HUPs at %d callers fails no call and leaves nothing behind"):format(RELOADS,
        CALLERS), function()
        local rt = runtime.start { config = "workers = 2\napps = { 'shop' }",
            files = { ["shop.lua"] = APP:format(0) } }
        local callers
        finally(function()
            if callers then
                callers:stop()
            end
            rt:close()
        end)
        local arbiter = rt:status().arbiter
        collectgarbage()
        local fds, processes = descriptors(arbiter.pid), #rt:tree()
        callers = load.start(rt.socket, CALLERS, function(client)
            local version, err = client:execute("shop", "version")
            return type(version) == "number" or nil, err
        end)
        local rss
        for n = 1, RELOADS do
            tempdir.write(rt.dir .. "/shop.lua", APP:format(n))
            rt:signal(signal.SIGHUP)
            local reload = wait.until_true(function()
                local reload = rt:status().reload
                return reload.number == n and reload.state == "idle" and reload
            end, 30, "the end of reload " .. n)
            assert.equal("done", reload.result, reload.reason)
            assert.equal(n, rt:call("shop", "version"))
            rss = rss or n >= RELOADS / 4 and rt:status().arbiter.rss_bytes
        end
        local report = callers:stop()
        print(("%d reloads, %d calls of %d callers, slowest %.0f ms"):format(RELOADS, report.calls,
            CALLERS, report.slowest * 1000))
        assert.same({}, report.failures)
        assert.equal(0, report.hung)
        local after = wait.until_true(function()
            local status = rt:status()
            return #status.workers == 2 and #rt:tree() == processes and status
        end, 10, function()
            return "as many processes as before, not " .. tree.alive(rt:tree())
        end)
        assert.equal(RELOADS, after.counters.reloads)
        assert.is_nil(next(after.counters.errors))
        wait.until_true(function()
            collectgarbage() -- connections of ours that nobody has closed
            return descriptors(arbiter.pid) <= fds + 2 -- that of this look itself
        end, 10, function()
            return ("%d descriptors, there are %d"):format(fds, descriptors(arbiter.pid))
        end)
        if not process.BUILD:find("asan") then -- it keeps what is freed for a while
            assert.is_true(after.arbiter.rss_bytes < rss + 4e6, ("%d bytes after %d reloads, "
                .. "%d before"):format(after.arbiter.rss_bytes, RELOADS, rss))
        end
    end)
end)
