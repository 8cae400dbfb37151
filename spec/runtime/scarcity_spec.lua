-- What becomes of callers when descriptors, memory or room in the backlog run out: it is
-- survived and said, and who waits already is not harmed.
local chaos = require "support.chaos"
local errors = require "dirty.errors"
local fcntl = require "posix.fcntl"
local machine = require "support.machine"
local process = require "support.process"
local raw = require "support.raw"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local socket = require "posix.sys.socket"
local unistd = require "posix.unistd"
local wait = require "support.wait"
local wire = require "dirty.wire"

local codec = wire.new()

-- Words that start a command with few descriptors, here and in all its children.
local function few_descriptors(count)
    return { "/bin/sh", "-c", ('ulimit -n %d && exec "$@"'):format(count), "sh" }
end

local function request(id, app, action, ...)
    return table.concat((assert(codec:encode_request(id,
        { app = app, action = action, budget_ms = 20000 }, { ... }, select("#", ...)))))
end

describe("a runtime that has run out of", function()
    local ends -- what each test has to end, the last first

    before_each(function() ends = {} end)
    after_each(function()
        for i = #ends, 1, -1 do
            ends[i]()
        end
    end)

    local function later(f)
        ends[#ends + 1] = f
    end

    local function start(o)
        local rt = runtime.start(o)
        later(function() rt:close() end)
        return rt
    end

    local function connect(rt)
        local connection = raw.connect(rt.socket)
        later(function() connection:close() end)
        return connection
    end

    local function assert_answer(connection, id, ...)
        local kind, answered, said = connection:frame()
        assert.equal(codec.RESPONSE, kind, answered)
        assert.equal(id, answered)
        assert.same({ ... }, said.values)
    end

    -- The status, over a connection that is there already.
    local function status_over(connection)
        assert(connection:send(request(7, "@arbiter", "status")))
        local kind, _, said = connection:frame()
        assert.equal(codec.RESPONSE, kind)
        return said.values[1]
    end

    -- How many of these connections are not closed by the runtime.
    local function count_open(connections)
        local open = 0
        for _, connection in ipairs(connections) do
            local _, why = connection:frame(0)
            open = open + (why == "timeout" and 1 or 0)
        end
        return open
    end

    it("descriptors closes the connections that have been idle longest", function()
        local rt = start { apps = { "apps.echo" }, args = { "--workers", "2" },
            wrap = few_descriptors(60) }
        local busy = {}
        for i = 1, 3 do
            busy[i] = connect(rt)
            assert(busy[i]:send(request(i, "apps.echo", "sleep", 500)))
        end
        local idle = {}
        for i = 1, 80 do
            idle[i] = connect(rt)
        end
        assert(idle[80]:send(request(80, "apps.echo", "echo", "last")))
        for i = 1, 3 do
            assert_answer(busy[i], i, 500)
        end
        assert_answer(idle[80], 80, "last")
        assert.matches("closing idle connections to make room", rt:log())
        assert.matches("ulimit", rt:log())

        local status = status_over(idle[80])
        assert.truthy(status.counters.evicted > 40, status.counters.evicted)
        wait.until_true(function()
            return count_open(idle) == 80 - status_over(idle[80]).counters.evicted
        end, 10, "every evicted connection to be closed, no other")
        assert.truthy(idle[1]:ends())
        local sent = idle[2]:send(request(2, "apps.echo", "echo", "late"))
        assert.is_nil(sent) -- it has not run, and may be sent again

        local first, victims = busy[1], {}
        for i, worker in ipairs(status_over(first).workers) do
            victims[i] = worker.pid
            signal.kill(worker.pid, signal.SIGKILL)
        end
        wait.until_true(function()
            local workers = status_over(first).workers
            return workers[1].state == "ready" and workers[1].pid ~= victims[1]
                and workers[2].state == "ready" and workers[2].pid ~= victims[2]
        end, 10, function() return "two new workers\n" .. rt:log() end)

    end)

    -- Every connection has a call: nobody's is idle.
    it("connections refuses others, and leaves room for root and the owner", function()
        local whoami = process.run { "id", "-u" }
        if whoami.stdout ~= "0\n" then
            pending("needs root: it calls as another user")
            return
        end
        local rt = start { apps = { "apps.echo:1" }, wrap = few_descriptors(60),
            args = { "--workers", "1", "--socket-mode", "0666" } }
        process.run { "chmod", "755", rt.dir }
        local busy, r = {}
        repeat
            busy[#busy + 1] = connect(rt)
            assert(busy[#busy]:send(request(1, "apps.echo", "sleep", 60000)))
            r = process.run { "setpriv", "--reuid=65534", "--regid=65534",
                "--clear-groups", process.dirty(), "ping", "--socket", rt.socket }
        until r.exit ~= 0 or #busy == 60
        assert.truthy(#busy > 5 and #busy < 60, #busy)
        assert.matches("OVERLOADED: %d+ connections are open and busy", r.stderr)
        assert.matches("LimitNOFILE", r.stderr)
        assert.equal(0, rt:command("status").exit)
        assert.equal(0, rt:command("ping").exit)
        for _ = 1, 10 do -- at the very end nobody is let in, and nobody is left to wait
            connect(rt):send(request(2, "apps.echo", "sleep", 60000))
        end
        r = rt:command("ping")
        assert.equal(1, r.exit)
        assert.matches("OVERLOADED", r.stderr)
    end)

    -- Connects so often as nobody, with a pause after each, sends a byte each time and stays.
    local CROWD = [[
        local socket, unistd, time = require "posix.sys.socket", require "posix.unistd",
            require "posix.time"
        local path, count, pause_ms = ...
        for _ = 1, count do
            local fd = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0)
            if fd and socket.connect(fd, { family = socket.AF_UNIX, path = path }) then
                socket.send(fd, "D")
            end
            time.nanosleep { tv_sec = 0, tv_nsec = pause_ms * 1e6 }
        end
        io.stdout:write("there\n")
        io.stdout:flush()
        unistd.sleep(60)]]

    -- Who is refused lingers: neither that nor its haste gets anybody what is kept for others.
    for _, pause_ms in ipairs { 0, 10 } do
        it(("connections, with a crowd that comes every %d ms, still answers root"):format(
            pause_ms), function()
            if machine.no_root() then
                pending(machine.no_root())
                return
            end
            local rt = start { apps = { "apps.echo" }, wrap = few_descriptors(120),
                args = { "--workers", "1", "--socket-mode", "0666" } }
            process.run { "chmod", "755", rt.dir }
            local argv = { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                "luajit", "-e", CROWD:gsub("%.%.%.", ("%q, 150, %d"):format(rt.socket, pause_ms)) }
            local crowd = process.start(argv)
            later(function() crowd:close() end)
            -- On a busy machine a connection may be closed as idle before its request has come:
            -- then it is asked once more.
            local function ask(command)
                local r = rt:command(command)
                return r.exit == 5 and rt:command(command) or r
            end
            local asked = 0
            wait.until_true(function()
                asked = asked + 1
                local r = ask "ping"
                assert.equal(0, r.exit, r.stderr)
                return crowd:stdout():find "there"
            end, 60, function() return "the crowd\n" .. crowd:stderr() end)
            for _ = 1, 3 do
                local r = ask "status"
                assert.equal(0, r.exit, r.stderr)
            end
            assert.is_true(asked > 0)
        end)
    end

    it("descriptors in a worker gives the call to the replacement", function()
        local rt = start { apps = { "spec.apps.stuck" }, args = { "--workers", "1" } }
        local connection = connect(rt)
        assert(connection:send(request(1, "spec.apps.stuck", "pid")))
        local _, _, first = connection:frame()
        assert(connection:send(request(2, "spec.apps.stuck", "starve")))
        assert_answer(connection, 2, true)
        assert(connection:send(request(3, "spec.apps.stuck", "pid")))
        local answered, id, second = connection:frame()
        assert.equal(codec.RESPONSE, answered)
        assert.equal(3, id)
        assert.not_equal(first.values[1], second.values[1])
        assert.equal(1, status_over(connection).counters.requeued)
        assert.matches("out of descriptors", rt:log())
    end)

    local function limit_descriptors(pid, count)
        assert(process.run { "prlimit", "--nofile=" .. count .. ":1024",
            "--pid", tostring(pid) }.exit == 0)
    end

    it("descriptors for any worker answers waiting callers with the reason", function()
        local rt = start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        local connection = connect(rt)
        local before = status_over(connection)
        limit_descriptors(before.arbiter.pid, 3)
        signal.kill(before.workers[1].pid, signal.SIGKILL)
        wait.until_true(function() return rt:log():find("worker can't be started", 1, true) end,
            10, "a line in the log")
        assert(connection:send(request(1, "apps.echo", "echo", "waits")))
        local kind, _, said = connection:frame(15) -- its budget is longer
        assert.equal(codec.ERROR, kind)
        assert.equal("NO_WORKERS", errors.of(said.code).code)
        assert.matches("can't be started: Too many open files; raise the limit", said.message)
        limit_descriptors(before.arbiter.pid, 1024)
        wait.until_true(function()
            return status_over(connection).workers[1].state == "ready"
        end, 30, "another worker")
        assert(connection:send(request(2, "apps.echo", "echo", "served")))
        assert_answer(connection, 2, "served")
    end)

    -- Connections that nobody accepts, until there is no room for one more.
    local function fill_backlog(rt)
        for count = 1, 100 do
            local fd = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
            later(function() unistd.close(fd) end)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.O_NONBLOCK)
            if not socket.connect(fd, { family = socket.AF_UNIX, path = rt.socket }) then
                return count
            end
        end
        error("the backlog is never full")
    end

    it("room in the backlog makes clients retry within their budget", function()
        local rt = start { apps = { "apps.echo" }, config = "workers = 1\nbacklog = 2\n" }
        local arbiter = rt:status().arbiter.pid
        signal.kill(arbiter, signal.SIGSTOP)
        later(function() signal.kill(arbiter, signal.SIGCONT) end)
        assert.is_true(fill_backlog(rt) < 10)
        local value, _, info = rt:client({ timeout = 0.2 }):execute("apps.echo", "echo", "x")
        assert.is_nil(value)
        assert.equal("OVERLOADED", info.code)
        assert.equal("no", info.started)

        local patient = process.start { process.dirty(), "call", "--socket", rt.socket,
            "--timeout", "15", "apps.echo", "echo", "late" }
        later(function() patient:close() end)
        assert.is_nil(select(2, pcall(wait.until_true, function()
            return patient:ended()
        end, 0.3)):match("late"))
        assert.is_false(patient:ended())
        signal.kill(arbiter, signal.SIGCONT)
        assert.equal(0, patient:wait(10).exit)
        assert.matches("late", patient:stdout())
    end)

    if not process.BUILD:find("san", 1, true) then
        it("memory answers OVERLOADED, and serves waiting callers", function()
            local report = chaos.queue { count = 1500, bytes = 60000, headroom_kib = 1500 }
            assert.is_true(report.values > 50)
            assert.is_true(report.overloaded > 50)
            assert.equal(1500, report.values + report.overloaded)
            assert.equal(0, report.unordered)
            assert.matches("out of memory", report.log)
        end)
    end
end)
