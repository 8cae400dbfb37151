-- Socket activation: a service manager makes the socket and passes it (LISTEN_FDS).
local machine = require "support.machine"
local posix_socket = require "posix.sys.socket"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local supervision = require "support.supervision"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local contains, defer, kill = supervision.contains, supervision.defer, supervision.kill

-- Becomes a program that is given LISTEN_FDS.
local PASS = [[export LISTEN_PID=$$ LISTEN_FDS=%s LISTEN_FDNAMES=x; exec "$@"]]

local dir

before_each(function()
    dir = tempdir.new()
end)

after_each(function()
    supervision.undo()
    tempdir.remove(dir)
end)

local function bind(path, no_listen)
    local fd = assert(posix_socket.socket(posix_socket.AF_UNIX, posix_socket.SOCK_STREAM, 0))
    defer(function() unistd.close(fd) end)
    assert(posix_socket.bind(fd, { family = posix_socket.AF_UNIX, path = path }))
    if not no_listen then
        assert(posix_socket.listen(fd, 5))
    end
    assert(stat.chmod(path, tonumber("642", 8)) == 0)
    return fd
end

-- With the socket at dir/s, which `fd` is.
local function launch(fd, o)
    o = o or {}
    o.config = o.config or "apps = { 'apps.echo', 'shop' }"
    o.files = { ["shop.lua"] = "return { env = function() return os.getenv 'LISTEN_FDS', "
        .. "os.getenv 'LISTEN_PID', os.getenv 'LISTEN_FDNAMES', os.getenv 'DIRTY_HANDOVER' end }" }
    o.args = { "--socket", o.socket or dir .. "/s" }
    o.wrap, o.pass = { "sh", "-c", PASS:format(o.count or "1"), "sh" }, fd
    local rt = runtime.launch(o)
    rt.socket = dir .. "/s"
    defer(function()
        rt:command("stop", { "--now", "--wait" }, { seconds = 60 })
        rt:close()
    end)
    return rt
end

local function wait_ready(rt)
    wait.until_true(function() return rt:is_ready() or rt.process:ended() end, 20,
        function() return "ready\n" .. rt:log() end)
    assert.is_nil(rt.process:ended() and rt:log() or nil)
end

describe("a socket that a service manager passes", function()
    it("is served and left as it is: mode, name and life", function()
        local rt = launch(bind(dir .. "/s"))
        wait_ready(rt)
        local before = stat.lstat(rt.socket)
        assert.equal("it", (rt:call("apps.echo", "echo", "it")))
        assert.same({}, { rt:call("shop", "env") })
        assert.is_nil(stat.lstat(rt.socket .. ".lock"))
        -- neither another arbiter nor a reload changes it
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        supervision.wait_for_another(rt, arbiter)
        tempdir.write(rt.dir .. "/dirty.conf.lua", "apps = { 'apps.echo' }\nsocket_mode = '0600'")
        assert.equal(0, rt:command("reload", { "--wait" }, { seconds = 60 }).exit)
        assert.equal(before.st_mode, stat.lstat(rt.socket).st_mode)
        -- nor an upgrade, after which it is still not ours
        assert.equal(0, rt:command("upgrade", {}, { seconds = 60 }).exit)
        assert.same({ exit = 0 }, rt:wait(20))
        assert.equal("it", (rt:call("apps.echo", "echo", "it")))
        assert.equal(0, rt:command("stop", { "--wait" }, { seconds = 60 }).exit)
        local after = stat.lstat(rt.socket)
        assert.same({ before.st_ino, before.st_mode }, { after.st_ino, after.st_mode })
    end)

    it("keeps the callers that come before the start, and between two runtimes", function()
        local fd = bind(dir .. "/s")
        local call = process.start { process.dirty(), "call", "--socket", dir .. "/s", "apps.echo",
            "echo", "early" }
        defer(function() call:close() end)
        local rt = launch(fd)
        wait_ready(rt)
        assert.same({ exit = 0 }, call:wait(20))
        assert.same({ exit = 0 }, rt:stop(20))
        local late = rt:start_call("apps.echo", "echo", "late")
        defer(function() late:close() end)
        wait_ready(launch(fd))
        assert.same({ exit = 0 }, late:wait(20))
    end)

    it("must be where the configuration says, and listen", function()
        for _, case in ipairs {
            { bind(dir .. "/s"), { socket = dir .. "/other" },
                "it is at " .. dir .. "/s, the configuration names another one" },
            { bind(dir .. "/deaf", true), { socket = dir .. "/deaf" },
                "it is no unix stream socket that listens" },
            { 0, { }, "" },
            { 0, { count = "2" }, "LISTEN_FDS=2: one socket is needed" },
        } do
            local rt = launch(case[1], case[2])
            assert.same({ exit = 3 }, rt:wait(20))
            contains(rt:log(), "can't listen at the socket that was passed")
            contains(rt:log(), case[3])
        end
        assert.truthy(stat.lstat(dir .. "/s"))
    end)

    it("is watched: the loss of its file is reported, and nothing is bound", function()
        local rt = launch(bind(dir .. "/s"))
        wait_ready(rt)
        local client = rt:client()
        assert(client:arbiter("status"))
        assert(os.remove(rt.socket))
        wait.until_true(function()
            local trouble = client:arbiter("status").arbiter.socket_trouble
            return type(trouble) == "string" and trouble:find("restart its socket unit", 1, true)
        end, 20, "the trouble")
        assert.is_nil(stat.lstat(rt.socket))
        rt:stop(20)
    end)

    it("can come from systemd-socket-activate", function()
        if process.run({ "sh", "-c", "command -v systemd-socket-activate" }).exit ~= 0 then
            return
        end
        local rt = runtime.launch { apps = { "apps.echo" }, args = { "--socket", dir .. "/s" },
            wrap = { "systemd-socket-activate", "--listen=" .. dir .. "/s" } }
        rt.socket = dir .. "/s"
        defer(function() rt:close() end)
        wait.until_true(function() return stat.lstat(rt.socket) end, 20, "the socket")
        local r = rt:command("call", { "apps.echo", "echo", "first" }, { seconds = 60 })
        assert.equal(0, r.exit, r.stderr)
        assert.equal(rt.pid, rt:status().arbiter.supervisor_pid)
        assert.same({ exit = 0 }, rt:stop(20))
    end)

    it("is what the unit in examples makes", function()
        local unit = tempdir.read("examples/systemd/dirty.socket")
        local service = tempdir.read("examples/systemd/dirty.service")
        assert.equal(service:match("\nEnvironment=DIRTY_SOCKET=(%S+)"),
            unit:match("\nListenStream=(%S+)"))
        assert.truthy(unit:find("\nSocketMode=0660\n", 1, true))
        if process.run({ "sh", "-c", "command -v systemd-analyze" }).exit ~= 0
            or machine.no_root() then
            return
        end
        tempdir.write(dir .. "/dirty.socket", unit)
        tempdir.write(dir .. "/dirty.service",
            (service:gsub("/usr/local/bin/dirty", process.dirty())))
        local r = process.run({ "systemd-analyze", "verify", dir .. "/dirty.socket" },
            { seconds = 60 })
        assert.equal("", r.stderr)
        assert.equal(0, r.exit)
    end)
end)
