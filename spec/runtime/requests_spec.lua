-- What becomes of requests at the moments that go wrong: their callers hang up, their
-- deadlines pass, their bytes do not come, while the arbiter looks or while it can't.
local codes = require "dirty.errors"
local posix_signal = require "posix.signal"
local raw = require "support.raw"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local wait = require "support.wait"
local wire = require "dirty.wire"

local codec = wire.new()

-- Notes what it ran, in a file of the runtime's directory.
local NOTE = [==[
local M = {}
function M.note(_, path, text)
    local file = assert(io.open(path, "a"))
    file:write(text, "\n")
    file:close()
    return text
end
function M.note_after(_, path, text, ms)
    local until_s = os.clock() + ms / 1000
    while os.clock() < until_s do end
    return M.note(nil, path, text)
end
function M.note_twice(_, path, text, ms)
    M.note(nil, path, text)
    return M.note_after(nil, path, text, ms)
end
function M.length(_, bytes) return #bytes, bytes:sub(1, 3), bytes:sub(-3) end
function M.pid() return require("dirty").pid end
function M.babble(_, kind, count)
    local ffi = require "ffi"
    ffi.cdef [=[
        int getsockopt(int, int, int, void *, int *);
        long send(int, const void *, size_t, int);
    ]=]
    local message = ffi.new("uint32_t[8]", kind)
    local value, len = ffi.new("int[1]"), ffi.new("int[1]", 4)
    for fd = 3, 100 do -- SOL_SOCKET, SO_TYPE: SOCK_SEQPACKET
        if ffi.C.getsockopt(fd, 1, 3, value, len) == 0 and value[0] == 5 then
            for _ = 1, count do ffi.C.send(fd, message, 32, 0) end
        end
    end
    return true
end
return M
]==]

describe("a request", function()
    local rt, opened

    before_each(function() opened = {} end)
    after_each(function()
        for _, connection in ipairs(opened) do
            connection:close()
        end
        if rt then
            rt:close()
            rt = nil
        end
    end)

    local function start(config)
        rt = runtime.start { apps = { "apps.echo", "note" }, files = { ["note.lua"] = NOTE },
            config = config or "workers = 1\n" }
        return rt
    end

    local function connect()
        local connection = raw.connect(rt.socket)
        opened[#opened + 1] = connection
        return connection
    end

    local function request(id, app, action, o, ...)
        return table.concat((assert(codec:encode_request(id,
            { app = app, action = action, budget_ms = o.budget_ms or 20000 },
            { ... }, select("#", ...)))))
    end

    local function send(bytes)
        local connection = connect()
        assert(connection:send(bytes))
        return connection
    end

    local function answer(connection, id, seconds)
        local kind, answered, said = connection:frame(seconds)
        assert.equal(codec.RESPONSE, kind, answered)
        assert.equal(id, answered)
        return said.values
    end

    local function refusal(connection, id, seconds)
        local kind, answered, said = connection:frame(seconds)
        assert.equal(codec.ERROR, kind, answered)
        assert.equal(id, answered)
        return codes.of(said.code).code, said.details
    end

    local function noted()
        return tempdir.read(rt.dir .. "/noted") or ""
    end

    local function note(id, text, o)
        return request(id, "note", "note", o or {}, rt.dir .. "/noted", text)
    end

    local function busy_lane(ms)
        local busy = send(request(50, "apps.echo", "sleep", {}, ms))
        wait.until_true(function()
            return rt:status().workers[1].lanes[1].state == "running"
        end, 10, "a running call")
        return busy
    end

    local function stopped(f)
        local pid = rt:status().arbiter.pid
        posix_signal.kill(pid, posix_signal.SIGSTOP)
        local ok, err = pcall(f)
        posix_signal.kill(pid, posix_signal.SIGCONT)
        assert(ok, err)
    end

    local function pause_until(moment)
        wait.until_true(function() return wait.now() >= moment end, 30, "the time to pass")
    end

    local function assert_settled(pid)
        local status
        wait.until_true(function()
            status = rt:status()
            return status.queue.length == 0
        end, 10, "an empty queue")
        assert.equal(pid, status.arbiter.pid)
        for name, app in pairs(status.apps) do
            assert.equal(0, app.queued, name)
        end
        assert.same({ "served" }, { rt:call("apps.echo", "echo", "served") })
        assert.is_nil(rt:log():find("internal error", 1, true))
    end

    -- The worker is stopped after the request was sent to it; the arbiter, too, or not.
    for _, with in ipairs { "the worker", "the worker and the arbiter" } do
        it("whose caller hangs up before it has begun does not run: stopped, " .. with, function()
            start()
            local status = rt:status()
            local both = with ~= "the worker"
            posix_signal.kill(status.workers[1].pid, posix_signal.SIGSTOP)
            local ok, err = pcall(function()
                local left = send(note(1, "ran"))
                wait.until_true(function()
                    return rt:status().workers[1].lanes[1].state ~= "idle"
                end, 10, "the lane to have it")
                if both then
                    posix_signal.kill(status.arbiter.pid, posix_signal.SIGSTOP)
                end
                local sent = wait.now()
                left:close()
                pause_until(sent + 0.05)
                if not both then
                    wait.until_true(function()
                        return rt:status().counters.abandoned == 1
                    end, 10, "the arbiter to see it")
                end
            end)
            posix_signal.kill(status.workers[1].pid, posix_signal.SIGCONT)
            if both then -- the lane comes first
                pause_until(wait.now() + 0.05)
                posix_signal.kill(status.arbiter.pid, posix_signal.SIGCONT)
            end
            assert(ok, err)
            assert_settled(status.arbiter.pid)
            assert.equal(status.workers[1].pid, rt:status().workers[1].pid)
            assert.equal("", noted())
        end)
    end

    -- The loop runs timers before it learns of hang-ups: so both have come for it at once.
    for _, place in ipairs { "alone", "first", "middle", "last" } do
        it("whose caller hung up and whose deadline passed ends once: " .. place, function()
            start()
            local pid = rt:status().arbiter.pid
            local busy = busy_lane(1500)
            local others = {}
            local queued = 0
            local function other(id)
                local connection = send(request(id, "apps.echo", "echo", {}, "waited"))
                queued = queued + 1
                wait.until_true(function() return rt:status().queue.length == queued end,
                    10, "a longer queue")
                others[#others + 1] = { connection, id }
            end
            if place == "middle" or place == "last" then
                other(101)
            end
            local deadline = wait.now() + 0.6
            local gone = send(request(7, "apps.echo", "echo", { budget_ms = 500 }, "gone"))
            queued = queued + 1
            wait.until_true(function() return rt:status().queue.length == queued end,
                10, "the doomed request in the queue")
            if place == "middle" or place == "first" then
                other(201)
            end
            stopped(function()
                gone:close()
                pause_until(deadline + 0.1)
            end)
            for _, o in ipairs(others) do
                assert.same({ "waited" }, answer(o[1], o[2]))
            end
            assert.same({ 1500 }, answer(busy, 50))
            assert_settled(pid)
        end)
    end

    it("is not run when its caller hung up before it was read", function()
        start("workers = 2\n")
        stopped(function()
            for id = 1, 20 do
                send(note(id, "abandoned")):close()
            end
        end)
        local last = send(note(99, "wanted"))
        assert.same({ "wanted" }, answer(last, 99))
        assert_settled(rt:status().arbiter.pid)
        assert.equal("wanted\n", noted())
        assert.truthy(rt:status().counters.abandoned >= 20)
    end)

    it("is not run when its caller hung up in the queue, unseen", function()
        start()
        local busy = busy_lane(300)
        local gone = send(note(7, "abandoned"))
        wait.until_true(function() return rt:status().queue.length == 1 end, 10, "a queue")
        stopped(function()
            gone:close()
            -- the lane's report and the hang-up come in one turn of the loop
            pause_until(wait.now() + 0.5)
        end)
        assert.same({ 300 }, answer(busy, 50))
        assert_settled(rt:status().arbiter.pid)
        assert.equal("", noted())
    end)

    it("goes on when its caller hangs up with an answer unread, and costs no worker", function()
        start("workers = 1\ntimeout_grace = 0.2\n")
        local pid = rt:call("note", "pid")
        local caller = send(request(1, "apps.echo", "echo", {}, ("x"):rep(100)))
        wait.until_true(function() return rt:status().counters.values >= 2 end, 10, "an answer")
        assert(caller:send(request(2, "note", "note_twice", {}, rt.dir .. "/noted", "ran", 700)))
        wait.until_true(function() return noted() == "ran\n" end, 10, "the second call to begin")
        caller:close()
        wait.until_true(function() return noted() == "ran\nran\n" end, 10, "its second note")
        assert.equal(pid, (rt:call("note", "pid")))
        assert.equal(0, rt:status().counters.killed)
    end)

    it("for the status is answered from a cache if it is repeated without pause", function()
        start("workers = 20\n")
        local flood, distinct, seen = connect(), 0, {}
        local ask = request(1, "@arbiter", "status", {})
        for _ = 1, 40 do
            assert(flood:send(ask:rep(100)))
            for _ = 1, 100 do
                local uptime = answer(flood, 1)[1].arbiter.uptime_s
                distinct = distinct + (seen[uptime] and 0 or 1)
                seen[uptime] = true
            end
        end
        assert.truthy(distinct < 3000, distinct .. " of 4000 were made anew")
        assert.equal(0, rt:status().queue.length)
    end)

    describe("that arrives incompletely", function()
        it("ends its connection after an earlier one, under its own id", function()
            start("workers = 1\nrecv_timeout = 0.3\n")
            local connection = send(request(7, "apps.echo", "echo", {}, 1))
            assert.same({ 1 }, answer(connection, 7))
            -- its payload holds a request, most of which comes after the timeout
            local smuggled = note(66, "smuggled")
            local bytes = request(8, "apps.echo", "echo", {}, smuggled)
            assert(connection:send(bytes:sub(1, #bytes - #smuggled - 5)))
            local code, details = refusal(connection, 8)
            assert.same({ "TIMEOUT", "receive", "no" }, { code, details.phase, details.started })
            connection:send(bytes:sub(#bytes - #smuggled - 4))
            assert.truthy(connection:ends())
            assert.equal("", noted())
        end)

        it("has the id 0 where its header was cut, whatever came before", function()
            start("workers = 1\nrecv_timeout = 0.3\n")
            local connection = send(request(7, "apps.echo", "echo", {}, 1))
            assert.same({ 1 }, answer(connection, 7))
            assert(connection:send(request(8, "apps.echo", "echo", {}, 1):sub(1, 9)))
            local code, details = refusal(connection, 0)
            assert.same({ "TIMEOUT", nil }, { code, details.app })
            assert.truthy(connection:ends())
        end)

        for what, first in pairs { ["a quick one"] = "echo", ["a slow one"] = "sleep" } do
            it("is TRUNCATED where its caller shuts down inside it, behind " .. what, function()
                start()
                local whole = request(9, "apps.echo", "echo", {}, ("x"):rep(50000))
                for _, cut in ipairs { 1, 5, 16, 60, 20000 } do
                    local connection = send(request(1, "apps.echo", first, {}, 100)
                        .. whole:sub(1, cut))
                    connection:half_close()
                    assert.same({ 100 }, answer(connection, 1))
                    local code, details = refusal(connection, cut < 16 and 0 or 9)
                    assert.same({ "PROTOCOL", "TRUNCATED" }, { code, details.fault }, cut)
                    assert.truthy(connection:ends())
                end
            end)
        end
    end)

    -- DONE of another request, READY again, and kinds that a lane has no business with.
    for _, kind in ipairs { 1, 2, 16, 17, 18, 19, 20, 21, 4294967295 } do
        it("in a worker that breaks the rules of its channel ends it at once: " .. kind, function()
            start()
            local client = rt:client()
            client:execute("note", "babble", kind, 300) -- the answer may be out before
            wait.until_true(function() return rt:status().workers[1].generation == 2 end, 10,
                "another worker")
            assert.equal("served", (client:execute("apps.echo", "echo", "served")))
            local _, lines = rt:log():gsub("broke the channel protocol", "")
            assert.equal(1, lines)
            assert.equal(1, rt:status().counters.killed)
        end)
    end

    describe("whose sender stalls", function()
        local bytes = ("abc%s"):format(("q"):rep(99994)) .. "xyz"

        local function upload(id, o)
            return request(id, "note", "length", o or {}, bytes)
        end

        local function stall(frame, at)
            local connection = send(frame:sub(1, at))
            wait.until_true(function()
                return rt:status().counters.stalled > 0
            end, 10, "a lane to give the request back")
            return connection
        end

        it("occupies no lane", function()
            start("workers = 2\n")
            local slow = {}
            for i = 1, 4 do
                slow[i] = send(upload(i):sub(1, 8192 + i))
            end
            local client = rt:client { timeout = 10 }
            for _ = 1, 20 do
                assert.equal(1, (client:execute("apps.echo", "echo", 1)))
            end
            wait.until_true(function() return rt:status().counters.stalled == 4 end, 10,
                "all to be given back")
            for _, worker in ipairs(rt:status().workers) do
                assert.equal("idle", worker.lanes[1].state)
            end
            for i = 4, 1, -1 do
                assert(slow[i]:send(upload(i):sub(8193 + i)))
                assert.same({ #bytes, "abc", "xyz" }, answer(slow[i], i))
            end
            assert(slow[2]:send(request(9, "apps.echo", "echo", {}, "goes on")))
            assert.same({ "goes on" }, answer(slow[2], 9))
        end)

        -- What slow requests hold is bounded as soon as a lane gives one back.
        it("is refused where all of them hold 256 MiB already", function()
            start("workers = 2\nrecv_timeout = 300\n")
            local whole = request(7, "note", "length", { budget_ms = 300000 },
                ("x"):rep(60 * 2 ^ 20)) -- none may end before the last has come
            local most = whole:sub(1, 58 * 2 ^ 20)
            for count = 1, 4 do
                send(most)
                wait.until_true(function() return rt:status().counters.stalled == count end, 30,
                    "a lane to give the request back")
            end
            local code, details = refusal(send(most), 7, 30)
            assert.equal("OVERLOADED", code)
            assert.equal("no", details.started)
            assert.equal("receive", details.phase)
            assert.equal(100000, (rt:call("note", "length", ("x"):rep(100000))))
        end)

        it("is answered completely, wherever it was cut and whatever follows", function()
            start()
            local frame = upload(3)
            for n, at in ipairs { 8192, 8193, 30000, #frame - 1 } do
                local connection = send(frame:sub(1, at))
                wait.until_true(function() return rt:status().counters.stalled == n end, 10,
                    "a lane to give the request back")
                assert(connection:send(frame:sub(at + 1) .. request(4, "apps.echo", "echo", {}, n)))
                assert.same({ #bytes, "abc", "xyz" }, answer(connection, 3))
                assert.same({ n }, answer(connection, 4))
            end
        end)

        it("is a TIMEOUT after recv_timeout in total", function()
            start("workers = 1\nrecv_timeout = 0.5\n")
            local frame = upload(5)
            local began = wait.now()
            local connection = stall(frame, 9000)
            for at = 9001, 9200 do -- a trickle does not stretch the time
                if not connection:send(frame:sub(at, at)) or wait.now() - began > 5 then
                    break
                end
                if connection:frame(0.02) then
                    opened[#opened] = nil
                    assert.truthy(wait.now() - began < 5)
                    return
                end
            end
            error("no answer within " .. wait.now() - began .. " s")
        end)

        it("gets no extra recv_timeout after having been in a lane", function()
            start("workers = 1\nrecv_timeout = 4\n")
            local frame = upload(5)
            local connection = send(frame:sub(1, 100))
            local began = wait.now()
            wait.until_true(function() return wait.now() - began > 2 end, 10)
            local resumed = wait.now()
            assert(connection:send(frame:sub(101, 9000)))
            wait.until_true(function() return rt:status().counters.stalled == 1 end, 10,
                "a lane to give the request back")
            assert.same("TIMEOUT", (refusal(connection, 5)))
            assert.truthy(wait.now() - resumed < 4)
        end)

        it("has its id and phase in the timeout", function()
            start("workers = 1\nrecv_timeout = 0.3\n")
            local code, details = refusal(stall(upload(5), 9000), 5)
            assert.same({ "TIMEOUT", "receive", "no", "note", "length" },
                { code, details.phase, details.started, details.app, details.action })
        end)

        it("has its own deadline, too", function()
            start()
            local connection = stall(upload(5, { budget_ms = 400 }), 9000)
            assert.same("TIMEOUT", (refusal(connection, 5)))
            assert.truthy(connection:ends())
        end)

        it("is TRUNCATED where its caller shuts down, dropped where it hangs up", function()
            start()
            local connection = stall(upload(5), 9000)
            connection:half_close()
            local code, details = refusal(connection, 5)
            assert.same({ "PROTOCOL", "TRUNCATED" }, { code, details.fault })
            connection = send(upload(6):sub(1, 20000))
            wait.until_true(function() return rt:status().counters.stalled == 2 end, 10,
                "the second to be given back")
            connection:close()
            wait.until_true(function() return rt:status().counters.abandoned == 1 end, 10,
                "the hang-up to be seen")
            assert_settled(rt:status().arbiter.pid)
        end)

        it("ends with SHUTDOWN when the runtime stops", function()
            start("workers = 1\ngraceful_timeout = 0.5\n")
            local connection = stall(upload(5), 9000)
            rt:signal(posix_signal.SIGTERM)
            assert.same("SHUTDOWN", (refusal(connection, 5)))
            assert.same({ exit = 0 }, rt:wait())
        end)
    end)
end)
