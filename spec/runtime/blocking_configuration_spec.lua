-- What a configuration leaves behind holds up nobody: finalizers, programs, what it prints
-- (docs/blocking-calls.md).
local blocked = require "support.blocked"
local signal = require "posix.signal"
local wait = require "support.wait"

after_each(blocked.undo)

describe("garbage of an old configuration", function()
    local function reload(rt, last, first)
        for number = first or 1, last do
            rt:signal(signal.SIGHUP)
            wait.until_true(function()
                local now = rt:status().reload
                return now.number == number and now.result == "done"
            end, 10, "reloaded")
        end
    end

    it("delays no stop, even if its finalizers wait for ever", function()
        local rt = blocked.start { config = [[
            workers = 1
            apps = { "apps.echo" }
            local ffi = require "ffi"
            ffi.cdef "int poll(void *, unsigned long, int);"
            local kept = newproxy(true)
            getmetatable(kept).__gc = function()
                while true do ffi.C.poll(nil, 0, 60000) end
            end
            package.loaded.kept = kept]] }
        local at = wait.now()
        assert.same({ exit = 0 }, rt:stop(10))
        assert.is_true(wait.now() - at < 6 * wait.SLOW)
        assert.falsy(rt:log():find("the arbiter hangs", 1, true))
    end)

    it("delays no call when a reload collects it", function()
        local rt = blocked.start { config = [[
            workers = 1
            apps = { "apps.echo" }
            local program = io.popen "exec sleep 1031" -- its end is waited for when it is collected
            function worker_exit() return program end]] }
        local arbiter = rt:status().arbiter.pid
        reload(rt, 3)
        assert.is_true(blocked.slowest_call(rt, 1) < 3 * wait.SLOW)
        assert.equal(arbiter, rt:status().arbiter.pid)
        assert.same({ exit = 0 }, rt:stop(8))
    end)

    it("is collected without killing processes of the current configuration", function()
        local rt = blocked.start { config = [[
            workers = 1
            apps = { "apps.echo" }
            local program = io.popen "exec sleep 1032"
            function worker_exit() return program end]] }
        local function count()
            local n = 0
            for _, entry in ipairs(rt:tree()) do
                n = n + (entry.title == "sleep 1032" and 1 or 0)
            end
            return n
        end
        reload(rt, 3)
        -- that of the supervisor's copy, and that of the arbiter's present configuration
        wait.until_true(function() return count() == 2 end, 10, "two programs")
        assert.is_true(blocked.slowest_call(rt, 3) < 3 * wait.SLOW)
        assert.equal(2, count())
    end)

    it("closes no descriptor of the runtime when a child collects it", function()
        local rt = blocked.start { config = [[
            workers = 2
            threads = 2
            apps = { "apps.echo" }
            local function leave() for _ = 1, 50 do io.open "/dev/null" end end
            local function collect() collectgarbage() collectgarbage() end
            leave()
            function on_starting() leave() end
            function post_fork() collect() leave() end
            function worker_init() collect() end
            function worker_exit() collect() leave() print "gone" end]] }
        for number = 1, 3 do
            local generation = rt:status().workers[1].generation
            rt:call("apps.echo", "crash")
            reload(rt, number, number)
            assert.is_true(rt:status().workers[1].generation > generation)
        end
        assert.is_true(blocked.slowest_call(rt, 1) < 3 * wait.SLOW)
        assert.falsy(rt:log():find("level=error", 1, true))
        assert.same({ exit = 0 }, rt:stop(8))
    end)

    it("can print to an unread pipe, also while the next arbiter starts", function()
        local rt = blocked.start { stdout_path = blocked.full_pipe(), config = [[
            workers = 1
            apps = { "apps.echo" }
            if io.open "/proc/self/cmdline":read "*a":find("dirty: ", 1, true) then
                for _ = 1, 300 do print(("words "):rep(500)) end
            end
            function on_starting() for _ = 1, 300 do print(("more "):rep(500)) end end
            function worker_exit() end]] }
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return rt:status().reload.result == "done" end, 10, "reloaded")
        local arbiter = rt:status().arbiter.pid
        blocked.replace_arbiter(rt, arbiter)
        assert.falsy(rt:log():find("the configuration can't be read", 1, true))
        wait.until_true(function() return rt:log():find('text="more', 1, true) end, 5, "its words")
        assert.same({ exit = 0 }, rt:stop(5))
    end)
end)
