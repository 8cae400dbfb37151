-- Workers of a real runtime, killed in each state of the baton. Whatever the moment: the
-- caller gets one terminal frame, its own, or the end of the connection.
local errors = require "dirty.errors"
local raw = require "support.raw"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tree = require "support.tree"
local wait = require "support.wait"
local wire = require "dirty.wire"

local codec = wire.new()
local MB = 2 ^ 20

local function request(id, app, action, ...)
    return table.concat((assert(codec:encode_request(id,
        { app = app, action = action, budget_ms = 20000 }, { ... }, select("#", ...)))))
end

describe("a worker that is killed", function()
    local rt, asking

    setup(function()
        rt = runtime.start { apps = { "apps.echo", "spec.apps.stuck" }, config = [[
            workers = 1
            linger_timeout = 0.4
        ]] }
        asking = rt:client()
    end)
    teardown(function()
        rt:close()
    end)

    local function connect()
        local connection = raw.connect(rt.socket)
        finally(function() connection:close() end)
        return connection
    end

    -- Kill the worker once its lane is in the state.
    local function kill_in(state)
        local pid
        wait.until_true(function()
            local worker = assert(asking:status()).workers[1]
            pid = worker.pid
            return worker.lanes[1] and worker.lanes[1].state == state
        end, 10, "a lane that is " .. state)
        assert.equal(0, signal.kill(pid, signal.SIGKILL))
        return pid
    end

    local function assert_lost(connection, id, pid, started, phase)
        local kind, answered, said = connection:frame()
        assert.equal(codec.ERROR, kind, answered)
        assert.equal(id, answered)
        assert.equal("WORKER_LOST", errors.of(said.code).code)
        assert.equal(started, said.details.started)
        assert.equal(phase, said.details.phase)
        assert.equal(pid, said.details.pid)
        assert.equal("SIGKILL", said.details.signal_name)
        assert.is_false(said.details.killed_by_runtime)
    end

    local function assert_answer(connection, id, ...)
        local kind, answered, said = connection:frame()
        assert.equal(codec.RESPONSE, kind, answered)
        assert.equal(id, answered)
        assert.same({ ... }, said.values)
    end

    local function assert_goes_on(connection, id)
        assert(connection:send(request(id, "apps.echo", "echo", "next")))
        assert_answer(connection, id, "next")
    end

    it("while it reads: the call is unstarted, the connection ends", function()
        local bytes = request(11, "apps.echo", "length", ("x"):rep(MB))
        -- On a busy machine the lane may give the request back before it is killed.
        for _ = 1, 20 do
            local connection = connect()
            local stalled = asking:status().counters.stalled
            assert(connection:send(bytes:sub(1, #bytes / 2)))
            local pid = kill_in("reading")
            if asking:status().counters.stalled == stalled then
                assert_lost(connection, 11, pid, "no", "receive")
                assert.is_true(connection:ends())
                return
            end
        end
        error("no lane was killed while it read")
    end)

    it("while it runs: the call may have run, the connection goes on", function()
        local connection = connect()
        assert(connection:send(request(12, "apps.echo", "sleep", 15000)))
        local pid = kill_in("running")
        assert_lost(connection, 12, pid, "yes", "run")
        assert_goes_on(connection, 13)
    end)

    it("while it writes: the connection ends inside the answer", function()
        local connection = connect()
        assert(connection:send(request(14, "apps.echo", "echo", ("x"):rep(8 * MB))))
        kill_in("writing")
        local kind, why = connection:frame()
        assert.is_nil(kind)
        assert.equal("cut", why)
    end)

    it("when it has answered: the answer stands, the connection goes on", function()
        local connection = connect()
        assert(connection:send(request(15, "spec.apps.stuck", "answer_without_done", "once")))
        assert_answer(connection, 15, "once")
        kill_in("answered")
        assert_goes_on(connection, 16)
    end)

    it("when it has answered and the next request is sent already", function()
        local connection = connect()
        assert(connection:send(request(17, "spec.apps.stuck", "answer_without_done", "once")
            .. request(18, "apps.echo", "echo", "early")))
        assert_answer(connection, 17, "once")
        kill_in("answered")
        assert_answer(connection, 18, "early")
        assert_goes_on(connection, 19)
    end)

    it("with its DONE unread: the answer stands", function()
        local connection = connect()
        local arbiter = assert(asking:status()).arbiter.pid
        local worker = assert(asking:execute("spec.apps.stuck", "pid"))
        assert(connection:send(request(20, "apps.echo", "sleep", 200)))
        wait.until_true(function()
            return assert(asking:status()).workers[1].lanes[1].state == "running"
        end, 10, "a lane that runs")
        signal.kill(arbiter, signal.SIGSTOP)
        local ok, err = pcall(assert_answer, connection, 20, 200)
        -- It sleeps when DONE is sent; between answer and DONE it may be killed while it writes.
        wait.until_true(function() return tree.stat(worker).state == "S" end, 10,
            "a lane at rest")
        signal.kill(worker, signal.SIGKILL)
        signal.kill(arbiter, signal.SIGCONT)
        assert(ok, err)
        wait.until_true(function()
            return assert(asking:status()).workers[1].pid ~= worker
        end, 10, "another worker")
        assert_goes_on(connection, 21)
    end)

    -- Any moment: the windows between two steps are microseconds wide, so try often.
    it("at any moment: one answer or an end, never two", function()
        local connection = raw.connect(rt.socket)
        for round = 1, 100 do
            local id, text = 1000 + 2 * round, ("round %d"):format(round)
            local pid = assert(asking:execute("spec.apps.stuck", "pid"))
            assert(connection:send(request(id, "apps.echo", "echo", text)))
            local until_ = wait.now() + math.random() * 0.0003
            repeat until wait.now() >= until_
            signal.kill(pid, signal.SIGKILL)
            local kind, answered, said = connection:frame()
            if kind == codec.RESPONSE then
                assert.same({ text }, said.values)
            elseif kind == codec.ERROR then
                assert.equal("WORKER_LOST", errors.of(said.code).code)
                assert.equal(pid, said.details.pid)
            end
            assert.equal(kind and id, kind and answered)
            -- The next frame is the next answer: nothing came behind the first.
            local sent = kind and connection:send(request(id + 1, "apps.echo", "echo", "next"))
            local after, after_id = nil, nil
            if sent then
                after, after_id = connection:frame()
            end
            if after then
                assert.equal(id + 1, after_id)
            else
                connection:close()
                connection = raw.connect(rt.socket)
            end
        end
        connection:close()
    end)
end)
