-- The deadline that a request carries: nobody runs what its caller has given up, wherever it
-- has waited.
local raw = require "support.raw"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"
local wire = require "dirty.wire"

local codec = wire.new()
local errors = require "dirty.errors"

-- An app that notes what has run.
local NOTE = [[
local M = {}
function M.note(_, path, word)
    local file = assert(io.open(path, "a"))
    file:write(word, "\n")
    file:close()
    return word
end
return M
]]

local PAST = 1e6 -- a millisecond after the machine has started

local function now_ns()
    return wait.now() * 1e9
end

local function frame(id, call, ...)
    return table.concat((assert(codec:encode_request(id, call, { ... }, select("#", ...)))))
end

describe("a request's deadline", function()
    local rt

    setup(function()
        rt = runtime.start {
            files = { ["note.lua"] = NOTE },
            config = 'apps = { "note", "apps.echo" } workers = 2 timeout = 0',
        }
    end)
    teardown(function() rt:close() end)

    local function connect()
        local connection = raw.connect(rt.socket)
        finally(function() connection:close() end)
        return connection
    end

    local function path()
        return rt.dir .. "/ran"
    end

    local function ran()
        return tempdir.read(path()) or ""
    end

    local function note(id, word, deadline_ns, budget_ms)
        return frame(id, { app = "note", action = "note", deadline_ns = deadline_ns,
            budget_ms = budget_ms }, path(), word)
    end

    local function echo(id, action, deadline_ns, budget_ms, ...)
        return frame(id, { app = "apps.echo", action = action, deadline_ns = deadline_ns,
            budget_ms = budget_ms }, ...)
    end

    local function assert_late(connection, id)
        local kind, answered, said = connection:frame()
        assert.equal(codec.ERROR, kind, answered)
        assert.equal(id, answered)
        assert.equal("TIMEOUT", errors.of(said.code).code)
        assert.same({ "no", "queue" }, { said.details.started, said.details.phase })
        return said
    end

    local function assert_value(connection, id, ...)
        local kind, answered, said = connection:frame()
        assert.equal(codec.RESPONSE, kind, said and said.message)
        assert.equal(id, answered)
        assert.same({ ... }, said.values)
    end

    it("that has passed is an answer, and nothing runs", function()
        local connection = connect()
        assert(connection:send(note(1, "late", PAST, 20000)))
        local said = assert_late(connection, 1)
        assert.matches("^note%.note was not started: its deadline had passed %d+ ms before it "
            .. "was read", said.message)
        assert.same({ "note", "note" }, { said.details.app, said.details.action })
        assert(connection:send(note(2, "zero", 0)))
        assert_late(connection, 2)
        -- the connection goes on, behind a pipelined one as well
        assert(connection:send(note(3, "late", PAST) .. note(4, "in time", now_ns() + 20e9)))
        assert_late(connection, 3)
        assert_value(connection, 4, "in time")
        assert.equal("in time\n", ran())
        os.remove(path())
    end)

    it("that has passed holds for the runtime's own services", function()
        local connection = connect()
        for i, action in ipairs { "ping", "stop", "scale" } do
            assert(connection:send(frame(i, { app = "@arbiter", action = action,
                deadline_ns = PAST }, "1")))
            assert_late(connection, i)
        end
        assert(connection:send(frame(9, { app = "@arbiter", action = "ping",
            deadline_ns = now_ns() + 20e9 })))
        assert.equal(codec.RESPONSE, (connection:frame()))
        assert.equal(2, #rt:status().workers)
    end)

    it("that passes while the request arrives is an answer too", function()
        local connection = connect()
        local deadline = now_ns() + 0.2e9
        local bytes = note(1, "trickled", deadline)
        assert(connection:send(bytes:sub(1, 60)))
        wait.until_true(function() return now_ns() > deadline end, 10)
        assert(connection:send(bytes:sub(61)))
        assert_late(connection, 1)
        assert.equal("", ran())
    end)

    it("that has passed ends a connection with an incomplete request", function()
        local connection = connect()
        connection:send(echo(1, "length", PAST, 0, ("x"):rep(100000)))
        assert_late(connection, 1)
        assert.truthy(connection:ends())
    end)

    it("counts if it is earlier than budget and server allow", function()
        local connection = connect()
        for _, budget_ms in ipairs { 0, 20000 } do
            local begun = wait.now()
            assert(connection:send(echo(1, "sleep", now_ns() + 0.6e9, budget_ms, 15000)))
            local _, _, said = connection:frame()
            assert.equal("TIMEOUT", errors.of(said.code).code)
            assert.same({ "yes", "run" }, { said.details.started, said.details.phase })
            assert.truthy(wait.now() - begun < 10)
        end
    end)

    it("is ignored if it is later than the budget, however late it is", function()
        local connection = connect()
        for _, late in ipairs { now_ns() + 3600e9, 2 ^ 62, math.huge } do
            assert(connection:send(echo(1, "sleep", late, 200, 15000)))
            local _, _, said = connection:frame()
            assert.equal("TIMEOUT", errors.of(said.code).code)
            assert(connection:send(echo(2, "sleep", late, 0, 50)))
            assert.equal(codec.RESPONSE, (connection:frame()))
        end
    end)

    it("refuses calls that waited too long before a stopped runtime", function()
        local pid = rt:status().arbiter.pid
        signal.kill(pid, signal.SIGSTOP)
        finally(function() signal.kill(pid, signal.SIGCONT) end)
        local deadline, connections = now_ns() + 0.3e9, {}
        for i = 1, 20 do
            connections[i] = connect()
            assert(connections[i]:send(note(i, "late", deadline, 300)))
        end
        local client = rt:start_call("--timeout", "0.3", "note", "note", path(), "client's")
        wait.until_true(function() return now_ns() > deadline and client:ended() end, 20,
            "the callers to have given up")
        signal.kill(pid, signal.SIGCONT)
        for i = 1, 20 do
            assert_late(connections[i], i)
        end
        assert.equal("after\n", rt:call("note", "note", path(), "after") .. "\n")
        assert.equal("after\n", ran())
    end)
end)
