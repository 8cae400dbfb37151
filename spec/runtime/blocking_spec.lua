-- What supervisor, keeper and arbiter call and that could wait for somebody: each is made to
-- wait, and the runtime goes on (docs/blocking-calls.md has the list).
local blocked = require "support.blocked"
local fcntl = require "posix.fcntl"
local notify_socket = require "support.notify_socket"
local process = require "support.process"
local raw = require "support.raw"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local unistd = require "posix.unistd"
local wait = require "support.wait"
local wire = require "dirty.wire"

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

after_each(blocked.undo)

local function kill(pid, number)
    assert(signal.kill(pid, number))
end

describe("a service manager that does not read its socket", function()
    local function start_unread(name)
        local notify = notify_socket.open(name)
        blocked.defer(function() notify:close() end)
        local fillers = notify:fill()
        local rt = blocked.start { apps = { "apps.echo" }, args = { "--workers", "1" },
            env = { NOTIFY_SOCKET = name, WATCHDOG_USEC = "100000" } }
        return rt, notify, fillers
    end

    it("delays no arbiter, no signal and no stop", function()
        local rt = start_unread("@dirty-spec-unread-" .. unistd.getpid())
        local arbiter = rt:status().arbiter.pid
        blocked.replace_arbiter(rt, arbiter)
        local reload = rt:command("reload", { "--wait" })
        assert.equal(0, reload.exit, reload.stderr)
        local at = wait.now()
        assert.same({ exit = 0 }, rt:stop(5))
        assert.is_true(wait.now() - at < 3 * wait.SLOW)
        local _, lines = rt:log():gsub('msg="the service manager [^\n]*', "")
        assert.equal(1, lines) -- said once, not each time
    end)

    it("gets the important messages in order once it reads again", function()
        local rt, notify, fillers = start_unread("@dirty-spec-again-" .. unistd.getpid())
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return rt:status().reload.result == "done" end, 10, "reloaded")
        assert.is_true(#notify:take() >= fillers)
        local _, at = notify:wait("^STATUS=Starting$", fillers + 1)
        _, at = notify:wait("^READY=1\nMAINPID=" .. rt.pid .. "\n", at)
        _, at = notify:wait("^RELOADING=1\n", at)
        _, at = notify:wait("^READY=1\nSTATUS=Reloaded$", at)
        for i = fillers + 1, at do
            assert.are_not.equal("WATCHDOG=1", notify.messages[i]) -- what is late is of no use
        end
        notify:wait("^WATCHDOG=1$", at)
        contains(rt:log(), 'msg="the service manager reads again"')
        assert.same({ exit = 0 }, rt:stop(5))
        notify:wait("^STOPPING=1\n", at)
    end)
end)

-- A terminal that nobody reads.
local function silent_terminal()
    local master = assert(stdlib.openpt(fcntl.O_RDWR + fcntl.O_NOCTTY))
    assert(stdlib.grantpt(master) and stdlib.unlockpt(master))
    blocked.defer(function() unistd.close(master) end)
    return stdlib.ptsname(master)
end

describe("a log that nobody reads", function()
    for name, open in pairs { pipe = blocked.full_pipe, terminal = silent_terminal } do
        it("delays nobody: a " .. name, function()
            local rt = runtime.launch { stderr_path = open(), apps = { "talker" },
                args = { "--workers", "2" }, files = { ["talker.lua"] = [[
                    local talker = {}
                    function talker:talk(count)
                        for _ = 1, count do print(("word "):rep(100)) end
                        return true
                    end
                    function talker.leave() os.exit(1) end
                    return talker]] } }
            blocked.defer(function() rt:close() end)
            wait.until_true(function()
                return rt:command("status", { "--ready" }).exit == 0
            end, 20, "ready")
            for _ = 1, 20 do
                wait.until_true(function() return rt:call("talker", "talk", 20) end, 5, "an answer")
                rt:call("talker", "leave")
            end
            local arbiter = rt:status().arbiter.pid
            blocked.replace_arbiter(rt, arbiter)
            rt:signal(signal.SIGUSR1)
            assert.same({ exit = 0 }, rt:stop(8))
        end)
    end
end)

describe("a stopped subreaper", function()
    it("is replaced after its arbiter has died, whatever arbiter_timeout is", function()
        local rt = blocked.start {
            config = "workers = 1 arbiter_timeout = 0 apps = { 'apps.echo' }" }
        local arbiter = rt:status().arbiter.pid
        kill(tree.find(rt:tree(), "^dirty: keeper").pid, signal.SIGSTOP)
        blocked.replace_arbiter(rt, arbiter, 15)
        contains(rt:log(), "its subreaper does not end")
    end)

    it("delays no stop", function()
        local rt = blocked.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        kill(tree.find(rt:tree(), "^dirty: keeper").pid, signal.SIGSTOP)
        local list = rt:tree()
        rt:signal(signal.SIGTERM)
        rt:wait(8)
        tree.wait_gone(list, 2)
    end)
end)

describe("a directory service that does not answer", function()
    if unistd.geteuid() ~= 0 then
        pending("can be tried by root only: the others set no user")
        return
    end

    it("delays no arbiter", function()
        local dir = tempdir.new()
        assert(stat.chmod(dir, tonumber("755", 8)) == 0)
        blocked.defer(function() tempdir.remove(dir) end)
        local rt = blocked.start { apps = { "apps.echo" }, cwd = dir, args = { "--workers", "1",
            "--user", "nobody", "--group", "nogroup", "--lua-path", unistd.getcwd() .. "/?.lua" },
            env = {
            LATE_NAMES = dir .. "/late",
            LD_PRELOAD = unistd.getcwd() .. "/" .. process.BUILD .. "/preload/late_names.so",
            ASAN_OPTIONS = (os.getenv "ASAN_OPTIONS" or "") .. ":verify_asan_link_order=0" } }
        tempdir.write(dir .. "/late", "")
        local arbiter = rt:status().arbiter.pid
        blocked.replace_arbiter(rt, arbiter)
        assert.same({ exit = 0 }, rt:stop(5))
    end)
end)

describe("callers that don't read their answers", function()
    it("delay no other caller", function()
        local rt = blocked.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        local ask = table.concat((assert(wire.new():encode_request(1, { app = "@arbiter",
            action = "status", budget_ms = 20000 }, {}, 0))))
        for _ = 1, 20 do
            local caller = raw.connect(rt.socket)
            blocked.defer(function() caller:close() end)
            caller:send(ask:rep(2000), 0.2) -- until no more is taken
        end
        assert.is_true(blocked.slowest_call(rt, 1) < 1.5 * wait.SLOW)
        assert.same({ exit = 0 }, rt:stop(5))
    end)
end)
