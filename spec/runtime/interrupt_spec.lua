-- Deadlines and cancellation on the running system: what is ended, how fast, and what stays.
local raw = require "support.raw"
local runtime = require "support.runtime"
local wait = require "support.wait"
local wire = require "dirty.wire"

local codec = wire.new()
local errors = require "dirty.errors"

local PATH = { "--lua-path", "./spec/apps/?.lua" }
local GRACE = 0.5
-- More than any wait here may take, for what is to end of itself.
local LONG = 20
-- How much later than at its deadline a call may be answered here, where others compute.
local NOISE = 3

-- What is to be closed after an example, the last one first; busted's finally knows one.
local closing = {}

local function close_later(thing)
    closing[#closing + 1] = thing
    return thing
end

after_each(function()
    while #closing > 0 do
        local thing = table.remove(closing)
        pcall(thing.close, thing)
    end
end)

-- For calls that are to begin in time and most of which are to end softly, on a machine that is
-- busy too.
local BUDGET, PATIENT_GRACE = 0.5, 2

local function start(config, o)
    o = o or {}
    o.config, o.args = config, o.args or PATH
    return close_later(runtime.start(o))
end

local function worker_pid(rt)
    return wait.until_true(function()
        local worker = rt:status().workers[1]
        return worker and worker.state == "ready" and worker.pid
    end, 10, "a worker is ready")
end

-- Send a request and don't wait for its answer. A budget of 0 is the server's.
local function send(rt, budget, app, action, ...)
    local connection = close_later(raw.connect(rt.socket))
    assert(connection:send(table.concat((assert(codec:encode_request(5, { app = app,
        action = action, budget_ms = budget * 1000 }, { ... }, select("#", ...)))))))
    return connection
end

-- The next frame is an error of this code: message and details.
local function expect_error(connection, code)
    local kind, id, said = connection:frame()
    assert.equal(codec.ERROR, kind, id)
    assert.equal(5, id)
    assert.equal(code, errors.of(said.code).code, said.message)
    return said.details, said.message
end

-- Call and measure: seconds, then what execute gives. There is no limit but the server's: a client
-- of ours would wait for its budget and 2 s, and then have words of its own.
local function timed(rt, budget, app, action, ...)
    local began = wait.now()
    local connection = send(rt, budget, app, action, ...)
    local kind, _, said = connection:frame(LONG)
    local took = wait.now() - began
    connection:close()
    if kind == codec.RESPONSE then
        return took, said.values[1]
    end
    assert.equal(codec.ERROR, kind)
    local info = said.details
    info.code = errors.of(said.code).code
    return took, nil, said.message, info
end

local function expect_value(connection, value)
    local kind, id, said = connection:frame()
    assert.equal(codec.RESPONSE, kind, tostring(id) .. " " .. tostring(said and said.message))
    assert.same(value, said.values[1])
end

local function is_running(rt, state)
    return wait.until_true(function()
        return rt:status().workers[1].lanes[1].state == (state or "running")
    end, 5, "a call runs")
end

local function is_free(rt, seconds)
    return wait.until_true(function()
        return rt:status().workers[1].lanes[1].state == "idle"
    end, seconds or 5, "the lane is free")
end

describe("a call that does not end", function()
    it("is interrupted at its deadline, mostly keeping worker and state", function()
        local rt = start(([[workers = 1; timeout_grace = %g; apps = { "endless" }]])
            :format(PATIENT_GRACE))
        local names = assert(rt:call("endless", "programs"))
        assert.equal(21, #names)
        local kept, slowest = 0, 0
        local pid, calls = worker_pid(rt), rt:call("endless", "count")
        for _, name in ipairs(names) do
            local took, value, err, info = timed(rt, BUDGET, "endless", "run", name)
            assert.is_nil(value, name)
            assert.equal("TIMEOUT", info.code, err)
            assert.equal("run", info.phase)
            assert.equal("yes", info.started)
            assert.is_true(took < BUDGET + PATIENT_GRACE + NOISE * wait.SLOW,
                name .. " took " .. took)
            slowest = math.max(slowest, took)
            local now_pid, now_calls = worker_pid(rt), rt:call("endless", "count")
            local soft = now_pid == pid and now_calls == calls + 2
            print(("  %-34s %s after %3.0f ms"):format(name,
                soft and "ended softly" or "killed      ", took * 1000))
            if soft then
                kept = kept + 1
                assert.truthy(info.traceback:find("endless.lua", 1, true), info.traceback)
            else
                assert.not_equal(pid, now_pid)
                assert.equal(1, now_calls)
            end
            pid, calls = now_pid, now_calls
        end
        print(("  %d of %d ended softly; the slowest answer came after %.0f ms (budget %.0f, "
            .. "grace %.0f)"):format(kept, #names, slowest * 1000, BUDGET * 1000,
            PATIENT_GRACE * 1000))
        assert.is_true(kept >= 19)
    end)

    it("of an app that is not interruptible costs its worker", function()
        local rt = start [[
            workers = 1
            timeout_grace = 0.2
            apps = { app = { module = "interrupted", interruptible = false } }]]
        local pid = worker_pid(rt)
        -- long enough for it to begin on a machine that is busy
        local took, _, err, info = timed(rt, 0.6, "app", "loop")
        assert.equal("TIMEOUT", info.code, err)
        assert.is_true(took >= 0.8 - 0.01 and took < 0.8 + NOISE * wait.SLOW, took)
        assert.truthy(err:find("its worker was killed", 1, true), err)
        assert.equal(1, rt:call("app", "count"))
        assert.not_equal(pid, worker_pid(rt))
    end)

    it("in several lanes does not disturb the other lanes", function()
        local rt = start [[workers = 1; threads = 3; apps = { "interrupted" }]]
        local pid = worker_pid(rt)
        local calm = send(rt, 10, "interrupted", "go_on", 0.6)
        local _, _, err, info = timed(rt, 0.2, "interrupted", "interpreted")
        assert.equal("TIMEOUT", info.code, err)
        assert.truthy(info.traceback)
        expect_value(calm, "went on")
        assert.equal(pid, worker_pid(rt))
    end)
end)

-- DIRTY_STORM=n: so many interrupts (make storm); DIRTY_SEED=n repeats a run's choices.
describe("many interrupts", function()
    local COUNT = tonumber(os.getenv("DIRTY_STORM")) or 300
    local SIZES = { 600, 4000, 8000 }
    local SEED = tonumber(os.getenv("DIRTY_SEED")) or os.time()

    local function learn(client, kinds)
        local expected, serial = {}, 0
        for kind = 1, kinds do
            expected[kind] = {}
            for _, size in ipairs(SIZES) do
                serial = serial + 1
                expected[kind][size] = assert(client:execute("storm", "work", serial, kind, size))
            end
        end
        return expected, serial
    end

    -- Make one call with a deadline somewhere in it; "value", "run" or "queue".
    local function call_once(client, expected, serial)
        local kind, size = math.random(#expected), SIZES[math.random(#SIZES)]
        local budget = math.random(1, 4) / 1000
        local value, err, info = client:with { timeout = budget }
            :execute("storm", "work", serial, kind, size)
        if value then
            assert.equal(expected[kind][size], value, "kind " .. kind)
            return "value"
        end
        assert.equal("TIMEOUT", info.code, err)
        assert.equal(info.phase == "run" and "yes" or "no", info.started)
        return info.phase
    end

    it("keep every outcome correct and the state consistent", function()
        local rt = start [[workers = 1; apps = { "storm" }]]
        local client = rt:client()
        local pid = worker_pid(rt)
        local expected, serial = learn(client, assert(client:execute("storm", "kinds")))
        -- "client": the budget was over before the request was sent
        local outcomes = { value = serial, run = 0, queue = 0, receive = 0, client = 0 }
        math.randomseed(SEED)
        while outcomes.run < COUNT do
            serial = serial + 1
            local outcome = call_once(client, expected, serial)
            outcomes[outcome] = outcomes[outcome] + 1
        end
        local sound, begun, ended = client:execute("storm", "probe")
        print(("  %d calls: %d interrupted, %d values, %d not started (DIRTY_SEED=%d)"):format(
            serial, outcomes.run, outcomes.value, outcomes.queue + outcomes.receive
            + outcomes.client, SEED))
        assert.is_true(sound)
        assert.is_true(ended >= outcomes.value and begun >= ended)
        assert.is_true(begun <= outcomes.value + outcomes.run)
        assert.equal(pid, worker_pid(rt))
    end)
end)

describe("a deadline", function()
    it("counts the time in the queue, and late work is not started", function()
        local rt = start [[workers = 1; apps = { "interrupted" }]]
        local blocker = send(rt, LONG, "interrupted", "go_on", 2)
        is_running(rt)
        local began = wait.now()
        local never = send(rt, 0.1, "interrupted", "count")
        local runs = send(rt, 3, "interrupted", "loop")
        local details = expect_error(never, "TIMEOUT")
        assert.equal("queue", details.phase)
        assert.equal("no", details.started)
        expect_value(blocker, "went on")
        local waited = wait.now() - began
        details = expect_error(runs, "TIMEOUT")
        local took = wait.now() - began
        assert.equal("run", details.phase)
        -- of its 3 s, and not of 3 s from its start on
        assert.is_true(took > 2.9 and took < waited + 3 - 0.2, took)
        assert.equal(1, rt:call("interrupted", "count"))
    end)

    it("defaults to the app's or the server's; 0 means no limit", function()
        local rt = start [[
            workers = 2
            timeout = 0.3
            apps = { short = { module = "interrupted" },
                long = { module = "interrupted", timeout = 0 } }]]
        local short = send(rt, 0, "short", "go_on", 5)
        local long = send(rt, 0, "long", "go_on", 0.6)
        assert.equal("run", expect_error(short, "TIMEOUT").phase)
        expect_value(long, "went on")
        local unlimited = send(rt, 0, "long", "remaining")
        local _, _, said = unlimited:frame()
        assert.is_nil(said.values[1])
    end)

    it("is shown by dirty.remaining", function()
        local rt = start [[workers = 1; apps = { "interrupted" }]]
        local left = assert(rt:client { timeout = 20 }:execute("interrupted", "remaining"))
        assert.is_true(left > 5 and left <= 20, left)
    end)

    it("stops a call that can't be interrupted in dirty.check", function()
        local rt = start(([[
            workers = 1
            timeout_grace = %d
            apps = { app = { module = "interrupted", interruptible = false } }]]):format(LONG))
        local pid = worker_pid(rt)
        -- long enough for it to begin on a machine that is busy
        local took, _, err, info = timed(rt, 0.6, "app", "check_for_ever")
        assert.equal("TIMEOUT", info.code, err)
        assert.equal("run", info.phase)
        assert.is_true(took < LONG, took) -- before it would have been killed
        assert.equal("TIMEOUT", rt:call("app", "what_was_caught"))
        assert.equal(pid, worker_pid(rt))
    end)

    it("of the boot stops an init that hangs", function()
        local rt = runtime.launch { config = [[boot_timeout = 0.3; workers = 1; apps = { "hang" }]],
            files = { ["hang.lua"] = "return { init = function() while true do end end }" } }
        finally(function() rt:close() end)
        assert.equal(4, rt:wait(10).exit)
        assert.truthy(rt:log():find("app hang took longer in init than boot_timeout (0.3 s)", 1,
            true), rt:log())
    end)

    it("ends the connection of a caller that does not read its answer", function()
        local rt = start [[workers = 1; apps = { "interrupted" }]]
        local pid = worker_pid(rt)
        local budget = 2 * wait.SLOW -- in which it is to be seen writing
        local deaf = send(rt, budget, "interrupted", "result", 16)
        is_running(rt, "writing")
        is_free(rt, budget + GRACE + 2 * NOISE * wait.SLOW)
        assert.equal(1, rt:call("interrupted", "count"))
        assert.equal(pid, worker_pid(rt))
        local kind, how = deaf:frame()
        assert.is_nil(kind)
        assert.equal("cut", how)
    end)
end)

describe("a caller that disconnects", function()
    it("cancels its call, if the app wants that", function()
        local rt = start [[
            workers = 1
            apps = { app = { module = "interrupted", cancel_on_disconnect = true } }]]
        local pid = worker_pid(rt)
        local connection = send(rt, 30, "app", "loop")
        is_running(rt)
        connection:close()
        is_free(rt, 5)
        assert.equal(1, rt:call("app", "count"))
        assert.equal(pid, worker_pid(rt))
    end)

    it("does not stop other calls", function()
        local rt = start [[workers = 1; apps = { "interrupted" }]]
        local connection = send(rt, 30, "interrupted", "tidy_later")
        is_running(rt)
        connection:close()
        is_free(rt, 5)
        assert.equal("to the end", rt:call("interrupted", "what_was_caught"))
    end)

    it("stops its stream, wherever that is", function()
        local rt = start [[workers = 1; apps = { "interrupted" }]]
        local pid = worker_pid(rt)
        local connection = send(rt, 30, "interrupted", "chunks")
        for i = 1, 2 do
            local kind, _, said = connection:frame()
            assert.equal(codec.CHUNK, kind)
            assert.equal(i, said.values[1])
        end
        connection:close()
        is_free(rt, 5)
        assert.equal(1, rt:call("interrupted", "count"))
        assert.equal(pid, worker_pid(rt))
    end)

    it("is seen by dirty.check", function()
        local rt = start [[workers = 1; apps = { "interrupted" }]]
        local connection = send(rt, 30, "interrupted", "check_for_ever")
        is_running(rt)
        connection:close()
        is_free(rt, 5)
        assert.equal("CANCELLED", rt:call("interrupted", "what_was_caught"))
    end)
end)

describe("max_memory", function()
    it("stops the call that exceeds it, and keeps worker and state", function()
        local rt = start [[workers = 1; max_memory = "24m"; apps = { "interrupted" }]]
        local pid = worker_pid(rt)
        for i = 1, 3 do
            local _, _, err, info = timed(rt, 20, "interrupted", "grow")
            assert.equal("MEMORY", info.code, err)
            assert.equal("yes", info.started)
            assert.truthy(info.traceback:find("interrupted.lua", 1, true))
            assert.equal(i, rt:call("interrupted", "count"))
        end
        assert.is_true(rt:call("interrupted", "litter", 200))
        assert.equal(pid, worker_pid(rt))
    end)

    it("keeps the worker, whatever the call itself held", function()
        local rt = start [[workers = 1; max_memory = "24m"; apps = { "interrupted" }]]
        local pid = worker_pid(rt)
        for _, size in ipairs { 1000, 10000, 50000, 300000 } do
            local _, _, err, info = timed(rt, 20, "interrupted", "grow_by_strings", size)
            assert.equal("MEMORY", info.code, err)
            is_free(rt, 5)
        end
        assert.equal(1, rt:call("interrupted", "count"))
        assert.equal(pid, worker_pid(rt))
        assert.is_nil(rt:log():find("why=max_memory", 1, true))
    end)

    it("names the call that exceeded it in the log", function()
        local rt = start [[workers = 1; max_memory = "24m"; apps = { "interrupted" }]]
        timed(rt, 20, "interrupted", "grow")
        wait.until_true(function()
            return rt:log():find('level=warn who=worker:1 pid=%d+ msg="call ran out of memory" '
                .. 'app=interrupted action="grow" run_ms=%d+ worker=1 worker_pid=%d+ '
                .. "caller_pid=%d+ lua_bytes=%d+\n")
        end, 10, function() return "a line of it\n" .. rt:log() end)
    end)

    it("replaces a worker whose apps keep too much", function()
        local rt = start [[workers = 1; max_memory = "24m"; apps = { "interrupted" }]]
        local pid = worker_pid(rt)
        local _, _, err, info = timed(rt, 20, "interrupted", "leak")
        assert.equal("MEMORY", info.code, err)
        wait.until_true(function()
            return worker_pid(rt) ~= pid
        end, 10, "another worker")
        assert.truthy(rt:log():find("why=max_memory", 1, true))
        assert.equal(1, rt:call("interrupted", "count"))
    end)

    it("must leave room for calls once the apps are made", function()
        local rt = runtime.launch {
            config = [[workers = 1; max_memory = "8m"; apps = { "large" }]],
            files = { ["large.lua"] = "return { init = function(self) "
                .. "self.held = ('x'):rep(7.5 * 2 ^ 20) end }" },
        }
        finally(function() rt:close() end)
        assert.equal(4, rt:wait(10).exit)
        assert.truthy(rt:log():find("of max_memory (8388608 bytes) must be left for calls", 1,
            true), rt:log())
    end)
end)
