-- kill -9 of parts of the runtime while browsers call through nginx: answers are right or
-- typed errors, nginx's workers live on, and it works again without a word to nginx.
local http = require "support.http"
local load = require "support.load"
local nginx = require "support.nginx"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local wait = require "support.wait"

local PROCESSES, AT_ONCE = 4, 8

local HTTP = [[
    init_by_lua_block {
        client = require("dirty").client { socket = "$socket", timeout = 10 }
    }
]]

local SERVER = [[
    location = /echo {
        content_by_lua_block {
            local said = ngx.var.arg_say
            local bytes = said:rep(tonumber(ngx.var.arg_times))
            local value, err, info = client:execute("apps.echo", "echo", bytes)
            if not value then
                ngx.status = info.http_status
                return ngx.print(err)
            end
            ngx.print(value)
        }
    }
]]

-- What a call may say while something is killed.
local TYPED = {
    WORKER_LOST = true, CONNECTION = true, NO_WORKERS = true, SHUTDOWN = true,
    OVERLOADED = true, TIMEOUT = true,
}

-- Some requests at once, each with words of its own; nil, err for an answer that is neither
-- its own nor a typed error.
local function call(path, number, n)
    local exchanges, wanted = {}, {}
    for i = 1, AT_ONCE do
        local say, times = ("caller%d-%d-%d;"):format(number, n, i), i % 4 == 0 and 5000 or 1
        wanted[i] = say:rep(times)
        exchanges[i] = http.open(path, { uri = ("/echo?say=%s&times=%d"):format(say, times) })
    end
    http.finish(exchanges, 30)
    for i, x in ipairs(exchanges) do
        if x.failed then
            return nil, "nginx: " .. x.failed
        elseif x.status == 200 and x.body ~= wanted[i] then
            return nil, "a wrong body: " .. x.body:sub(1, 60)
        elseif x.status ~= 200 and not TYPED[x.body:match("^[%u_]+")] then
            return nil, "untyped: " .. x.status .. " " .. x.body:sub(1, 60)
        end
    end
    return true
end

describe("nginx when parts of the runtime are killed", function()
    local rt, server, callers, pids

    before_each(function()
        rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "2" } }
        server = nginx.start { words = { socket = rt.socket }, http = HTTP, server = SERVER,
            workers = 2 }
        pids = server:workers()
        local path = server.socket
        callers = load.start(rt.socket, PROCESSES, function(_, number, n)
            return call(path, number, n)
        end)
    end)

    after_each(function()
        callers:stop()
        server:close()
        rt:close()
    end)

    local function works()
        local ok, r = pcall(http.request, server.socket, "/echo?say=x&times=3")
        return ok and r.status == 200 and r.body == "xxx"
    end

    local function works_again()
        wait.until_true(works, 30, function() return "it works again\n" .. rt:log() end)
    end

    local function check()
        works_again()
        local report = callers:stop()
        assert.same({}, report.failures)
        assert.equal(0, report.hung)
        assert.is_true(report.calls > 0)
        assert.same(pids, server:workers())
        assert.same({}, server:errors(" failed %(%d+: "))
    end

    it("gets typed errors for a worker", function()
        for _ = 1, 5 do
            works_again()
            for _, worker in ipairs(rt:status().workers) do
                if type(worker.pid) == "number" then -- a place that waits has none
                    signal.kill(worker.pid, signal.SIGKILL)
                end
            end
        end
        check()
    end)

    it("gets typed errors for the arbiter", function()
        for _ = 1, 3 do
            works_again()
            signal.kill(rt:status().arbiter.pid, signal.SIGKILL)
        end
        check()
    end)

    it("gets typed errors for the whole runtime, and works with the next one", function()
        local status = rt:status()
        local all = { status.arbiter.supervisor_pid, status.arbiter.pid }
        for _, worker in ipairs(status.workers) do
            all[#all + 1] = worker.pid
        end
        for _, pid in ipairs(all) do
            signal.kill(pid, signal.SIGKILL)
        end
        wait.until_true(function()
            return http.request(server.socket, "/echo?say=x&times=1").status == 502
        end, 20, "nobody answers")
        local another = process.start { process.dirty(), "serve", "--socket", rt.socket,
            "--workers", "2", "--app", "apps.echo" }
        finally(function() another:close() end)
        check()
        another:signal(signal.SIGTERM)
        another:wait(20)
    end)
end)
