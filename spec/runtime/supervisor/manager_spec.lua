-- The service manager, and a runtime that runs as another user.
local machine = require "support.machine"
local notify_socket = require "support.notify_socket"
local options = require "dirty.config.options"
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

describe("the service manager", function()
    local function start_notified(name, o)
        local notify = notify_socket.open(name)
        o = o or {}
        o.apps = o.apps or { "apps.echo", "leaks" }
        o.files = { ["leaks.lua"] = "return { env = function() return "
            .. "os.getenv 'NOTIFY_SOCKET', os.getenv 'WATCHDOG_USEC', os.getenv 'HOME' end }",
            ["gated.lua"] = o.gated }
        o.env = o.env or {}
        o.env.NOTIFY_SOCKET = name
        local rt = runtime.launch(o)
        return rt, notify
    end

    local function in_order(messages, patterns)
        local at = 1
        for _, message in ipairs(messages) do
            if patterns[at] and message:find(patterns[at]) then
                at = at + 1
            end
        end
        assert.is_nil(patterns[at], ("no %q in order in:\n%s"):format(tostring(patterns[at]),
            table.concat(messages, "\n--\n")))
    end

    for kind, name in pairs { path = os.tmpname(), abstract = "@dirty-spec-" .. unistd.getpid() } do
        it("is notified of start, reload, restart and stop on a socket of kind " .. kind,
            function()
                os.remove(name)
                local rt, notify = start_notified(name)
                defer(function()
                    rt:close()
                    notify:close()
                    os.remove(name)
                end)
                local ready = notify:wait("^READY=1\n")
                assert.truthy(ready:find("\nMAINPID=" .. rt.pid .. "\n", 1, true))
                assert.truthy(ready:find("\nSTATUS=Serving: socket=" .. rt.socket, 1, true))
                wait.until_true(function() return rt:is_ready() end, 5, "ready in the log")
                rt:signal(signal.SIGHUP)
                local reloading, at = notify:wait("^RELOADING=1\n")
                local usec = tonumber(reloading:match("\nMONOTONIC_USEC=(%d+)\n")) / 1e6
                assert.is_true(usec <= wait.now() and usec > wait.now() - 10)
                notify:wait("^READY=1\nSTATUS=Reloaded$", at)
                tempdir.write(rt.dir .. "/leaks.lua", "oops oops")
                rt:signal(signal.SIGHUP)
                notify:wait("^READY=1\nSTATUS=Reload failed, the old code keeps serving: app leaks",
                    at)
                local arbiter = rt:status().arbiter.pid
                tempdir.write(rt.dir .. "/leaks.lua", "return { env = print }")
                kill(arbiter, signal.SIGKILL)
                notify:wait("^STATUS=The arbiter ended %(signal 9 SIGKILL%)")
                notify:wait("^READY=1\nMAINPID", at)
                assert.same({ exit = 0 }, rt:stop())
                in_order(notify:take(), { "^STATUS=Starting$", "^READY=1\nMAINPID", "^RELOADING=1",
                    "^READY=1\nSTATUS=Reloaded", "^RELOADING=1", "^READY=1\nSTATUS=Reload failed",
                    "^STATUS=The arbiter ended", "^READY=1\nMAINPID", "^STOPPING=1\nSTATUS=" })
                for _, message in ipairs(notify.messages) do
                    assert.is_nil(message:find("WATCHDOG", 1, true))
                end
            end)
    end

    it("gets WATCHDOG=1 only while the arbiter's loop runs", function()
        local name = "@dirty-spec-watchdog-" .. unistd.getpid()
        local rt, notify = start_notified(name, { env = { WATCHDOG_USEC = "400000" } })
        defer(function()
            rt:close()
            notify:close()
        end)
        notify:wait("^READY=1")
        local function count()
            local n = 0
            for _, message in ipairs(notify:take()) do
                n = n + (message == "WATCHDOG=1" and 1 or 0)
            end
            return n
        end
        local before, at = count(), wait.now()
        wait.until_true(function() return count() >= before + 5 end, 10, "five more")
        assert.is_true(wait.now() - at > 0.7) -- every 200 ms
        assert.same({}, { rt:call("leaks", "env"), (select(2, rt:call("leaks", "env"))) })
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGSTOP)
        defer(function()
            signal.kill(arbiter, signal.SIGCONT)
            rt:close()
            notify:close()
        end)
        local stopped_at = wait.now()
        local last = count()
        wait.until_true(function()
            if count() > last then
                last, stopped_at = count(), wait.now()
            end
            return wait.now() - stopped_at > 1 -- five times the interval
        end, 20, "no more")
        kill(arbiter, signal.SIGCONT)
        wait.until_true(function() return count() > last end, 10, "it goes on")
    end)

    it("gets WATCHDOG=1 while the next arbiter starts", function()
        local name = "@dirty-spec-coming-" .. unistd.getpid()
        local rt, notify = start_notified(name, { env = { WATCHDOG_USEC = "400000" },
            apps = { "gated", "leaks" }, gated = [[
                local dir = debug.getinfo(1, "S").source:match("@(.*)/")
                os.execute(("while test -e %s/gate; do sleep 0.05; done"):format(dir))
                return { value = print }]] })
        local held
        defer(function()
            signal.kill(held or 0x7fffffff, signal.SIGCONT)
            rt:close()
            notify:close()
        end)
        wait.until_true(function() return rt:is_ready() end, 20, "ready")
        tempdir.write(rt.dir .. "/gate", "")
        kill(rt:status().arbiter.pid, signal.SIGKILL)
        wait.until_true(function() return tree.find(rt:tree(), "/gate;") end, 10, "a load")
        -- it stays where it is: its patience with the app never ends
        held = tree.below(tree.find(rt:tree(), "^dirty: keeper").pid)[2].pid
        kill(held, signal.SIGSTOP)
        local from = #notify:take()
        wait.until_true(function()
            local n = 0
            for i = from + 1, #notify:take() do
                n = n + (notify.messages[i] == "WATCHDOG=1" and 1 or 0)
            end
            return n >= 5
        end, 10, "five times WATCHDOG=1")
        kill(held, signal.SIGCONT)
        assert(os.remove(rt.dir .. "/gate"))
        notify:wait("^READY=1", from)
    end)

    it("gets no WATCHDOG=1 if the variables are for another process", function()
        local name = "@dirty-spec-other-" .. unistd.getpid()
        local rt, notify = start_notified(name, { env = { WATCHDOG_USEC = "20000",
            WATCHDOG_PID = "1" } })
        defer(function()
            rt:close()
            notify:close()
        end)
        notify:wait("^READY=1")
        for _ = 1, 20 do
            assert(rt:call("apps.echo", "sleep", 5))
        end
        for _, message in ipairs(notify:take()) do
            assert.is_nil(message:find("WATCHDOG", 1, true))
        end
    end)

    it("can be absent or unusable: the runtime serves anyway", function()
        for _, name in ipairs { "/nowhere/notify", "vsock:2:1234", "@", "x" } do
            local rt = runtime.start { apps = { "apps.echo" }, env = { NOTIFY_SOCKET = name } }
            defer(function() rt:close() end)
            contains(rt:log(), "the service manager")
            assert.same({ exit = 0 }, rt:stop())
        end
    end)

    it("accepts the unit in examples", function()
        local unit = tempdir.read("examples/systemd/dirty.service")
        local settings = {}
        for name, value in unit:gmatch("\n(%u%w+)=([^\n]*)") do
            settings[name] = value
        end
        assert.same({ "notify", "mixed", "on-failure",
            "/usr/local/bin/dirty reload --wait --timeout 170", "main" },
            { settings.Type, settings.KillMode, settings.Restart, settings.ExecReload,
                settings.NotifyAccess })
        local stop_seconds = tonumber(settings.TimeoutStopSec)
        assert.is_true(tonumber(settings.TimeoutStartSec) > 170)
        assert.is_nil(settings.MemoryDenyWriteExecute) -- LuaJIT's compiler needs both
        assert.is_true(stop_seconds > 2 * options.by_name.graceful_timeout.default + 5)
        local args = {}
        for word in settings.ExecStart:gmatch("%S+") do
            args[#args + 1] = word
        end
        table.remove(args, 1)
        args[1] = "config" -- the flags exist: only the file is missing
        contains(process.run_dirty(args).stderr, "/etc/dirty.conf.lua")
        if process.run({ "sh", "-c", "command -v systemd-analyze" }).exit ~= 0 then
            return
        end
        local dir = tempdir.new()
        defer(function() tempdir.remove(dir) end)
        tempdir.write(dir .. "/dirty.service",
            (unit:gsub("/usr/local/bin/dirty", process.dirty())))
        local r = process.run({ "systemd-analyze", "verify", dir .. "/dirty.service" },
            { seconds = 60 })
        assert.equal("", r.stderr)
        assert.equal(0, r.exit)
        r = process.run({ "systemd-analyze", "security", "--offline=true", "--no-pager",
            dir .. "/dirty.service" }, { seconds = 60, env = { LC_ALL = "C.UTF-8" } })
        local exposure = r.stdout:match("Overall exposure level for dirty.service: ([%d.]+)")
        assert.is_true(tonumber(exposure) <= 5, r.stdout .. r.stderr)
    end)
end)

describe("the configured user", function()
    local UID = 65534 -- nobody
    local lacking = machine.no_root() or machine.closed_to_others()
    if lacking then
        pending(lacking)
        return
    end

    -- Where that user may look: the apps' directory, not this checkout.
    local function start_as_nobody(o)
        local dir = tempdir.new()
        assert(stat.chmod(dir, tonumber("755", 8)) == 0)
        o.cwd = dir
        tempdir.write(dir .. "/who.lua", [[
            local ffi = require "ffi"
            ffi.cdef "int setuid(unsigned); int seteuid(unsigned); int getuid(void);"
            local loaded_by = ffi.C.getuid()
            local app = {}
            function app:loaded_by() return loaded_by end
            function app:regain()
                return ffi.C.setuid(0), ffi.C.seteuid(0), (io.open("/etc/shadow"))
            end
            function app:env() return os.getenv "USER", os.getenv "HOME", os.getenv "LOGNAME" end
            function app:adjust()
                local file = assert(io.open("/proc/self/oom_score_adj", "w"))
                return file:write("500") and file:close()
            end
            return app]])
        o.apps = { "who" }
        local rt = runtime.launch(o)
        assert(stat.chmod(rt.dir, tonumber("755", 8)) == 0)
        rt.apps_dir = dir
        wait.until_true(function()
            return rt:is_ready(o.log and tempdir.read(o.log)) or rt.process:ended()
        end, 20, function() return "ready\n" .. rt:log() end)
        return rt
    end

    local function close(rt)
        rt:close()
        tempdir.remove(rt.apps_dir)
    end

    local function ids_of(pid, what)
        return tempdir.read(("/proc/%d/status"):format(pid)):match("\n" .. what .. ":%s*([^\n]*)")
            :gsub("%s+", " "):gsub(" $", "")
    end

    it("runs arbiter and workers, with no way back, and owns the socket", function()
        local rt = start_as_nobody { args = { "--user", "nobody" } }
        defer(function() close(rt) end)
        local status = rt:status()
        for _, pid in ipairs { status.arbiter.pid, status.workers[1].pid } do
            assert.equal("65534 65534 65534 65534", (ids_of(pid, "Uid")))
            assert.equal("65534 65534 65534 65534", (ids_of(pid, "Gid")))
            assert.equal("65534", (ids_of(pid, "Groups")))
            assert.equal("0000000000000000", (ids_of(pid, "CapEff")))
            assert.equal("0000000000000000", (ids_of(pid, "CapPrm")))
        end
        assert.equal("0 0 0 0", (ids_of(rt.pid, "Uid")))
        local socket = stat.lstat(rt.socket)
        assert.same({ UID, UID }, { socket.st_uid, socket.st_gid })
        assert.equal(UID, (rt:call("who", "loaded_by")))
        assert.same({ -1, -1 }, { rt:call("who", "regain") })
        assert.same({ "nobody", "/nonexistent", "nobody" }, { rt:call("who", "env") })
        assert.is_true((rt:call("who", "adjust")))
        -- a caller of that user gets through, and may stop it
        local r = machine.run_as_nobody(process.dirty(), "status", "--socket", rt.socket)
        assert.equal(0, r.exit, r.stderr)
        -- the next arbiter is that user too, and ends with its parent
        kill(status.arbiter.pid, signal.SIGKILL)
        status = wait_for_another(rt, status.arbiter.pid)
        assert.equal("65534 65534 65534 65534", (ids_of(status.arbiter.pid, "Uid")))
        local list = rt:tree()
        kill(rt.pid, signal.SIGKILL)
        tree.wait_gone(list, 5)
    end)

    it("can reopen the log file; the pidfile belongs to root", function()
        local dir = tempdir.new()
        assert(stat.chmod(dir, tonumber("755", 8)) == 0)
        local rt = start_as_nobody { args = { "--user", "65534", "--group", "daemon", "--pidfile",
            dir .. "/pid", "--log-file", dir .. "/log" }, log = dir .. "/log" }
        defer(function()
            close(rt)
            tempdir.remove(dir)
        end)
        local function log()
            return tempdir.read(dir .. "/log") or ""
        end
        assert.equal(UID, stat.lstat(dir .. "/log").st_uid)
        assert.equal(0, stat.lstat(dir .. "/pid").st_uid)
        assert(os.rename(dir .. "/log", dir .. "/log.1"))
        rt:signal(signal.SIGUSR1)
        wait.until_true(function() return stat.lstat(dir .. "/log") end, 10, "a new file")
        assert.equal(UID, stat.lstat(dir .. "/log").st_uid)
        rt:stop()
        for _, who in ipairs { "supervisor", "arbiter" } do
            assert.truthy(log():find("who=" .. who, 1, true), who .. "\n" .. log())
        end
        assert.is_nil(log():find("can't be reopened", 1, true))
    end)

    it("is named in a warning if it can't reach socket or configuration", function()
        local rt = start_as_nobody { config = "user = 'nobody'\nworkers = 1" }
        defer(function() close(rt) end)
        assert.is_nil(rt:log():find("can't re", 1, true))
        rt:stop()
        local dir = tempdir.new() -- 0700
        local closed = runtime.launch { apps = { "apps.echo" }, args = { "--socket", dir .. "/s",
            "--user", "nobody", "--config", tempdir.write(dir .. "/c.lua", "workers = 1") } }
        defer(function()
            close(rt)
            closed:close()
            tempdir.remove(dir)
        end)
        wait.until_true(function()
            return closed:log():find("can't reach the socket", 1, true) and
                closed:log():find("can't read the configuration", 1, true)
        end, 20, function() return "two warnings\n" .. closed:log() end)
    end)

    it("must exist, and only root can set it", function()
        for _, case in ipairs {
            { { "--user", "nosuch" }, 'user = "nosuch" (flag --user): there is no such user; '
                .. "make one: adduser --system --group nosuch\n" },
            { { "--group", "nosuch" }, 'group = "nosuch" (flag --group): there is no such group; '
                .. "make one: addgroup --system nosuch\n" },
            { { "--user", "54321" }, "set group too" },
        } do
            local rt = runtime.launch { apps = { "apps.echo" }, args = case[1] }
            defer(function() rt:close() end)
            assert.same({ exit = 2 }, rt:wait(10))
            contains(rt:log(), case[2])
        end
        -- the apps are tried as that user, as they will run
        local dir = tempdir.new()
        defer(function() tempdir.remove(dir) end)
        assert(stat.chmod(dir, tonumber("755", 8)) == 0)
        tempdir.write(dir .. "/tried.lua", [[
            local status = io.open("/proc/self/status"):read("*a")
            error("loaded by " .. status:match("Uid:%s*(%d+)"))]])
        local r = process.run_dirty({ "check", "--user", "nobody", "--app", "tried" },
            { cwd = dir })
        assert.equal(4, r.exit)
        contains(r.stdout, "loaded by 65534")
        local rt = runtime.launch { apps = { "apps.echo" }, args = { "--user", "root" },
            wrap = machine.AS_NOBODY }
        defer(function() rt:close() end)
        assert.same({ exit = 2 }, rt:wait(10))
        contains(rt:log(), "only root can set user and group, this is uid 65534")
    end)
end)
