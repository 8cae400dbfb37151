-- The supervisor: what becomes of the tree when one of its processes ends, signals,
-- systemd, rights.
local fcntl = require "posix.fcntl"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local function kill(pid, number)
    assert(signal.kill(pid, number))
end

-- An app that starts processes of its own: in its group, and out of session and family.
local SPAWNER = [[
local app = {}
function app:spawn(seconds)
    os.execute("sleep " .. seconds .. " &")
    os.execute("setsid sh -c 'sleep " .. seconds .. " & sleep " .. seconds .. "' &")
    return true
end
return app]]

local function start_spawner(o)
    o = o or {}
    o.apps, o.files = { "apps.echo", "spawner" }, { ["spawner.lua"] = SPAWNER }
    o.args = o.args or { "--workers", "2" }
    return runtime.start(o)
end

-- All processes of the tree, once the app's four are among them.
local function spawn_children(rt, seconds)
    assert(rt:call("spawner", "spawn", seconds))
    local found
    wait.until_true(function()
        found = 0
        for _, entry in ipairs(rt:tree()) do
            found = found + (entry.title:find("^sleep " .. seconds .. "$") and 1 or 0)
        end
        return found == 3
    end, 10, function() return "three sleeping children, there are " .. found end)
    return rt:tree()
end

-- A status of another arbiter than the one with this pid.
local function wait_for_another(rt, old_pid, seconds)
    local status
    wait.until_true(function()
        status = rt:call("@arbiter", "status")
        return status and status.arbiter.pid ~= old_pid
    end, seconds or 10, "another arbiter")
    return status
end

describe("the tree", function()
    it("is a supervisor, a keeper, the arbiter and its workers, each with its title", function()
        local rt = start_spawner()
        finally(function() rt:close() end)
        local status = rt:status()
        local titles, list = {}, rt:tree()
        for i, entry in ipairs(list) do
            titles[i] = entry.title
        end
        assert.same({ "dirty: supervisor", "dirty: keeper", "dirty: arbiter" },
            { titles[1], titles[2], titles[3] })
        table.sort(titles)
        assert.equal("dirty: worker 1 [apps.echo spawner]", titles[4])
        assert.equal(5, #titles)
        assert.equal(status.arbiter.pid, list[3].pid)
        assert.equal(status.arbiter.supervisor_pid, list[1].pid)
        for i = 2, #list do
            assert.equal(list[i].pid, list[i].group)
            assert.equal(list[2].pid, list[i].session)
        end
        assert.are_not.equal(list[1].session, list[2].session)
    end)

    it("shares with a worker the pages of its own lanes alone", function()
        -- the probes of a start and of a reload, and each worker, tell when they load the app
        local rt = runtime.start { apps = { "reader" }, args = { "--workers", "3", "--threads",
            "2" }, files = { ["reader.lua"] = [[
                local function read(path)
                    local file = io.open(path)
                    local text = file:read("*a")
                    file:close()
                    return text
                end
                local dir = debug.getinfo(1, "S").source:match("@(.*)/")
                if read("/proc/self/cmdline"):find("dirty: probe", 1, true) then
                    local file = io.open(dir .. "/probe", "w")
                    file:write(read("/proc/self/maps"))
                    file:close()
                end
                return { read = function() end }]] } }
        finally(function() rt:close() end)
        -- who has each page, by the page's inode
        local function pages_of(maps, name, owners)
            local count = 0
            for inode in maps:gmatch("rw%-s %x+ %x+:%x+ (%d+) +/dev/zero") do
                assert.is_nil(owners[inode], name)
                owners[inode] = name
                count = count + 1
            end
            return count
        end
        local function check_workers()
            local owners = {}
            for _, worker in ipairs(rt:status().workers) do
                assert.equal(2, pages_of(tempdir.read(("/proc/%d/maps"):format(worker.pid)),
                    worker.number, owners))
            end
        end
        check_workers()
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return rt:status().reload.result == "done" end, 20, "a reload")
        check_workers()
        assert.equal(0, pages_of(assert(tempdir.read(rt.dir .. "/probe")), "probe", {}))
    end)

    it("is all gone after a stop, with what apps have started", function()
        local rt = start_spawner()
        finally(function() rt:close() end)
        local list = spawn_children(rt, 1001)
        assert.same({ exit = 0 }, rt:stop())
        assert.is_nil(tree.alive(list))
        assert.is_nil(stat.lstat(rt.socket))
        assert.is_nil(stat.lstat(rt.socket .. ".lock"))
    end)
end)

describe("when the arbiter is killed", function()
    it("another serves on the same path within a second, and nothing old lives", function()
        local rt = start_spawner()
        finally(function() rt:close() end)
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
        assert.is_true(wait.now() - killed_at < 1 * wait.SLOW, wait.now() - killed_at)
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
        for _, part in ipairs { 'msg="arbiter ended" how="signal 9 SIGKILL"',
            'msg="the arbiter is started again" restarts=1',
            'msg="what the arbiter left is gone"' } do
            contains(rt:log(), part)
        end
        assert.same({ exit = 0 }, rt:stop())
    end)

    it("the next one has the configuration as it is now, but for what we hold", function()
        local rt = runtime.start { config = [[
            workers, socket_mode = 1, "0600"
            apps = { "apps.echo" }]] }
        finally(function() rt:close() end)
        tempdir.write(rt.dir .. "/dirty.conf.lua", [[
            workers, socket_mode = 2, "0666"
            apps = { "apps.echo", other = { module = "apps.echo" } }]])
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        local status = wait_for_another(rt, arbiter)
        assert.equal(2, #status.workers)
        assert.equal("x", (rt:call("other", "echo", "x")))
        assert.equal(tonumber("600", 8), stat.lstat(rt.socket).st_mode % 512)
        contains(rt:log(), "socket_mode = \\\"0666\\\"")
    end)

    it("and the configuration is broken, says so, tries again, and at once on HUP", function()
        local good = "workers = 1\napps = { 'apps.echo' }"
        local rt = runtime.start { config = good }
        finally(function() rt:close() end)
        tempdir.write(rt.dir .. "/dirty.conf.lua", "workers = = 1")
        kill(rt:status().arbiter.pid, signal.SIGKILL)
        wait.until_true(function()
            return rt:log():find("quick_deaths=7", 1, true)
        end, 30, function() return "seven tries\n" .. rt:log() end)
        contains(rt:log(), "dirty.conf.lua:1: unexpected symbol")
        contains(rt:log(), "in_ms=100 quick_deaths=4")
        contains(rt:log(), "in_ms=800 quick_deaths=7")
        local call = rt:start_call("apps.echo", "echo", "patience")
        tempdir.write(rt.dir .. "/dirty.conf.lua", good)
        local at = wait.now()
        rt:signal(signal.SIGHUP)
        assert.same({ exit = 0 }, call:wait(10))
        assert.is_true(wait.now() - at < 1.5 * wait.SLOW)
        assert.equal("patience", call:stdout())
        call:close()
        assert.same({ exit = 0 }, rt:stop())
    end)

    it("while no arbiter runs, TERM ends it", function()
        local rt = runtime.start { config = "workers = 1\napps = { 'apps.echo' }" }
        finally(function() rt:close() end)
        tempdir.write(rt.dir .. "/dirty.conf.lua", "error 'no'")
        kill(rt:status().arbiter.pid, signal.SIGKILL)
        wait.until_true(function()
            return rt:log():find("quick_deaths=7", 1, true)
        end, 30, "a pause")
        assert.same({ exit = 0 }, rt:stop(2))
        assert.is_nil(stat.lstat(rt.socket))
    end)
end)

describe("when another process of the tree is killed", function()
    it("no process is left after the supervisor, children of apps included", function()
        local rt = start_spawner()
        finally(function() rt:close() end)
        local list = spawn_children(rt, 1003)
        local busy = rt:start_call("apps.echo", "spin", "60000")
        wait.until_true(function()
            for _, worker in ipairs(rt:status().workers) do
                if worker.lanes[1].action == "spin" then
                    return true
                end
            end
        end, 10, "a busy worker")
        kill(rt.pid, signal.SIGKILL)
        tree.wait_gone(list, 5)
        assert.same({ exit = 5 }, busy:wait(5))
        busy:close()
        contains(rt:log(), "the supervisor is gone, ending everything")
        -- what it left in the file system is no obstacle
        local again = process.start { process.dirty(), "serve", "--socket", rt.socket, "--app",
            "apps.echo" }
        wait.until_true(function() return rt:call("apps.echo", "noop") or again:ended()
            or rt:is_ready(again:stderr()) end, 20, "a new runtime")
        again:signal(signal.SIGTERM)
        assert.same({ exit = 0 }, again:wait())
        again:close()
    end)

    it("the supervisor does the keeper's work", function()
        local rt = start_spawner()
        finally(function() rt:close() end)
        local list = spawn_children(rt, 1004)
        local keeper = tree.find(list, "keeper")
        local arbiter = rt:status().arbiter.pid
        kill(keeper.pid, signal.SIGKILL)
        wait_for_another(rt, arbiter)
        table.remove(list, 1)
        assert.is_nil(tree.alive(list))
        assert.equal("keeper: signal 9 SIGKILL", rt:status().arbiter.last_exit)
    end)

    it("no process is left when supervisor and keeper go together, but what left its group",
        function()
            local rt = runtime.start { apps = { "apps.echo" } }
            finally(function() rt:close() end)
            local list = rt:tree()
            local keeper = tree.find(list, "keeper")
            kill(keeper.pid, signal.SIGSTOP)
            kill(rt.pid, signal.SIGKILL)
            kill(keeper.pid, signal.SIGKILL)
            tree.wait_gone(list, 5)
        end)
end)

describe("stopping", function()
    -- A runtime in a process group of its own with a call that runs.
    local function start_busy(o)
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" },
            wrap = o and o.wrap or { "setsid" } }
        local call = rt:start_call("apps.echo", "sleep", o and o.ms or "700")
        wait.until_true(function()
            return rt:status().workers[1].lanes[1].action == "sleep"
        end, 10, "a call that runs")
        return rt, call
    end

    it("by TERM to the process group answers the running call", function()
        local rt, call = start_busy()
        finally(function() rt:close() end)
        local list = rt:tree()
        kill(-rt.pid, signal.SIGTERM)
        assert.same({ exit = 0 }, rt:wait())
        assert.same({ exit = 0 }, call:wait())
        call:close()
        assert.is_nil(tree.alive(list))
    end)

    it("refuses new callers at once while the last answer is waited for", function()
        local rt, call = start_busy()
        finally(function() rt:close() end)
        rt:signal(signal.SIGTERM)
        wait.until_true(function() return not stat.lstat(rt.socket) end, 5, "the path is gone")
        assert.is_false(call:ended())
        assert.equal(5, rt:command("call", { "apps.echo", "noop" }).exit)
        assert.same({ exit = 0 }, rt:wait())
        assert.same({ exit = 0 }, call:wait())
        call:close()
    end)

    it("by a second TERM or by QUIT ends what runs with SHUTDOWN", function()
        for _, numbers in ipairs { { signal.SIGTERM, signal.SIGTERM },
            { signal.SIGINT, signal.SIGTERM }, { signal.SIGQUIT } } do
            local rt, call = start_busy { ms = "60000" }
            finally(function() rt:close() end)
            for i, number in ipairs(numbers) do
                rt:signal(number)
                wait.until_true(function()
                    return select(2, rt:log():gsub("told to stop", "")) == i
                end, 5, "signal taken")
            end
            assert.same({ exit = 0 }, rt:wait(5))
            assert.same({ exit = 1 }, call:wait())
            contains(call:stderr(), "SHUTDOWN")
            call:close()
        end
    end)

    it("by Ctrl-C in a terminal answers the running call", function()
        local dir = tempdir.new()
        local socket, log = dir .. "/s", dir .. "/log"
        local master = assert(stdlib.openpt(fcntl.O_RDWR + fcntl.O_NOCTTY))
        assert(stdlib.grantpt(master) == 0 and stdlib.unlockpt(master) == 0)
        local terminal = stdlib.ptsname(master)
        -- a session whose first terminal is this one: its leader's group is in front
        local shell = process.start { "setsid", "sh", "-c", ('exec <%s >%s 2>&1; exec %s serve '
            .. '--app apps.echo --socket %s --workers 1 --log-file %s'):format(terminal, terminal,
            process.dirty(), socket, log) }
        finally(function()
            unistd.close(master)
            shell:close()
            tempdir.remove(dir)
        end)
        wait.until_true(function()
            return (tempdir.read(log) or ""):find('msg="ready"', 1, true)
        end, 20, function() return "ready\n" .. (tempdir.read(log) or "") end)
        local call = process.start { process.dirty(), "call", "--socket", socket, "apps.echo",
            "sleep", "500" }
        wait.until_true(function()
            return process.run_dirty({ "status", "--socket", socket }).stdout:find(
                "apps.echo.sleep", 1, true)
        end, 10, "a call that runs")
        local list = tree.below(shell.pid)
        assert.equal(5 - 1, #list)
        assert(unistd.write(master, "\3"))
        assert.same({ exit = 0 }, shell:wait())
        assert.same({ exit = 0 }, call:wait())
        call:close()
        assert.is_nil(tree.alive(list))
        contains(tempdir.read(log), "signal=SIGINT")
    end)

    it("kills an arbiter that does not end as told", function()
        local rt = runtime.start { apps = { "apps.echo" } }
        finally(function() rt:close() end)
        local list = rt:tree()
        kill(rt:status().arbiter.pid, signal.SIGSTOP)
        rt:signal(signal.SIGTERM)
        assert.same({ exit = 5 }, rt:wait(15))
        assert.is_nil(tree.alive(list))
        contains(rt:log(), "the arbiter does not end as told: it is killed")
    end)

    it("while the apps load ends at once", function()
        local rt = runtime.launch { apps = { "slow" }, files = { ["slow.lua"] =
            "os.execute('sleep 1005')\nreturn {}" } }
        finally(function() rt:close() end)
        wait.until_true(function() return tree.find(rt:tree(), "^sleep 1005") end, 10, "a load")
        local list = rt:tree()
        rt:signal(signal.SIGTERM)
        assert.same({ exit = 0 }, rt:wait(5))
        assert.is_nil(tree.alive(list))
    end)
end)

describe("signals", function()
    it("HUP, TTIN and TTOU reach the arbiter, those sent while it boots too", function()
        local rt = runtime.launch { apps = { "slow" }, args = { "--workers", "1" }, files = {
            ["slow.lua"] = "os.execute('sleep 0.5')\nreturn { n = function() return 1 end }" } }
        finally(function() rt:close() end)
        wait.until_true(function() return rt:log():find("arbiter started", 1, true) end, 10,
            "an arbiter")
        rt:signal(signal.SIGUSR1)
        wait.until_true(function() return rt:is_ready() end, 20, "ready")
        rt:signal(signal.SIGTTIN)
        wait.until_true(function() return #rt:status().workers == 2 end, 10, "a second worker")
        rt:signal(signal.SIGTTOU)
        wait.until_true(function() return #rt:status().workers == 1 end, 10, "one worker")
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return rt:status().reload.number == 1 end, 10, "a reload")
    end)
end)

describe("two starters", function()
    it("at the same time: one serves, the other ends with status 3", function()
        for _ = 1, 5 do
            local dir = tempdir.new()
            local both = {}
            for i = 1, 2 do
                both[i] = process.start { process.dirty(), "serve", "--app", "apps.echo",
                    "--workers", "1", "--socket", dir .. "/s" }
            end
            finally(function()
                both[1]:close()
                both[2]:close()
                tempdir.remove(dir)
            end)
            wait.until_true(function() return both[1]:ended() or both[2]:ended() end, 20,
                "one has ended")
            local loser = both[1]:ended() and both[1] or both[2]
            local winner = loser == both[1] and both[2] or both[1]
            assert.same({ exit = 3 }, loser.status)
            contains(loser:stderr(), "another runtime serves this socket")
            wait.until_true(function()
                return winner:stderr():find('msg="ready"', 1, true)
            end, 20, "the other serves")
            winner:signal(signal.SIGTERM)
            assert.same({ exit = 0 }, winner:wait())
        end
    end)
end)

describe("the pidfile", function()
    it("holds the supervisor's pid, stays while arbiters change, is never trusted", function()
        local dir = tempdir.new()
        local path, victim = dir .. "/d.pid", process.start { "sleep", "1006" }
        local rt
        finally(function()
            if rt then rt:close() end
            victim:close()
            tempdir.remove(dir)
        end)
        tempdir.write(dir .. "/target", "precious")
        assert(unistd.link(dir .. "/target", path, true))
        rt = runtime.start { apps = { "apps.echo" }, args = { "--pidfile", path } }
        assert.equal("precious", tempdir.read(dir .. "/target"))
        assert.equal(rt.pid .. "\n", tempdir.read(path))
        assert.equal(tonumber("644", 8), stat.lstat(path).st_mode % 512)
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        wait_for_another(rt, arbiter)
        assert.equal(rt.pid .. "\n", tempdir.read(path))
        -- somebody else's pid in it: neither removed nor killed
        tempdir.write(path, victim.pid .. "\n")
        assert.same({ exit = 0 }, rt:stop())
        assert.equal(victim.pid .. "\n", tempdir.read(path))
        assert.is_false(victim:ended())
    end)
end)
