-- The end of a runtime: by signals, in the middle of something, and what it leaves.
local fcntl = require "posix.fcntl"
local machine = require "support.machine"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local supervision = require "support.supervision"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local contains, defer, kill, wait_busy =
    supervision.contains, supervision.defer, supervision.kill, supervision.wait_busy

after_each(supervision.undo)

describe("stopping", function()
    -- A runtime in a process group of its own with a call that runs.
    local function start_busy(o)
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" },
            wrap = o and o.wrap or { "setsid" } }
        local call = rt:start_call("apps.echo", "sleep", o and o.ms or "700")
        wait_busy(rt, "sleep")
        return rt, call
    end

    it("by TERM to the process group answers the running call", function()
        local rt, call = start_busy()
        defer(function() rt:close() end)
        local list = rt:tree()
        kill(-rt.pid, signal.SIGTERM)
        assert.same({ exit = 0 }, rt:wait())
        assert.same({ exit = 0 }, call:wait())
        call:close()
        assert.is_nil(tree.alive(list))
    end)

    it("refuses new callers at once while the last call runs", function()
        local rt, call = start_busy()
        defer(function() rt:close() end)
        rt:signal(signal.SIGTERM)
        wait.until_true(function() return not stat.lstat(rt.socket) end, 5, "the path is gone")
        assert.is_false(call:ended())
        assert.equal(5, rt:command("call", { "apps.echo", "noop" }).exit)
        assert.same({ exit = 0 }, rt:wait())
        assert.same({ exit = 0 }, call:wait())
        call:close()
    end)

    it("by a second TERM or by QUIT answers running calls with SHUTDOWN", function()
        for _, numbers in ipairs { { signal.SIGTERM, signal.SIGTERM },
            { signal.SIGINT, signal.SIGTERM }, { signal.SIGQUIT } } do
            local rt, call = start_busy { ms = "60000" }
            defer(function() rt:close() end)
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
        local lacking = machine.no_terminal()
        if lacking then
            pending(lacking)
            return
        end
        local dir = tempdir.new()
        local socket, log = dir .. "/s", dir .. "/log"
        local master = assert(stdlib.openpt(fcntl.O_RDWR + fcntl.O_NOCTTY))
        assert(stdlib.grantpt(master) == 0 and stdlib.unlockpt(master) == 0)
        local terminal = stdlib.ptsname(master)
        -- a session whose first terminal is this one: its leader's group is in front
        local shell = process.start { "setsid", "sh", "-c", ('exec <%s >%s 2>&1; exec %s serve '
            .. '--app apps.echo --socket %s --workers 1 --log-file %s'):format(terminal, terminal,
            process.dirty(), socket, log) }
        defer(function()
            unistd.close(master)
            shell:close()
            tempdir.remove(dir)
        end)
        wait.until_true(function()
            return (tempdir.read(log) or ""):find('msg="ready"', 1, true)
        end, 20, function() return "ready\n" .. (tempdir.read(log) or "") end)
        local call = process.start { process.dirty(), "call", "--socket", socket, "apps.echo",
            "sleep", tostring(500 * wait.SLOW) }
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

    it("kills an arbiter that does not stop in time", function()
        local rt = runtime.start { apps = { "apps.echo" } }
        defer(function() rt:close() end)
        local list = rt:tree()
        kill(rt:status().arbiter.pid, signal.SIGSTOP)
        rt:signal(signal.SIGTERM)
        assert.same({ exit = 5 }, rt:wait(15))
        assert.is_nil(tree.alive(list))
        contains(rt:log(), "the arbiter hangs: killing it\" reason=\"it did not stop in time")
    end)

    it("stops running calls at once if graceful_timeout is 0", function()
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--graceful-timeout", "0" } }
        defer(function() rt:close() end)
        local call = rt:start_call("apps.echo", "sleep", "60000")
        wait_busy(rt, "sleep")
        assert.same({ exit = 0 }, rt:stop(4))
        assert.same({ exit = 1 }, call:wait())
        contains(call:stderr(), "SHUTDOWN")
        call:close()
    end)

    it("kills an arbiter that does not start in time", function()
        local rt = runtime.launch { apps = { "slow" }, args = { "--boot-timeout",
            tostring(wait.SLOW) },
            files = { ["slow.lua"] = "return { init = function() os.execute('sleep 1007') end, "
                .. "n = print }" } }
        defer(function() rt:close() end)
        wait.until_true(function() return tree.find(rt:tree(), "^sleep 1007") end, 10, "a boot")
        local list = rt:tree()
        kill(tree.find(list, "^dirty: arbiter").pid, signal.SIGSTOP)
        assert.same({ exit = 5 }, rt:wait(15))
        assert.is_nil(tree.alive(list))
        contains(rt:log(), "the arbiter hangs: killing it\" reason=\"it did not start in time")
    end)

    it("while the apps load works at once", function()
        local rt = runtime.launch { apps = { "slow" }, files = { ["slow.lua"] =
            "os.execute('sleep 1005')\nreturn {}" } }
        defer(function() rt:close() end)
        wait.until_true(function() return tree.find(rt:tree(), "^sleep 1005") end, 10, "a load")
        local list = rt:tree()
        rt:signal(signal.SIGTERM)
        assert.same({ exit = 0 }, rt:wait(5))
        assert.is_nil(tree.alive(list))
    end)
end)

-- An end in the middle of something: it is quick, and leaves nothing.
describe("a stop", function()
    -- While the file `load` is there the app does not come to the end of its loading, while
    -- `init` is there not to that of its init. Both are in C: nothing interrupts them.
    local APP = [[
        local dir = debug.getinfo(1, "S").source:match("@(.*)/")
        local function pass(gate)
            os.execute(("while test -e %s/%s; do sleep 0.1; done"):format(dir, gate))
        end
        pass "load"
        return { init = function() pass "init" end, value = function() return 1 end,
            hold = function() pass "hold" return 2 end,
            daemon = function() os.execute "setsid sleep 1030 &" return true end }]]
    local rt

    local function shut(gate)
        tempdir.write(rt.dir .. "/" .. gate, "")
    end

    local function wait_gate(gate)
        wait.until_true(function() return tree.find(rt:tree(), "/" .. gate .. ";") end, 10, gate)
    end

    local MOMENTS = {
        { "while the apps load", start = "load" },
        { "while workers boot", start = "init" },
        { "while a reload loads the apps", serves = function()
            shut "load"
            rt:signal(signal.SIGHUP)
            wait_gate "load"
        end },
        { "while a reload boots workers", serves = function()
            shut "init"
            rt:signal(signal.SIGHUP)
            wait_gate "init"
        end },
        { "while a stop waits for a call", serves = function()
            shut "hold"
            rt.call_under_way = rt:start_call("gated", "hold")
            wait_gate "hold"
            rt:signal(signal.SIGTERM)
            wait.until_true(function()
                return rt:log():find("stopping: finishing the accepted calls", 1, true)
            end, 10, "a stop")
        end },
    }

    local ENDS = {
        { "TERM", function() kill(rt.pid, signal.SIGTERM) end, { exit = 0 } },
        { "INT to the group", function() kill(-rt.pid, signal.SIGINT) end, { exit = 0 } },
        { "a kill of the supervisor", function() kill(rt.pid, signal.SIGKILL) end,
            { signal = signal.SIGKILL } },
        { "a kill of supervisor and arbiter", function(list)
            kill(rt.pid, signal.SIGKILL) -- first: it would end with a status of its own
            signal.kill(list[3].pid, signal.SIGKILL)
        end, { signal = signal.SIGKILL } },
    }

    for _, moment in ipairs(MOMENTS) do
        it(moment[1] .. " is quick and leaves nothing behind, whatever it is by", function()
            for _, how in ipairs(ENDS) do
                rt = runtime.launch { apps = { "gated" }, args = { "--workers", "1" },
                    files = { ["gated.lua"] = APP, [moment.start or "none"] = "" },
                    wrap = { "setsid" } }
                defer(function() rt:close() end)
                if moment.start then
                    wait_gate(moment.start)
                else
                    wait.until_true(function() return rt:is_ready() end, 20, "ready")
                    assert(rt:call("gated", "daemon"))
                    moment.serves()
                end
                local list = rt:tree()
                how[2](list)
                assert.same(how[3], rt:wait(10), how[1])
                tree.wait_gone(list, 10)
                if rt.call_under_way then
                    assert.is_true(rt.call_under_way:wait(10).exit ~= 0)
                    rt.call_under_way:close()
                end
            end
        end)
    end
end)

describe("signals", function()
    it("HUP, TTIN and TTOU reach the arbiter, even if sent while it boots", function()
        local rt = runtime.launch { apps = { "slow" }, args = { "--workers", "1" }, files = {
            ["slow.lua"] = "os.execute('sleep 0.5')\nreturn { n = function() return 1 end }" } }
        defer(function() rt:close() end)
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
