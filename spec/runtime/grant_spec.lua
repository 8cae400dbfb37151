-- Who may use the socket, changed in the configuration of a runtime that serves.
local errno = require "posix.errno"
local fcntl = require "posix.fcntl"
local process = require "support.process"
local pwd = require "posix.pwd"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local socket = require "posix.sys.socket"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local CONFIG = "workers = 1; apps = { 'apps.echo' }\n"

describe("a reload with other options of the socket", function()
    local rt

    after_each(function()
        if rt then
            rt:close()
            rt = nil
        end
    end)

    local function start(more, o)
        o = o or {}
        o.config = CONFIG .. (more or "")
        rt = runtime.start(o)
    end

    local function configure(more)
        tempdir.write(rt.dir .. "/dirty.conf.lua", CONFIG .. more)
    end

    local function reload()
        return rt:command("reload", { "--wait" }, { seconds = 30 })
    end

    local function expect_done()
        local r = reload()
        assert.equal(0, r.exit, r.stderr)
        assert.matches("done", r.stdout)
    end

    -- Mode, owner and group of the socket.
    local function file()
        local st = assert(stat.lstat(rt.socket))
        return { ("%o"):format(st.st_mode % 4096), st.st_uid, st.st_gid }
    end

    local function works()
        assert.equal("here", rt:call("apps.echo", "echo", "here"))
    end

    it("changes its mode, and back", function()
        start()
        local uid, gid = unistd.geteuid(), unistd.getegid()
        assert.same({ "600", uid, gid }, file())
        configure "socket_mode = '0666'"
        expect_done()
        assert.same({ "666", uid, gid }, file())
        works()
        configure ""
        expect_done()
        assert.same({ "600", uid, gid }, file())
        works()
    end)

    it("changes its owner and group, and who may change things with them", function()
        if unistd.geteuid() ~= 0 then
            pending "needs root, to give a file away"
            return
        end
        start()
        assert(stat.chmod(rt.dir, tonumber("755", 8)))
        local nobody = pwd.getpwnam("nobody").pw_uid
        local function ask_as_nobody()
            return process.run({ "setpriv", "--reuid=" .. nobody, "--clear-groups",
                process.dirty(), "ping", "--socket", rt.socket }).exit
        end
        configure "socket_user = 'nobody'; socket_group = 'www-data'; socket_mode = '0660'"
        expect_done()
        local group = process.run({ "stat", "-c", "%G", rt.socket }).stdout
        assert.same({ "660", nobody }, { file()[1], file()[2] })
        assert.equal("www-data\n", group)
        assert.equal(0, ask_as_nobody())
        works()
        configure "socket_mode = '0666'"
        expect_done()
        assert.same({ "666", 0, 0 }, file())
        local r = process.run { "setpriv", "--reuid=" .. nobody, "--clear-groups", process.dirty(),
            "reload", "--socket", rt.socket }
        assert.equal(1, r.exit, r.stderr)
        assert.matches("DENIED", r.stderr)
    end)

    it("is partial if the arbiter is not allowed to do that", function()
        if unistd.geteuid() ~= 0 then
            pending "needs root, to drop rights"
            return
        elseif process.run({ "setpriv", "--reuid=65534", "--clear-groups", "test", "-r",
            "apps/echo.lua" }).exit ~= 0 then
            pending "needs a checkout that everybody can read"
            return
        end
        start("", { args = { "--user", "nobody" } })
        assert(stat.chmod(rt.dir, tonumber("755", 8)))
        local before = file()
        configure "socket_user = 'root'; socket_mode = '0666'; max_queue = 7"
        local r = reload()
        assert.equal(6, r.exit)
        assert.matches("partial: socket_user can't be changed: Operation not permitted", r.stderr)
        assert.same({ "666", before[2], before[3] }, file())
        assert.equal(7, rt:status().queue.limit)
        works()
    end)

    it("changes how many connections may wait", function()
        start()
        -- So many connect while nobody accepts.
        local function room()
            local arbiter, open = rt:status().arbiter.pid, {}
            assert(signal.kill(arbiter, signal.SIGSTOP))
            local code
            repeat
                local fd = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
                open[#open + 1] = fd
                fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.O_NONBLOCK)
                local _
                _, _, code = socket.connect(fd, { family = socket.AF_UNIX, path = rt.socket })
            until code or #open == 20
            for _, fd in ipairs(open) do
                unistd.close(fd)
            end
            assert(signal.kill(arbiter, signal.SIGCONT))
            assert.is_true(code == nil or code == errno.EAGAIN)
            return code and #open - 1 or math.huge
        end
        assert.equal(math.huge, room())
        configure "backlog = 3"
        expect_done()
        assert.equal(4, room()) -- the kernel lets one more wait
        configure "backlog = 1000"
        expect_done()
        assert.equal(math.huge, room())
        works()
    end)

    it("is completed by the next arbiter", function()
        start()
        configure "socket_mode = '0640'"
        local old = rt:status().arbiter.pid
        assert(signal.kill(old, signal.SIGKILL))
        wait.until_true(function()
            local now = rt:client():status()
            return now and now.arbiter.pid ~= old
        end, 20, "another arbiter")
        assert.equal("640", file()[1])
        configure ""
        expect_done()
        assert.equal("600", file()[1])
    end)

    it("survives when the socket's file is removed and created again", function()
        start()
        configure "socket_mode = '0640'"
        expect_done()
        assert(os.remove(rt.socket))
        wait.until_true(function() return stat.lstat(rt.socket) end, 20, "another socket")
        assert.equal("640", file()[1])
        wait.until_true(function() return (rt:call("apps.echo", "echo", 1)) end, 10, "an answer")
        configure "socket_mode = '0660'"
        expect_done()
        assert.equal("660", file()[1])
        works()
    end)

    it("touches no file that replaced the socket", function()
        start()
        local other = tempdir.write(rt.dir .. "/other", "")
        assert(stat.chmod(other, tonumber("600", 8)))
        local moved = rt.dir .. "/moved"
        assert(os.rename(rt.socket, moved))
        assert(unistd.link(other, rt.socket, true))
        configure "socket_mode = '0666'"
        local client = require("dirty").client { socket = moved }
        local number = client:status().reload.number
        rt:signal(signal.SIGHUP)
        local last = wait.until_true(function()
            local r = client:status().reload
            return r.number > number and r.state == "idle" and r
        end, 20, "the end of a reload")
        assert.equal("done", last.result, last.reason)
        assert.equal(tonumber("600", 8), stat.lstat(other).st_mode % 4096)
        assert.equal(tonumber("666", 8), stat.lstat(moved).st_mode % 4096)
        os.remove(rt.socket)
        assert(os.rename(moved, rt.socket))
    end)
end)

describe("a reload with options that can't be changed", function()
    local rt
    after_each(function() rt:close() end)

    it("is partial, names them, and applies everything else", function()
        rt = runtime.start { config = CONFIG }
        local function configure(more)
            tempdir.write(rt.dir .. "/dirty.conf.lua", CONFIG .. more)
        end
        configure "max_queue = 7\nlog_format = 'json'\npidfile = '/nowhere/d.pid'"
        for _ = 1, 2 do -- as long as it is so
            local r = rt:command("reload", { "--wait" }, { seconds = 30 })
            assert.equal(6, r.exit)
            for _, part in ipairs { "partial: a reload can't change these, restart the runtime: "
                .. 'log_format = "json" (file ', "dirty.conf.lua:3) is ignored, it stays "
                .. '"logfmt"; pidfile = ' } do
                assert.truthy(r.stderr:find(part, 1, true), r.stderr)
            end
            assert.equal(7, rt:status().queue.limit)
        end
        local last = rt:status().reload.last
        assert.equal("partial", last.result)
        assert.truthy(last.reason:find("log_format", 1, true))
        assert.truthy(rt:log():find('msg="reloaded partially"', 1, true))
        assert.falsy(rt:log():find("reload failed", 1, true))
        assert.falsy(rt:log():find("level=debug", 1, true))
        local json = rt:command("reload", { "--wait", "--json" }, { seconds = 30 })
        assert.equal(6, json.exit)
        assert.truthy(json.stdout:find('"result":"partial"', 1, true), json.stdout)
        configure "max_queue = 8"
        local r = rt:command("reload", { "--wait" }, { seconds = 30 })
        assert.equal(0, r.exit, r.stderr)
    end)
end)
