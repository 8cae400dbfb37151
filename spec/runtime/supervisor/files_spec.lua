-- The log, the pidfile and the socket of a supervisor.
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local supervision = require "support.supervision"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local contains, defer, kill, wait_for_another =
    supervision.contains, supervision.defer, supervision.kill, supervision.wait_for_another

after_each(supervision.undo)

describe("reopening the logs", function()
    it("by an admin action reaches every process of the tree", function()
        local dir = tempdir.new()
        local rt = runtime.launch { apps = { "apps.echo" },
            args = { "--log-file", dir .. "/log" } }
        defer(function()
            rt:close()
            tempdir.remove(dir)
        end)
        wait.until_true(function() return rt:is_ready(tempdir.read(dir .. "/log") or "") end, 20,
            "ready")
        assert(os.rename(dir .. "/log", dir .. "/log.1"))
        assert.is_true(rt:call("@arbiter", "reopen_logs"))
        local list = rt:tree()
        wait.until_true(function()
            for _, entry in ipairs(list) do
                local held = process.run { "ls", "-l", ("/proc/%d/fd"):format(entry.pid) }
                if held.stdout:find(dir .. "/log.1", 1, true) and
                    not entry.title:find("keeper") then -- it opens it when it has to say something
                    return false
                end
            end
            return true
        end, 10, "nobody holds the old file")
        local old = tempdir.read(dir .. "/log.1")
        kill(rt.pid, signal.SIGKILL)
        tree.wait_gone(list, 5)
        contains(tempdir.read(dir .. "/log"), "the supervisor is gone")
        assert.equal(old, tempdir.read(dir .. "/log.1"))
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
            defer(function()
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
    it("holds the supervisor's pid, stays while arbiters change, and is never read", function()
        local dir = tempdir.new()
        local path, victim = dir .. "/d.pid", process.start { "sleep", "1006" }
        local rt
        defer(function()
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

describe("a pidfile that can't be written", function()
    it("is an error at the start, with status 2", function()
        local dir = tempdir.new()
        defer(function() tempdir.remove(dir) end)
        assert(stat.mkdir(dir .. "/d"))
        for path, reason in pairs { ["/nowhere/d.pid"] = "No such file or directory",
            ["/proc/d.pid"] = "No such file or directory", [dir .. "/d"] = "Is a directory",
            [dir .. "/" .. ("x"):rep(250)] = "File name too long" } do
            local r = process.run_dirty { "serve", "--app", "apps.echo", "--socket", dir .. "/s",
                "--pidfile", path }
            assert.equal(2, r.exit, path .. ": " .. r.stderr)
            contains(r.stderr, ("dirty serve: pidfile = %q (flag --pidfile): %s"):format(path,
                reason))
        end
        assert.is_nil(stat.lstat(dir .. "/s"))
    end)

    it("while the runtime serves is written as soon as possible", function()
        local dir = tempdir.new()
        assert(stat.mkdir(dir .. "/run"))
        local rt = runtime.launch { apps = { "gated" }, args = { "--pidfile", dir .. "/run/pid",
            "--workers", "1" }, files = { gate = "", ["gated.lua"] = [[
                local dir = debug.getinfo(1, "S").source:match("@(.*)/")
                os.execute(("while test -e %s/gate; do sleep 0.05; done"):format(dir))
                return { value = print }]] } }
        defer(function()
            rt:close()
            tempdir.remove(dir)
        end)
        wait.until_true(function() return tree.find(rt:tree(), "/gate;") end, 10, "a load")
        assert(unistd.rmdir(dir .. "/run"))
        assert(os.remove(rt.dir .. "/gate"))
        wait.until_true(function() return rt:is_ready() end, 20, "ready")
        contains(rt:log(), "pidfile can't be written")
        assert(stat.mkdir(dir .. "/run"))
        wait.until_true(function()
            return tempdir.read(dir .. "/run/pid") == rt.pid .. "\n"
        end, 10, "a pidfile")
        assert.same({ exit = 0 }, rt:stop())
        assert.is_nil(stat.lstat(dir .. "/run/pid"))
    end)
end)
