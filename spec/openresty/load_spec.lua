-- Many browsers at once, over two dirty workers: each gets its own answer or a typed error.
local http = require "support.http"
local nginx = require "support.nginx"
local resource = require "posix.sys.resource"
local runtime = require "support.runtime"

local CALLERS, ROUNDS = 1000, 3

local HTTP = [[
    init_by_lua_block {
        client = require("dirty").client { socket = "$socket", timeout = 20 }
    }
]]

local SERVER = [[
    location = /echo {
        content_by_lua_block {
            local number = tonumber(ngx.var.arg_number)
            if number % 4 == 0 then
                client:execute("apps.echo", "sleep", 1)
            end
            local value, err, info = client:execute("apps.echo", "echo", number)
            if not value then
                ngx.status = info.http_status
                return ngx.print(err)
            end
            ngx.print("value ", value)
        }
    }
]]

-- This process holds a descriptor for each caller.
local function raise_limit()
    local limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, { rlim_cur = limit.rlim_max,
        rlim_max = limit.rlim_max })
end

describe("a thousand callers at once", function()
    local rt, server

    local function start(args)
        raise_limit()
        rt = runtime.start { apps = { "apps.echo" }, args = args }
        server = nginx.start { words = { socket = rt.socket }, http = HTTP, server = SERVER,
            workers = 2 }
    end

    after_each(function()
        server:close()
        rt:close()
    end)

    -- Outcomes by what was answered; a wrong answer is an error.
    local function round(first)
        local exchanges, outcomes = {}, {}
        for i = 1, CALLERS do
            exchanges[i] = server:open { uri = "/echo?number=" .. first + i }
        end
        http.finish(exchanges, 60)
        for i, x in ipairs(exchanges) do
            local said = x.failed or ("%d %s"):format(x.status, x.body:match("^[%u_]+: ")
                or x.body == "value " .. first + i and "own value" or "wrong: " .. x.body)
            outcomes[said] = (outcomes[said] or 0) + 1
        end
        return outcomes
    end

    it("get their own answers", function()
        start { "--workers", "2" }
        for i = 1, ROUNDS do
            assert.same({ ["200 own value"] = CALLERS }, round(i * CALLERS))
        end
        assert.same({}, server:errors())
    end)

    it("get their own answers, or are refused by a short queue", function()
        start { "--workers", "2", "--max-queue", "100" }
        local refused = 0
        for i = 1, ROUNDS do
            local outcomes = round(i * CALLERS)
            local own = outcomes["200 own value"] or 0
            assert.is_true(own > 0)
            refused = refused + (outcomes["503 OVERLOADED: "] or 0)
            assert.equal(CALLERS, own + (outcomes["503 OVERLOADED: "] or 0))
        end
        assert.is_true(refused > 0, "the queue was never full")
        assert.same({}, server:errors())
    end)
end)
