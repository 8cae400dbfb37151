-- Requests that wait for a lane, on the running system.
local raw = require "support.raw"
local runtime = require "support.runtime"
local wait = require "support.wait"
local wire = require "dirty.wire"

local codec = wire.new()

-- Bytes of a request to apps.echo.
local function request(id, action, ...)
    return table.concat((assert(codec:encode_request(id, { app = "apps.echo",
        action = action, budget_ms = 20000 }, { ... }, select("#", ...)))))
end

local function expect_value(connection, value)
    local kind, _, said = connection:frame()
    assert.equal(codec.RESPONSE, kind, said and said.message)
    assert.same(value, said.values[1])
end

describe("a request in the queue", function()
    local rt, connections

    before_each(function()
        connections = {}
        rt = runtime.start { config = [[
            workers = 1
            recv_timeout = 0.3
            apps = { "apps.echo" }]] }
    end)

    after_each(function()
        for _, connection in ipairs(connections) do
            connection:close()
        end
        rt:close()
    end)

    local function send(bytes)
        local connection = raw.connect(rt.socket)
        connections[#connections + 1] = connection
        assert(connection:send(bytes))
        return connection
    end

    -- Keep the only lane busy.
    local function occupy(ms)
        local connection = send(request(1, "sleep", ms))
        wait.until_true(function()
            return rt:status().workers[1].lanes[1].state == "running"
        end, 5, "the lane is busy")
        return connection
    end

    it("may wait longer than recv_timeout, however large it is", function()
        local first = occupy(1200)
        local large = send(request(2, "length", ("x"):rep(20000)))
        expect_value(first, 1200)
        expect_value(large, 20000)
    end)

    it("is still to be received in recv_timeout once a lane has it", function()
        local first = occupy(1200)
        local cut = send(request(2, "length", ("x"):rep(20000)):sub(1, 15000))
        expect_value(first, 1200)
        local began = wait.now()
        local kind, _, said = cut:frame()
        assert.equal(codec.ERROR, kind)
        assert.equal("receive", said.details.phase, said.message)
        assert.equal("no", said.details.started)
        assert.truthy(said.message:find("of 20", 1, true), said.message)
        assert.is_true(wait.now() - began < 1 * wait.SLOW)
    end)
end)
