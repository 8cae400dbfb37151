-- What becomes of callers when descriptors, memory or room in the backlog run out: it is
-- survived and said, and who waits already is not harmed.
local cjson = require "cjson"
local errors = require "dirty.errors"
local process = require "support.process"
local raw = require "support.raw"
local runtime = require "support.runtime"
local signal = require "posix.signal"
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

describe("a runtime that is short of", function()
    local function start(o)
        local rt = runtime.start(o)
        finally(function() rt:close() end)
        return rt
    end

    local function connect(rt)
        local connection = raw.connect(rt.socket)
        finally(function() connection:close() end)
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

    it("descriptors lets callers wait, serves those it has, and replaces workers", function()
        local rt = start { apps = { "apps.echo" }, args = { "--workers", "2" },
            wrap = few_descriptors(60) }
        local connections = {}
        for i = 1, 80 do
            connections[i] = connect(rt)
        end
        local first = connections[1]
        assert(first:send(request(1, "apps.echo", "sleep", 300)))
        assert(connections[2]:send(request(2, "apps.echo", "sleep", 300)))
        assert(connections[3]:send(request(3, "apps.echo", "echo", "waited")))
        wait.until_true(function() return rt:log():find("can't accept connections", 1, true) end,
            10, "a line in the log")
        assert.matches("ulimit", rt:log())
        assert_answer(first, 1, 300)
        assert_answer(connections[2], 2, 300)
        assert_answer(connections[3], 3, "waited")

        local victims = {}
        for i, worker in ipairs(status_over(first).workers) do
            victims[i] = worker.pid
            signal.kill(worker.pid, signal.SIGKILL)
        end
        wait.until_true(function()
            local workers = status_over(first).workers
            return workers[1].state == "ready" and workers[1].pid ~= victims[1]
                and workers[2].state == "ready" and workers[2].pid ~= victims[2]
        end, 3, function() return "two new workers\n" .. rt:log() end)

        assert(connections[80]:send(request(80, "apps.echo", "echo", "last")))
        for i = 4, 70 do
            connections[i]:close()
        end
        assert_answer(connections[80], 80, "last")
    end)
end)
