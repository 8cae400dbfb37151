-- What supervisor, keeper and arbiter call and that could wait for somebody: each is made to
-- wait, and the runtime goes on (docs/blocking.md has the list).
local notify_socket = require "support.notify_socket"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

-- What a test has to undo, the last first, however it ends.
local undone = {}

local function defer(undo)
    undone[#undone + 1] = undo
end

after_each(function()
    while #undone > 0 do
        pcall(table.remove(undone))
    end
end)

local function kill(pid, number)
    assert(signal.kill(pid, number))
end

local function start(o)
    local rt = runtime.start(o)
    defer(function() rt:close() end)
    return rt
end

-- A status of another arbiter than the one with this pid.
local function wait_for_another(rt, old_pid, seconds)
    local status
    wait.until_true(function()
        status = rt:call("@arbiter", "status")
        return status and status.arbiter.pid ~= old_pid
    end, seconds or 5, "another arbiter")
    return status
end

describe("a service manager that does not read", function()
    local function start_unread(name)
        local notify = notify_socket.open(name)
        defer(function() notify:close() end)
        local fillers = notify:fill()
        local rt = start { apps = { "apps.echo" }, args = { "--workers", "1" },
            env = { NOTIFY_SOCKET = name, WATCHDOG_USEC = "100000" } }
        return rt, notify, fillers
    end

    it("holds up no arbiter, no signal and no end", function()
        local rt = start_unread("@dirty-spec-unread-" .. unistd.getpid())
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        wait_for_another(rt, arbiter)
        local reload = rt:command("reload", { "--wait" })
        assert.equal(0, reload.exit, reload.stderr)
        local at = wait.now()
        assert.same({ exit = 0 }, rt:stop(5))
        assert.is_true(wait.now() - at < 3)
        local _, lines = rt:log():gsub('msg="the service manager [^\n]*', "")
        assert.equal(1, lines) -- said once, not each time
    end)

    it("is told in order what matters, once it reads again", function()
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
