-- The commands that look after a running runtime, as an operator types them.
local cjson = require "cjson"
local document = require "support.document"
local machine = require "support.machine"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local terminal = require "support.terminal"
local wait = require "support.wait"

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local rt, calls

local function start(o)
    rt = runtime.start(o)
end

-- Begin a call in the background; it is ended with the spec.
local function begin_call(...)
    local call = process.start { process.dirty(), "call", "--socket", rt.socket, ... }
    calls[#calls + 1] = call
    return call
end

-- Wait until a lane runs this action; its worker.
local function running(action)
    return wait.until_true(function()
        for _, worker in ipairs(rt:status().workers) do
            for _, lane in ipairs(worker.lanes) do
                if lane.action == action then
                    return worker
                end
            end
        end
    end, 10, "a lane that runs " .. action)
end

local function dirty(command, ...)
    return rt:command(command, { ... })
end

-- Run a command and expect its exit status and parts of what it says.
local function expect(status, part, command, ...)
    local r = dirty(command, ...)
    assert.equal(status, r.exit, r.stdout .. r.stderr)
    contains(status == 0 and r.stdout or r.stderr, part)
    return r
end

before_each(function() calls = {} end)
after_each(function()
    if rt then
        rt:close()
        rt = nil
    end
    for _, call in ipairs(calls) do
        call:close()
    end
end)

local function app_of(version)
    return ("local app = {}\nfunction app:version() return %q end\nreturn app"):format(version)
end

-- One whose init waits for a file.
local GATED = [[
    local ffi = require "ffi"
    ffi.cdef "int usleep(unsigned);"
    local app = {}
    function app:init()
        while not io.open(%q) do ffi.C.usleep(2000) end
    end
    function app:version() return "v2" end
    return app]]

describe("dirty reload", function()
    it("has the new code served, and with --wait says when it is", function()
        start { apps = { "shop:2" }, files = { ["shop.lua"] = app_of "v1" },
            args = { "--workers", "2" } }
        tempdir.write(rt.dir .. "/shop.lua", app_of "v2")
        expect(0, "reload 1: done in ", "reload", "--wait")
        assert.equal("v2", rt:call("shop", "version"))
        tempdir.write(rt.dir .. "/shop.lua", app_of "v3")
        expect(0, "reload 2 was asked for and runs; its result is not known yet: see",
            "reload")
        wait.until_true(function() return rt:call("shop", "version") == "v3" end, 10, "v3")
        wait.until_true(function() return rt:status().reload.state == "idle" end, 10, "its end")
        assert.same({ reload = 3, start = "begun" }, cjson.decode(dirty("reload", "--json").stdout))
        -- one that waits for its turn is waited for too
        local r = expect(0, "", "reload", "--wait", "--json")
        local answer = cjson.decode(r.stdout)
        assert.equal("done", answer.result)
        assert.is_true(answer.reload >= 4)
    end)

    it("ends with status 6 and the reason when it failed", function()
        start { apps = { "shop" }, files = { ["shop.lua"] = app_of "v1" } }
        tempdir.write(rt.dir .. "/shop.lua", "\nlocal = 5")
        local r = expect(6, "dirty reload: reload 1: failed: app shop (module shop): load: ",
            "reload", "--wait")
        contains(r.stderr, "shop.lua:2:")
        contains(r.stderr, "the old code and configuration keep serving")
        assert.equal("v1", rt:call("shop", "version"))
        r = expect(6, "failed", "reload", "--wait", "--json")
        assert.equal("failed", cjson.decode(r.stdout).result)
        assert.matches("reload 2: failed, %d+%.%d s ago", dirty("status").stdout)
    end)

    it("ends with status 6 when only a part of the workers could be replaced", function()
        -- calls that take a while: of two at once each gets a worker of its own
        local slow = [[
            local ffi = require "ffi"
            ffi.cdef "int usleep(unsigned);"
            local app = {}
            function app:version()
                ffi.C.usleep(300000)
                return %q
            end
            %s
            return app]]
        start { apps = { "shop" }, files = { ["shop.lua"] = slow:format("v1", "") },
            args = { "--workers", "2" } }
        -- the first worker boots, no other does
        tempdir.write(rt.dir .. "/shop.lua", slow:format("v2", ([[
            function app:init()
                local path = %q
                if io.open(path) then error "one licence only" end
                io.open(path, "w"):close()
            end]]):format(rt.dir .. "/taken")))
        local r = expect(6, "reload 1: partial: worker 2 can't boot: ", "reload", "--wait")
        contains(r.stderr, "one licence only")
        contains(r.stderr, "everything else uses the new code and configuration")
        local seen = {}
        wait.until_true(function()
            local one, two = begin_call("shop", "version"), begin_call("shop", "version")
            one:wait()
            two:wait()
            seen[one:stdout()], seen[two:stdout()] = true, true
            return seen.v1 and seen.v2
        end, 30, "both versions")
    end)

    it("ends with status 4 when it takes too long, and goes on", function()
        start { apps = { "shop" }, files = { ["shop.lua"] = app_of "v1" },
            args = { "--workers", "1" } }
        local gate = rt.dir .. "/gate"
        tempdir.write(rt.dir .. "/shop.lua", GATED:format(gate))
        expect(4, "dirty reload: TIMEOUT: reload 1 is still running (", "reload", "--wait",
            "--timeout", "0.2")
        wait.until_true(function()
            return dirty("status").stdout:find("reload 1: covering\n", 1, true)
        end, 10, "a worker that boots")
        tempdir.write(gate, "")
        wait.until_true(function() return rt:call("shop", "version") == "v2" end, 10, "v2")
    end)
end)

describe("dirty reload that does not wait", function()
    it("says what became of the request", function()
        start { files = { ["shop.lua"] = app_of "v1" }, apps = { "shop" },
            args = { "--workers", "1" } }
        tempdir.write(rt.dir .. "/shop.lua", GATED:format(rt.dir .. "/go"))
        expect(0, "reload 1 was asked for and runs", "reload")
        wait.until_true(function() return rt:status().reload.state == "covering" end, 10,
            "a reload that waits")
        expect(0, "reload 2 was asked for and waits for", "reload", "--no-wait")
        expect(0, "reload 2 was asked for already and waits for", "reload")
        assert.same({ reload = 2, start = "merged" },
            cjson.decode(dirty("reload", "--json").stdout))
        tempdir.write(rt.dir .. "/go", "")
        wait.until_true(function()
            local last = rt:status().reload.last
            return type(last) == "table" and last.number == 2
        end, 20, "the end of both")
    end)
end)

describe("dirty reload at a terminal", function()
    it("waits unless --no-wait is given", function()
        start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        local r = terminal.run_dirty { "reload", "--socket", rt.socket }
        assert.equal(0, r.exit, r.output)
        contains(r.output, "reload 1: done in ")
        r = terminal.run_dirty { "reload", "--no-wait", "--socket", rt.socket }
        contains(r.output, "reload 2 was asked for and runs")
    end)
end)

describe("dirty reload --wait", function()
    it("tells when the arbiter has died meanwhile, and which one serves", function()
        start { apps = { "shop" }, files = { ["shop.lua"] = app_of "v1" },
            args = { "--workers", "1" } }
        -- the new code does not boot before it may
        tempdir.write(rt.dir .. "/shop.lua", GATED:format(rt.dir .. "/gate"))
        local before = rt:status().arbiter.pid
        local reload = process.start { process.dirty(), "reload", "--wait", "--socket", rt.socket }
        calls[#calls + 1] = reload
        wait.until_true(function() return rt:status().reload.state == "covering" end, 10,
            "covering")
        signal.kill(before, signal.SIGKILL)
        assert.same({ exit = 6 }, reload:wait(20))
        contains(reload:stderr(), ("the arbiter (pid %d) has ended"):format(before))
        tempdir.write(rt.dir .. "/gate", "")
        wait.until_true(function() return rt:call("shop", "version") == "v2" end, 20, "v2")
    end)
end)

describe("dirty scale", function()
    it("sets the number of workers, by itself and by a difference", function()
        start { apps = { "apps.echo" }, args = { "--workers", "2" } }
        expect(0, "4 workers\n", "scale", "4")
        expect(0, "5 workers\n", "scale", "+1")
        expect(0, '{"workers":3}\n', "scale", "-2", "--json")
        wait.until_true(function() return #rt:status().workers == 3 end, 10, "three workers")
        expect(0, "1 worker\n", "scale", "1")
    end)

    it("keeps the hosts an app needs", function()
        start { apps = { "apps.echo:2" }, args = { "--workers", "2" } }
        expect(3, "stayed at 2 workers: without worker 2 an app", "scale", "-1")
        expect(3, "from 1 to 4096", "scale", "0")
        expect(2, '"two": must be a number of workers, or +N, -N', "scale", "two")
    end)
end)

describe("dirty kill", function()
    it("ends a worker and tells its pid; another takes its place", function()
        start { apps = { "apps.echo" }, args = { "--workers", "2" } }
        local call = begin_call("apps.echo", "sleep", "30000")
        local worker = running "sleep"
        expect(0, ("worker %d (pid %d) was killed"):format(worker.number, worker.pid), "kill",
            tostring(worker.number))
        assert.same({ exit = 1 }, call:wait())
        contains(call:stderr(), "WORKER_LOST")
        wait.until_true(function()
            local now = rt:status().workers[worker.number]
            return now.state == "ready" and now.pid ~= worker.pid
        end, 10, "its replacement")
        expect(3, 'there is no worker "9"', "kill", "9")
        expect(2, '"first": must be a worker\'s number from `dirty status`', "kill", "first")
        expect(0, "last exit: signal 9 (SIGKILL), by the runtime: requested", "status")
    end)
end)

describe("dirty cancel", function()
    it("ends the call of a lane and keeps the worker", function()
        start { apps = { "apps.echo" }, args = { "--workers", "2" } }
        local call = begin_call("apps.echo", "spin", "30000")
        local worker = running "spin"
        expect(0, worker.number .. ": its call was cancelled", "cancel", tostring(worker.number))
        assert.same({ exit = 1 }, call:wait())
        contains(call:stderr(), "CANCELLED")
        wait.until_true(function()
            return rt:status().workers[worker.number].lanes[1].state == "idle"
        end, 10, "an idle lane")
        assert.equal(worker.pid, rt:status().workers[worker.number].pid)
        expect(0, worker.number .. ".0: no call runs there", "cancel", worker.number .. ".0")
        expect(0, "false", "cancel", "--json", tostring(worker.number))
        expect(3, "its lanes are 1.0 to 1.0", "cancel", "1.4")
        expect(2, "WORKER.LANE", "cancel", "x")
    end)
end)

describe("dirty stack", function()
    it("is refused unless the configuration allows it", function()
        start { apps = { "apps.echo" } }
        expect(3, "allow_stack = true", "stack")
    end)

    it("shows where the running calls are now", function()
        start { config = "workers = 2\nallow_stack = true\napps = { 'deep' }", files = {
            ["deep.lua"] = [[
                local app = {}
                function app.inner(path)
                    local file
                    repeat file = io.open(path) until file
                    file:close()
                end
                function app.outer(path) app.inner(path) end
                function app:dig(first, second)
                    app.inner(first)
                    app.outer(second)
                    return "up"
                end
                return app]] } }
        expect(0, "nothing runs\n", "stack")
        assert.equal("[]\n", dirty("stack", "--json").stdout)
        local first, second = rt.dir .. "/first", rt.dir .. "/second"
        local call = begin_call("deep", "dig", first, second)
        local worker = running "dig"
        local r = expect(0, ("worker %d (pid %d) lane 0: deep.dig for "):format(worker.number,
            worker.pid), "stack")
        contains(r.stdout, "stack traceback:")
        contains(r.stdout, "deep.lua:")
        assert.falsy(r.stdout:find("outer", 1, true), r.stdout)
        tempdir.write(first, "")
        -- each time anew: it moves on
        wait.until_true(function()
            local lanes = cjson.decode(dirty("stack", "--json", tostring(worker.number)).stdout)
            return lanes[1].traceback:find("outer", 1, true)
        end, 10, "a traceback of outer")
        expect(0, ("nothing runs in worker %d"):format(3 - worker.number), "stack",
            tostring(3 - worker.number))
        expect(2, 'WORKER "x"', "stack", "x")
        tempdir.write(second, "")
        assert.same({ exit = 0 }, call:wait())
        assert.equal("up", call:stdout())
    end)
end)

describe("dirty reopen-logs", function()
    it("names the file that can't be opened", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        local log = dir .. "/d.log"
        rt = runtime.launch { apps = { "apps.echo" }, args = { "--log-file", log } }
        wait.until_true(function()
            return (tempdir.read(log) or ""):find("ready", 1, true)
        end, 20, "a runtime that is ready")
        os.rename(log, log .. ".1")
        stat.mkdir(log)
        local r = rt:command("reopen-logs")
        assert.equal(3, r.exit)
        assert.truthy(r.stderr:find(("the log file can't be reopened, the old one is kept: "
            .. "%s: Is a directory\n"):format(log), 1, true), r.stderr)
        expect(0, "log: it can't be reopened: " .. log .. ": Is a directory", "status")
        assert.equal(log, rt:status().log.file)
        assert.truthy(tempdir.read(log .. ".1"):find("file=\"" .. log .. "\" reason=\"Is a dir", 1,
            true))
    end)

    it("says that a log on stderr has no file", function()
        start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        expect(0, "the runtime logs to stderr, there is no file to reopen\n", "reopen-logs")
        assert.equal(cjson.null, rt:status().log.file)
    end)

    it("goes on in a new file after the old one was renamed", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        local log = dir .. "/d.log"
        rt = runtime.launch { apps = { "apps.echo" }, args = { "--log-file", log } }
        wait.until_true(function()
            return (tempdir.read(log) or ""):find("ready", 1, true)
        end, 20, "a runtime that is ready")
        os.rename(log, log .. ".1")
        expect(0, "the log file was reopened", "reopen-logs")
        assert.truthy(stat.lstat(log))
        expect(0, "1 worker", "scale", "1")
        wait.until_true(function() return tempdir.read(log):find("scaled", 1, true) end, 10,
            "lines in the new file")
        assert.falsy(tempdir.read(log .. ".1"):find("scaled", 1, true))
        -- the supervisor too
        assert.same({ exit = 0 }, rt:stop())
        assert.truthy(tempdir.read(log):find("told to stop", 1, true))
    end)
end)

describe("dirty metrics", function()
    it("prints what happened as Prometheus text", function()
        start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        dirty("call", "apps.echo", "noop")
        dirty("call", "apps.echo", "fail", "x")
        local r = expect(0, "# TYPE dirty_requests_total counter\n", "metrics")
        for line in r.stdout:gmatch("[^\n]+") do
            assert.truthy(line:match("^# %u+ dirty_") or line:match("^dirty_[%w_]+[{ ].*%d$"), line)
        end
        contains(r.stdout, 'app="apps.echo",action="fail",code="APP"} 1\n')
    end)
end)

describe("dirty ping and dirty status --ready", function()
    it("tell by their exit status whether the runtime is there and its apps are", function()
        local gate
        start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        expect(0, ("the arbiter answers, pid %d"):format(rt:status().arbiter.pid), "ping")
        local r = expect(0, "", "status", "--ready")
        assert.equal("", r.stdout .. r.stderr)
        assert.same({ exit = 0 }, rt:stop())
        for _, command in ipairs { { "ping" }, { "status", "--ready" }, { "reload", "--wait" },
            { "stop", "--wait" }, { "scale", "2" }, { "stack" } } do
            expect(5, "CONNECTION", unpack(command))
        end
        rt:close()
        rt = runtime.launch { apps = { "slow" }, files = { ["slow.lua"] = [[
            local app = {}
            function app:init()
                local dir = debug.getinfo(1, "S").source:match("@(.*)/")
                while not io.open(dir .. "/gate") do end
            end
            function app:a() end
            return app]] } }
        gate = rt.dir .. "/gate"
        wait.until_true(function() return dirty("ping").exit == 0 end, 10, "an answer")
        expect(6, "the runtime is starting: app slow has no ready worker (of ", "status", "--ready")
        tempdir.write(gate, "")
        wait.until_true(function() return dirty("status", "--ready").exit == 0 end, 10, "ready")
    end)
end)

describe("dirty stop", function()
    it("waits with --wait until every process is gone", function()
        start { apps = { "apps.echo" }, args = { "--workers", "2" } }
        local pids = { rt.pid, rt:status().arbiter.pid }
        local call = begin_call("apps.echo", "sleep", "300")
        running "sleep"
        expect(0, "", "stop", "--wait")
        for _, pid in ipairs(pids) do
            -- ended, or ended and not yet reaped by this spec
            local state = tempdir.read(("/proc/%d/stat"):format(pid))
            assert.truthy(not state or state:match("%) Z "), state)
        end
        assert.same({ exit = 0 }, call:wait())
        assert.same({ exit = 0 }, rt:wait())
    end)

    it("ends running calls with --now", function()
        start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        local call = begin_call("apps.echo", "sleep", "30000")
        running "sleep"
        expect(0, "", "stop", "--now", "--wait")
        assert.same({ exit = 1 }, call:wait())
        contains(call:stderr(), "SHUTDOWN")
    end)

    it("says so when the runtime does not end in time", function()
        start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        local call = begin_call("apps.echo", "sleep", "1000")
        running "sleep"
        expect(4, "dirty stop: TIMEOUT: process ", "stop", "--wait", "--timeout", "0.1")
        assert.same({ exit = 0 }, call:wait())
    end)
end)

describe("a command of somebody else", function()
    -- What changes things, each as a command.
    local CHANGES = { { "reload" }, { "scale", "1" }, { "kill", "1" }, { "cancel", "1" },
        { "reopen-logs" }, { "stack" }, { "stop", "--now" } }

    local function runs_as(uid, ...)
        return process.run { "setpriv", "--reuid=" .. uid, "--regid=" .. uid, "--clear-groups",
            ... }
    end

    -- Whether this machine has what is needed.
    local function may_be_others()
        local lacking = machine.no_root() or machine.closed_to_others()
        if lacking then
            pending(lacking)
        end
        return not lacking
    end

    local function start_open(o)
        start(o)
        assert.equal(0, process.run({ "chmod", "0755", rt.dir }).exit)
    end

    local function as(uid, command, ...)
        return runs_as(uid, process.dirty(), command, "--socket", rt.socket, ...)
    end

    local function denied(r, ...)
        assert.equal(1, r.exit, r.stdout .. r.stderr)
        for _, part in ipairs { "DENIED: @arbiter ", ... } do
            contains(r.stderr, part)
        end
    end

    it("gets DENIED where it changes things, with what to do", function()
        if not may_be_others() then
            return
        end
        start_open { apps = { "apps.echo" }, args = { "--socket-mode", "0666", "--workers", "2" } }
        for _, command in ipairs(CHANGES) do
            denied(as(65534, unpack(command)), command[1]:gsub("-", "_"),
                "the caller is uid 65534", "run it as root (sudo dirty ...)")
        end
        assert.equal(0, as(65534, "ping").exit)
        assert.equal(0, as(65534, "status", "--ready").exit)
        assert.equal(2, #rt:status().workers)
    end)

    it("is let in by admin_users, and those who are not in it are kept out", function()
        if not may_be_others() then
            return
        end
        start_open { config = "workers = 2\nsocket_mode = '0666'\napps = { 'apps.echo' }\n"
            .. "admin_users = { 65534, 'daemon' }" }
        for _, uid in ipairs { 0, 33 } do
            for _, command in ipairs(CHANGES) do
                denied(as(uid, unpack(command)), command[1]:gsub("-", "_"),
                    "is allowed only for the users that admin_users names (uid 65534, uid 1)",
                    "the caller is uid " .. uid, "send a signal to the supervisor")
            end
        end
        assert.equal(2, #rt:status().workers)
        for _, uid in ipairs { 65534, 1 } do
            assert.equal(0, as(uid, "scale", "+1").exit)
        end
        assert.equal(4, #rt:status().workers)
        assert.equal(0, as(65534, "stop", "--wait").exit)
        assert.same({ exit = 0 }, rt:wait())
    end)

    it("may call and no more, with the rights that docs/operations.md recommends", function()
        if not may_be_others() then
            return
        end
        -- a user and a group that are on every Debian
        local rights = document.text("docs/operations.md"):match("```lua\n(.-)```")
            :gsub('"dirty"', '"daemon"')
        start_open { config = "workers = 1\napps = { 'apps.echo' }\n" .. rights }
        local web = process.run { "id", "-u", "www-data" }.stdout:match "%d+"
        local r = as(web, "call", "apps.echo", "length", "abc")
        assert.same({ 0, "3\n" }, { r.exit, r.stdout }, r.stderr)
        for _, command in ipairs(CHANGES) do
            denied(as(web, unpack(command)), "the caller is uid " .. web)
        end
        -- not even whom the socket belongs to
        denied(as(1, "stop"), "admin_users names (uid 0)")
        r = as(65534, "call", "apps.echo", "length", "abc")
        assert.equal(5, r.exit)
        contains(r.stderr, "not allowed to use " .. rt.socket .. " (mode 0660, owner uid 1, group "
            .. "gid "
            .. process.run({ "id", "-g", "www-data" }).stdout:match "%d+")
        expect(0, "", "stop", "--wait")
    end)

    it("can be turned off, for root too, by a reload as by the start", function()
        local config = "workers = 2\napps = { 'apps.echo' }\n"
        start { config = config .. "admin_users = {}" }
        for _, command in ipairs(CHANGES) do
            denied(dirty(unpack(command)), command[1]:gsub("-", "_"),
                "is turned off (admin_users)", "send a signal to the supervisor")
        end
        assert.equal(0, dirty("status", "--ready").exit)
        -- signals are for who may send them, as ever
        tempdir.write(rt.dir .. "/dirty.conf.lua", config)
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return dirty("scale", "3").exit == 0 end, 20, "a reload")
        tempdir.write(rt.dir .. "/dirty.conf.lua", config .. "admin_users = { 'no-such-user' }")
        local r = expect(6, 'admin_users = "no-such-user"', "reload", "--wait")
        contains(r.stderr, "there is no such user")
        -- with hooks the file is run in the arbiter too
        tempdir.write(rt.dir .. "/dirty.conf.lua", config .. "admin_users = false\n"
            .. "function worker_init() end")
        expect(0, "reload 3 was asked for and runs", "reload")
        wait.until_true(function() return dirty("scale", "3").exit == 1 end, 20, "its effect")
        -- and so for an arbiter that takes another's place
        local pid = rt:status().arbiter.pid
        signal.kill(pid, signal.SIGKILL)
        wait.until_true(function()
            local status = rt:call("@arbiter", "status")
            return status and status.arbiter.pid ~= pid and status.ready
        end, 20, "another arbiter")
        denied(dirty("stop"), "is turned off (admin_users)")
        assert.same({ exit = 0 }, rt:stop())
    end)

    it("is known before the runtime starts, or not let in", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        local path = tempdir.write(dir .. "/c.lua",
            "apps = { 'apps.echo' }\nadmin_users = { 'no-such-user' }")
        for _, command in ipairs { "serve", "check", "config" } do
            local r = process.run_dirty { command, "--config", path, "--socket", dir .. "/s" }
            assert.equal(2, r.exit)
            contains(r.stderr, ('admin_users = "no-such-user" (file %s:2): there is no such user')
                :format(path))
        end
    end)
end)
