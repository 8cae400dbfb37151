-- An arbiter that dies or hangs is replaced, on the same path, and nothing of it lives on.
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local supervision = require "support.supervision"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local wait = require "support.wait"

local contains, defer, kill, spawn_children, start_spawner, wait_busy, wait_for_another =
    supervision.contains, supervision.defer, supervision.kill, supervision.spawn_children,
    supervision.start_spawner, supervision.wait_busy, supervision.wait_for_another

after_each(supervision.undo)

describe("when the arbiter is killed", function()
    it("the next one serves on the same path within a second, and no old process lives", function()
        local started_at = wait.now()
        local rt = start_spawner()
        local start_took = wait.now() - started_at
        defer(function() rt:close() end)
        local old = spawn_children(rt, 1002)
        local inode = stat.lstat(rt.socket).st_ino
        local calls = {}
        for i = 1, 4 do
            calls[i] = rt:start_call("apps.echo", "sleep", "60000")
        end
        wait.until_true(function() return rt:status().queue.length == 2 end, 10, "a queue")
        local arbiter = rt:status().arbiter.pid
        local killed_at = wait.now()
        kill(arbiter, signal.SIGKILL)
        assert.equal("x", (rt:call("apps.echo", "echo", "x")))
        -- where others compute, a start takes its time too
        assert.is_true(wait.now() - killed_at < 1.5 * wait.SLOW + 2 * start_took,
            wait.now() - killed_at)
        table.remove(old, 1) -- the supervisor
        assert.is_nil(tree.alive(old))
        assert.equal(inode, stat.lstat(rt.socket).st_ino)
        for _, call in ipairs(calls) do
            assert.same({ exit = 5 }, call:wait(5))
            call:close()
        end
        local status = rt:status()
        assert.same({ 1, "signal 9 SIGKILL", rt.pid }, { status.arbiter.restarts,
            status.arbiter.last_exit, status.arbiter.supervisor_pid })
        contains(rt:command("status").stdout, ("under supervisor pid %d, restarted 1 times, "
            .. "last after: signal 9 SIGKILL"):format(rt.pid))
        for _, part in ipairs { 'msg="arbiter ended" how="signal 9 SIGKILL"',
            'msg="restarting the arbiter" restarts=1',
            'msg="killed processes that the arbiter had left behind"' } do
            contains(rt:log(), part)
        end
        assert.same({ exit = 0 }, rt:stop())
    end)

    it("the next one uses the current configuration", function()
        local rt = runtime.start { config = [[
            workers, socket_mode = 1, "0600"
            apps = { "apps.echo" }]] }
        defer(function() rt:close() end)
        tempdir.write(rt.dir .. "/dirty.conf.lua", [[
            workers, socket_mode = 2, "0666"
            apps = { "apps.echo", other = { module = "apps.echo" } }]])
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        local status = wait_for_another(rt, arbiter)
        assert.equal(2, #status.workers)
        assert.equal("x", (rt:call("other", "echo", "x")))
        assert.equal(tonumber("666", 8), stat.lstat(rt.socket).st_mode % 512)
    end)

    -- What is wrong with the file when the next arbiter reads it, and what the log says then.
    local BROKEN = {
        { "broken", "workers = = 1", "dirty.conf.lua:1: unexpected symbol" },
        { "endless", "workers = 1 while true do end", "dirty.conf.lua: it took too long" },
        { "endless in the arbiter alone, for its hooks", [[
            apps = { 'apps.echo' }
            function on_starting() end
            if io.open("/proc/self/cmdline"):read("*a"):find("dirty: probe", 1, true) then
                return
            end
            while true do end]], "ran for more than 2" },
    }

    for _, case in ipairs(BROKEN) do
        it("and the configuration is " .. case[1] .. ", the next serves with that of the start",
            function()
                local good = "workers = 1\nboot_timeout = 2\napps = { 'apps.echo' }"
                local rt = runtime.start { config = good }
                defer(function() rt:close() end)
                local path = rt.dir .. "/dirty.conf.lua"
                tempdir.write(path, case[2])
                local arbiter = rt:status().arbiter.pid
                kill(arbiter, signal.SIGKILL)
                assert.equal("patience", (rt:call("apps.echo", "echo", "patience")))
                local status = wait_for_another(rt, arbiter)
                assert.same({ 1, 1 }, { status.arbiter.restarts, #status.workers })
                contains(rt:log(), "the configuration can't be read")
                contains(rt:log(), case[3])
                tempdir.write(path, (good:gsub("workers = 1", "workers = 2")))
                local r = rt:command("reload", { "--wait" })
                assert.equal(0, r.exit, r.stderr)
                assert.equal(2, #rt:status().workers)
                assert.equal(1, rt:status().arbiter.restarts)
            end)
    end

    it("the next one uses the current hooks", function()
        local rt = runtime.start { config = "workers = 1\napps = { 'apps.echo' }" }
        defer(function() rt:close() end)
        tempdir.write(rt.dir .. "/dirty.conf.lua", [[
            workers, apps = 2, { "apps.echo" }
            function on_starting() print "hooked" end]])
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        assert.equal(2, #wait_for_another(rt, arbiter).workers)
        wait.until_true(function()
            return (rt.process:stdout() .. rt:log()):find("hooked", 1, true)
        end, 10, "a hook")
    end)

    -- Kill every arbiter by its keeper until so many died in a row.
    local function kill_until(rt, quick_deaths)
        wait.until_true(function()
            local keeper = tree.find(rt:tree(), "^dirty: keeper")
            if keeper then
                signal.kill(keeper.pid, signal.SIGKILL)
            end
            return rt:log():find("quick_deaths=" .. quick_deaths, 1, true)
        end, 30, function() return quick_deaths .. " tries\n" .. rt:log() end)
    end

    it("repeatedly, the next one starts after a pause, which HUP ends", function()
        local rt = runtime.start { apps = { "apps.echo" } }
        defer(function() rt:close() end)
        kill_until(rt, 9)
        contains(rt:log(), "in_ms=100 quick_deaths=4")
        contains(rt:log(), "in_ms=3200 quick_deaths=9")
        local call = rt:start_call("apps.echo", "echo", "patience")
        local at = wait.now()
        rt:signal(signal.SIGHUP)
        assert.same({ exit = 0 }, call:wait(10))
        assert.is_true(wait.now() - at < 3 * wait.SLOW)
        assert.equal("patience", call:stdout())
        call:close()
        assert.same({ exit = 0 }, rt:stop())
    end)

    it("and TERM comes while none runs, the runtime stops", function()
        local rt = runtime.start { apps = { "apps.echo" } }
        defer(function() rt:close() end)
        kill_until(rt, 8)
        assert.same({ exit = 0 }, rt:stop(5))
        assert.is_nil(stat.lstat(rt.socket))
    end)
end)

describe("when the arbiter hangs", function()
    -- An arbiter that may be silent for a second.
    local function start_impatient(config)
        local rt = runtime.start { config = "arbiter_timeout = 1\nworkers = 1\n"
            .. "apps = { 'apps.echo' }\n" .. (config or "") }
        defer(function() rt:close() end)
        return rt
    end

    it("it is killed and counted, and the next one serves on the same path", function()
        local rt = start_impatient()
        local old = rt:status().arbiter
        assert.equal(0, old.hangs)
        local call = rt:start_call("apps.echo", "sleep", "60000")
        wait_busy(rt, "sleep")
        local list = rt:tree()
        kill(old.pid, signal.SIGSTOP)
        assert.equal("x", (rt:call("apps.echo", "echo", "x")))
        assert.same({ exit = 5 }, call:wait())
        call:close()
        table.remove(list, 1)
        assert.is_nil(tree.alive(list))
        local arbiter = rt:status().arbiter
        assert.are_not.equal(old.pid, arbiter.pid)
        assert.same({ 1, 1, "killed: it sent no heartbeat for arbiter_timeout" },
            { arbiter.hangs, arbiter.restarts, arbiter.last_exit })
        contains(rt:log(), 'msg="the arbiter hangs: killing it" '
            .. 'reason="it sent no heartbeat for arbiter_timeout" hangs=1')
        contains(rt:command("status").stdout, "restarted 1 times (1 had hung), last after: killed")
        contains(rt:command("metrics").stdout, "dirty_arbiter_hangs_total 1\n")
    end)

    it("it survives if the supervisor was stopped too, or below the limit", function()
        local rt = start_impatient()
        local list = rt:tree()
        local arbiter = list[3].pid
        for _ = 1, 2 do
            for i = 1, #list do
                kill(list[i].pid, signal.SIGSTOP)
            end
            local at = wait.now()
            wait.until_true(function() return wait.now() - at > 1.5 end, 10, "it has slept")
            for i = 1, #list do
                kill(list[i].pid, signal.SIGCONT)
            end
            assert.equal("x", (rt:call("apps.echo", "echo", "x")))
        end
        assert.equal(arbiter, rt:status().arbiter.pid)
    end)

    -- A configuration with hooks, whose file does what `way` says when a reload runs it in
    -- the arbiter.
    local function reload_way(way, rest)
        local rt = start_impatient([[
            local dir = debug.getinfo(1, "S").source:match "@(.*)/"
            local ffi = require "ffi"
            ffi.cdef "int poll(void *, unsigned long, int);"
            local function way()
                ]] .. way .. [[

            end
            for _ = 1, 1000 do pcall(function() return 1 end) end -- it is compiled
            function worker_exit() end
            if io.open(dir .. "/go")
                and io.open("/proc/self/cmdline"):read("*a"):find "dirty: arbiter" then
                os.remove(dir .. "/go")
                way()
            end
            ]] .. (rest or ""))
        tempdir.write(rt.dir .. "/go", "")
        return { rt = rt, arbiter = rt:status().arbiter.pid }
    end

    it("in the configuration file, the file is stopped with an error, whatever it does", function()
        local ways = {
            spin = "while true do pcall(function() while true do end end) end",
            wait = "ffi.C.poll(nil, 0, 60000)",
            read = "io.popen('exec sleep 1011'):read('*a')",
            execute = "os.execute('exec sleep 1012')",
        }
        local runtimes = {}
        for name, way in pairs(ways) do
            runtimes[name] = reload_way(way, "arbiter_timeout = 10")
        end
        for _, r in pairs(runtimes) do
            r.rt:signal(signal.SIGHUP)
        end
        for _, r in pairs(runtimes) do
            wait.until_true(function() -- once its child is killed it may return in time
                local result = r.rt:status().reload.result
                return result == "failed" or result == "done"
            end, 20, "an end of the reload")
        end
        contains(runtimes.spin.rt:status().reload.reason, "stopped: it ran for more than 2000 ms")
        for _, r in pairs(runtimes) do
            assert.equal("x", (r.rt:call("apps.echo", "echo", "x")))
            assert.equal(r.arbiter, r.rt:status().arbiter.pid)
        end
    end)

    it("in something that can't be interrupted, it is killed", function()
        local r = reload_way [[
            local text = ("a"):rep(40)
            text:find(("a*"):rep(40) .. "b") -- in C]]
        r.rt:signal(signal.SIGHUP)
        assert.equal(1, wait_for_another(r.rt, r.arbiter, 15).arbiter.hangs)
    end)
end)
