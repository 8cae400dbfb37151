-- What docs/protocol.md says of the server, tried on a running one, byte by byte.
local cjson = require "cjson"
local fixtures = require "support.fixtures"
local raw = require "support.raw"
local runtime = require "support.runtime"
local wait = require "support.wait"
local wire = require "dirty.wire"

local codec = wire.new()

local function request(id, action, ...)
    return table.concat((assert(codec:encode_request(id,
        { app = "apps.echo", action = action, budget_ms = 20000 }, { ... }, select("#", ...)))))
end

describe("the server", function()
    local rt, status

    setup(function()
        rt = runtime.start { apps = { "apps.echo" }, config = [[
            workers = 2
            recv_timeout = 0.4
            send_timeout = 0.4
            linger_timeout = 0.4
        ]] }
        status = raw.connect(rt.socket)
    end)
    teardown(function()
        status:close()
        rt:close()
    end)

    local function connect()
        local connection = raw.connect(rt.socket)
        finally(function() connection:close() end)
        return connection
    end

    -- The server has looked at all that was sent before: it has answered someone who came
    -- later.
    local function is_seen()
        assert(status:send(table.concat((codec:encode_request(1,
            { app = "@arbiter", action = "status" }, {}, 0)))))
        assert.equal(codec.RESPONSE, (status:frame()))
    end

    local function assert_answer(connection, id, ...)
        local kind, answered, said = connection:frame()
        assert.equal(codec.RESPONSE, kind, answered)
        assert.equal(id, answered)
        assert.same({ ... }, said.values)
    end

    local function assert_error(connection, code, id)
        local kind, answered, said = connection:frame()
        assert.equal(codec.ERROR, kind, answered)
        assert.equal(code, require("dirty.errors").of(said.code).code)
        assert.equal(id, answered)
        assert.truthy(said.details.started)
        return said
    end

    local function assert_still_serves()
        local connection = connect()
        assert(connection:send(request(3, "echo", "well")))
        assert_answer(connection, 3, "well")
    end

    it("answers every valid request, once, with its id", function()
        local connection = connect()
        for _, f in ipairs(fixtures.load("valid")) do
            if f.type == "REQUEST" then
                assert(connection:send(f.frame))
                local kind, id, said = connection:frame()
                local known = f.app == "apps.echo" or f.app == "@arbiter"
                assert.equal(known and codec.RESPONSE or codec.ERROR, kind,
                    f.name .. ": " .. cjson.encode(said and said.message or id))
                assert.equal(f.id, codec:encode_end(id)[1]:sub(9))
            end
        end
    end)

    it("names the fault of every invalid request and ends the connection", function()
        for _, f in ipairs(fixtures.load("invalid")) do
            if f.side == "server" and not f.max_args then
                local connection = connect()
                connection:send(f.frame)
                local kind, id, said = connection:frame()
                assert.equal(codec.ERROR, kind, f.name .. ": " .. tostring(id))
                assert.same({ f.name, f.fault }, { f.name, said.details.fault })
                assert.same({ 1 }, said.details.versions)
                assert.equal("no", said.details.started)
                assert.equal((f.after or 16) < 16 and 0 or 1, id, f.name)
                assert.truthy(connection:ends(), f.name)
                connection:close()
            end
        end
        assert_still_serves()
    end)

    it("takes a request in two parts, split anywhere", function()
        local connection = connect()
        local bytes = request(4, "echo", "split", { 1 })
        for at = 1, #bytes - 1 do
            assert(connection:send(bytes:sub(1, at)))
            is_seen()
            assert(connection:send(bytes:sub(at + 1)))
            assert_answer(connection, 4, "split", { 1 })
        end
    end)

    it("minds nobody who leaves in the middle of a request", function()
        local bytes = request(5, "echo", ("x"):rep(50))
        for at = 0, #bytes do
            local connection = connect()
            assert(connection:send(bytes:sub(1, at)))
            connection:close()
        end
        assert_still_serves()
    end)

    it("tells who shuts down inside a message, with id 0 where that is cut", function()
        local bytes = request(6, "echo", "cut")
        for at = 0, #bytes - 1 do
            local connection = connect()
            assert(connection:send(bytes:sub(1, at)))
            connection:half_close()
            if at >= 1 then
                local said = assert_error(connection, "PROTOCOL", at < 16 and 0 or 6)
                assert.equal("TRUNCATED", said.details.fault)
            end
            assert.truthy(connection:ends(), at)
            connection:close()
        end
    end)

    it("answers who shuts down behind a request, then ends", function()
        local connection = connect()
        assert(connection:send(request(7, "echo", "one") .. request(8, "sleep", 20)
            .. request(9, "echo", "three")))
        connection:half_close()
        assert_answer(connection, 7, "one")
        assert.equal(8, select(2, connection:frame()))
        assert_answer(connection, 9, "three")
        assert.truthy(connection:ends())
    end)

    it("lets early bytes wait, in order", function()
        local connection = connect()
        assert(connection:send(request(1, "sleep", 50)))
        for id = 2, 40 do
            assert(connection:send(request(id, "length", ("y"):rep(id * 100))))
        end
        assert.equal(1, select(2, connection:frame()))
        for id = 2, 40 do
            assert_answer(connection, id, id * 100)
        end
    end)

    it("bounds the whole of a request, not the gap between its bytes", function()
        local connection = connect()
        local bytes, sent = request(10, "echo", ("z"):rep(1000)), 0
        repeat
            sent = sent + 1
            connection:send(bytes:sub(sent, sent))
            local said = connection:frame(0.05) -- a byte each 50 ms
        until said or sent == 200
        assert.truthy(sent < 60, sent)
        connection:close()

        local silent = connect()
        assert(silent:send(bytes:sub(1, 100)))
        local said = assert_error(silent, "TIMEOUT", 10)
        assert.same({ "receive", "no" }, { said.details.phase, said.details.started })
        assert.truthy(silent:ends())
    end)

    it("bounds a large request that a lane receives as well", function()
        local connection = connect()
        assert(connection:send(request(11, "length", ("z"):rep(100000)):sub(1, 50000)))
        local said = assert_error(connection, "TIMEOUT", 11)
        assert.same({ "receive", "no" }, { said.details.phase, said.details.started })
        assert.truthy(connection:ends())
        assert_still_serves()
    end)

    it("answers a large request it refuses before it is sent whole", function()
        local connection = connect()
        local bytes = table.concat((assert(codec:encode_request(12,
            { app = "nobody", action = "x" }, { ("z"):rep(20000000) }, 1))))
        connection:send(bytes)
        assert_error(connection, "APP_NOT_FOUND", 12)
        assert.truthy(connection:ends())
    end)

    it("gives up on who does not read", function()
        local connection = connect()
        assert(connection:send(request(13, "echo", ("w"):rep(8000000))))
        wait.until_true(function() -- the lane that writes to us has 0.4 s for it
            for _, worker in ipairs(rt:status().workers) do
                if worker.lanes[1].app then
                    return false
                end
            end
            return true
        end, 5, "all lanes to be idle")
        local kind, err = connection:frame()
        assert.is_nil(kind)
        assert.equal("cut", err)
    end)

    it("keeps the connection after an error of a request it has read whole", function()
        local connection = connect()
        assert(connection:send(request(14, "fail", "oops")))
        assert.equal("yes", assert_error(connection, "APP", 14).details.started)
        assert(connection:send(request(15, "nothing_of_the_kind")))
        assert_error(connection, "ACTION_NOT_FOUND", 15)
        assert(connection:send(table.concat((codec:encode_request(16,
            { app = "@arbiter", action = "dance" }, {}, 0)))))
        assert_error(connection, "ACTION_NOT_FOUND", 16)
        assert(connection:send(table.concat((codec:encode_request(17,
            { app = "@nobody", action = "status" }, {}, 0)))))
        assert_error(connection, "APP_NOT_FOUND", 17)
        assert(connection:send(request(18, "echo", "on")))
        assert_answer(connection, 18, "on")
    end)

    it("takes no large request to a reserved app", function()
        local connection = connect()
        connection:send(table.concat((codec:encode_request(19,
            { app = "@arbiter", action = "status" }, { ("x"):rep(8192) }, 1))))
        assert_error(connection, "PROTOCOL", 19)
        assert.truthy(connection:ends())
    end)

    it("says which versions it speaks to one it doesn't know", function()
        local connection = connect()
        assert(connection:send("DW\2"))
        local said = assert_error(connection, "PROTOCOL", 0)
        assert.same({ "BAD_VERSION", { 1 } }, { said.details.fault, said.details.versions })
        assert.truthy(connection:ends())
    end)

    it("never closes a connection that is idle", function()
        local connection = connect()
        assert.is_false(connection:ends(0.8)) -- twice its longest timeout
        assert(connection:send(request(20, "echo", "here")))
        assert_answer(connection, 20, "here")
    end)
end)
