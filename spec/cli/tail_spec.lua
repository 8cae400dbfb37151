-- `dirty tail`: the last calls that failed or were slow, on both paths.
local cjson = require "cjson"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local wait = require "support.wait"

local rt, follower

local function start(config, o)
    o = o or {}
    o.config = "workers = 1\napps = { 'apps.echo' }\n" .. (config or "")
    rt = runtime.start(o)
    return rt:client()
end

-- The calls as `dirty tail --json` prints them.
local function tail(...)
    local r = rt:command("tail", { "--json", ... })
    assert.equal(0, r.exit, r.stderr)
    local calls = {}
    for line in r.stdout:gmatch "[^\n]+" do
        calls[#calls + 1] = cjson.decode(line)
    end
    return calls
end

local function until_count(count, ...)
    local args, calls = { ... }, nil
    return wait.until_true(function()
        calls = tail(unpack(args))
        return #calls >= count and calls
    end, 10, count .. " calls")
end

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

after_each(function()
    if follower then
        follower:close()
    end
    if rt then
        rt:close()
    end
    rt, follower = nil, nil
end)

for _, fast in ipairs { true, false } do
    describe("dirty tail" .. (fast and "" or " with fast_path = false"), function()
        local config = fast and "" or "fast_path = false\n"

        it("shows what failed, with message and traceback", function()
            local client = start(config)
            for _ = 1, 5 do -- so that the failing call goes the path that is meant
                client:execute("apps.echo", "noop")
            end
            client:execute("apps.echo", "fail", "oh no")
            client:execute("apps.echo", "no_such_action")
            client:execute("apps.none", "noop")
            local calls = until_count(3)
            assert.equal("APP", calls[1].code)
            assert.equal("apps.echo", calls[1].app)
            assert.equal("fail", calls[1].action)
            contains(calls[1].message, "oh no")
            contains(calls[1].traceback, "echo.lua")
            assert.equal(1, calls[1].worker)
            assert.equal(rt:status().workers[1].pid, calls[1].worker_pid)
            assert.equal("ACTION_NOT_FOUND", calls[2].code)
            assert.equal("APP_NOT_FOUND", calls[3].code)
            assert.equal(0, calls[3].worker)
            assert.is_true(calls[1].at <= calls[2].at)
            assert.is_true(math.abs(calls[1].at - os.time()) < 60)
        end)

        it("shows slow calls that returned a value", function()
            local client = start(config .. "slow_log_threshold = 0.05")
            for _ = 1, 5 do
                client:execute("apps.echo", "noop")
            end
            client:execute("apps.echo", "sleep", 60)
            local found
            wait.until_true(function()
                for _, call in ipairs(tail()) do
                    found = call.action == "sleep" and call or found
                end
                return found
            end, 10, "the slow call")
            assert.equal("OK", found.code)
            assert.is_true(found.run_ms >= 60)
            assert.equal(cjson.null, found.message)
        end)
    end)
end

describe("dirty tail", function()
    it("keeps what a worker had noted that has ended", function()
        local client = start()
        client:execute("apps.echo", "fail", "first")
        until_count(1)
        client:execute("apps.echo", "crash")
        local calls = until_count(2)
        contains(calls[1].message, "first")
        assert.equal("WORKER_LOST", calls[2].code)
        contains(calls[2].message, "SIGSEGV")
    end)

    it("shows as many as asked for, the newest", function()
        local client = start()
        for i = 1, 40 do
            client:execute("apps.echo", "fail", "number " .. i)
        end
        wait.until_true(function()
            return tail("-n", "1")[1].message:find("number 40", 1, true)
        end, 10, "the last call")
        local calls = tail("--number", "3")
        assert.equal(3, #calls)
        contains(calls[1].message, "number 38")
        assert.equal(20, #tail())
        assert.equal(32, #tail("-n", "200")) -- what the lane remembers
        for _, wrong in ipairs { "0", "201", "x", "1.5" } do
            local r = rt:command("tail", { "-n", wrong })
            assert.equal(2, r.exit)
            contains(r.stderr, "from 1 to 200")
        end
    end)

    it("goes on with new ones, each once, over a restart of the arbiter", function()
        local client = start()
        client:execute("apps.echo", "fail", "before")
        until_count(1)
        follower = process.start { process.dirty(), "tail", "--socket", rt.socket, "--follow" }
        local function count(part)
            return select(2, follower:stdout():gsub(part, ""))
        end
        local function appears(part)
            wait.until_true(function()
                return count("    [^\n]*" .. part) > 0
            end, 20, part)
        end
        appears "before"
        client:execute("apps.echo", "fail", "second")
        appears "second"
        signal.kill(rt:status().arbiter.pid, signal.SIGKILL)
        wait.until_true(function()
            return client:execute("apps.echo", "echo", 1) == 1
        end, 20, "the next arbiter")
        client:execute("apps.echo", "fail", "third")
        appears "third"
        for _, part in ipairs { "before", "second", "third" } do
            assert.equal(1, count("\n    [^\n]*: " .. part), follower:stdout())
        end
        follower:signal(signal.SIGINT)
        assert.same({ signal = signal.SIGINT }, follower:wait())
    end)
end)
