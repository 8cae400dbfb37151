-- resty.dirty on a real runtime, in a real nginx.
local cjson = require "cjson"
local nginx = require "support.nginx"
local runtime = require "support.runtime"
local wait = require "support.wait"

local APP = [[
local dirty = require "dirty"
local App = dirty.app { timeout = 20 }
function App:request() return { metadata = dirty.request.metadata, left = dirty.remaining() } end
function App:fail() error("out of paint") end
function App:pair() return nil, "no such colour" end
return App
]]

-- The word `client` of every block: a client made once, for all requests.
local HTTP = [[
    init_by_lua_block {
        dirty = require "dirty"
        client = dirty.get_client { socket = "$socket", timeout = 10 }
        cjson = require "cjson"
        function answer(...)
            ngx.print(cjson.encode { n = select("#", ...), ... })
        end
    }
]]

local SERVER = [[
    location = /echo {
        content_by_lua_block { answer(client:execute("apps.echo", "echo", ngx.var.arg_say, nil)) }
    }
    location = /bytes {
        content_by_lua_block {
            local all = {}
            for i = 0, 255 do all[i + 1] = string.char(i) end
            local bytes = table.concat(all):rep(tonumber(ngx.var.arg_times))
            for _ = 1, 3 do
                local back, more = client:execute("apps.echo", "echo", bytes, { bytes:len() })
                if back ~= bytes or more[1] ~= #bytes then ngx.exit(500) end
            end
            ngx.print("same")
        }
    }
    location = /request {
        content_by_lua_block {
            local one = client:with { timeout = 3, metadata = { tenant = "a" } }
            answer(one:execute("app", "request"))
        }
    }
    location = /fail {
        content_by_lua_block { answer(client:execute("app", ngx.var.arg_action)) }
    }
    location = /late {
        content_by_lua_block {
            answer(client:with { timeout = 1 }:execute("apps.echo", "sleep", 20000))
        }
    }
    location = /status { content_by_lua_block { answer(client:status()) } }
    location = /metrics { content_by_lua_block { ngx.print((client:metrics())) } }
    location = /words {
        content_by_lua_block {
            local how = ngx.var.arg_how
            local value, err, info = client:execute("app", "fail")
            if how == "assert" then assert(value, err) end
            if how == "assert_call" then assert(client:execute("app", "fail")) end
            if how == "error" then error(err) end
            if how == "log" then ngx.log(ngx.ERR, err) end
            ngx.status = info.http_status
            ngx.say("failed: ", err)
        }
    }
]]

describe("resty.dirty on a runtime", function()
    local rt, server

    setup(function()
        rt = runtime.start {
            apps = { "apps.echo", "app" }, args = { "--workers", "2" },
            files = { ["app.lua"] = APP },
        }
        server = nginx.start { words = { socket = rt.socket }, http = HTTP, server = SERVER }
    end)

    teardown(function()
        server:close()
        rt:close()
    end)

    local function get(uri)
        local r = server:request(uri)
        assert.equal(200, r.status, r.body .. server:log())
        return cjson.decode(r.body)
    end

    it("gets back what it sent", function()
        local got = get("/echo?say=hello")
        assert.equal("hello", got[1] or got["1"])
        assert.equal(2, got.n)
        for _, times in ipairs { 1, 16, 15, 17, 64, 4096, 32768 } do
            assert.equal("same", server:request("/bytes?times=" .. times).body)
        end
    end)

    it("sends the budget and the metadata of a call", function()
        local got = get("/request")["1"]
        assert.equal("a", got.metadata.tenant)
        assert.is_true(got.left > 0 and got.left <= 3, tostring(got.left))
    end)

    it("tells how an app failed", function()
        for action, words in pairs { fail = "out of paint", pair = "no such colour" } do
            local got = get("/fail?action=" .. action)
            local err, info = got["2"], got["3"]
            assert.matches("^APP: .*" .. words, err)
            assert.same({ "APP", 500, "yes", "app", action }, { info.code, info.http_status,
                info.started, info.app, info.action })
        end
        local info = get("/fail?action=paint")["3"]
        assert.same({ "ACTION_NOT_FOUND", 404, "no" }, { info.code, info.http_status,
            info.started })
        assert.matches("traceback", get("/fail?action=fail")["3"].traceback)
    end)

    it("gets the server's TIMEOUT", function()
        local began = wait.now()
        local info = get("/late")["3"]
        assert.same({ "TIMEOUT", "run", "yes", 504 }, { info.code, info.phase, info.started,
            info.http_status })
        assert.is_true(wait.now() - began < 10 * wait.SLOW)
    end)

    it("has status and metrics", function()
        assert.equal("number", type(get("/status")["1"].arbiter.pid))
        assert.matches("# TYPE dirty_", server:request("/metrics").body)
    end)

    it("fails with messages that Lua's and nginx's functions can print", function()
        local said = "APP: [^\n]*out of paint"
        local r = server:request("/words?how=say")
        assert.equal(500, r.status)
        assert.matches("^failed: " .. said, r.body)
        for _, how in ipairs { "assert", "assert_call", "error", "log" } do
            local before = #server:log()
            server:request("/words?how=" .. how)
            wait.until_true(function()
                return server:log():sub(before):find(said)
            end, 5, function() return how .. "\n" .. server:log() end)
        end
    end)

    it("reuses connections", function()
        local before = get("/status")["1"].counters
        for _ = 1, 20 do
            get("/echo?say=again")
        end
        local after = get("/status")["1"].counters
        assert.equal(before.connections, after.connections)
        assert.equal(before.requests + 21, after.requests)
    end)
end)
