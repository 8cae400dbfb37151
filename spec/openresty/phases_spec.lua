-- Where in nginx resty.dirty works, and what it says where it doesn't.
local nginx = require "support.nginx"
local process = require "support.process"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

-- Where the C module is for an interpreter that is not sanitized.
local CORE = os.getenv("DIRTY_CORE") or process.BUILD .. "/lua"
CORE = CORE:sub(1, 1) == "/" and CORE or unistd.getcwd() .. "/" .. CORE

local HTTP = [[
    lua_shared_dict said 1m;
    init_by_lua_block {
        client = require("resty.dirty").client { socket = "$socket" }
        said = ngx.shared.said
        function note(phase)
            local ok, err = pcall(client.execute, client, "apps.echo", "echo", phase)
            said:set(phase, tostring(err))
        end
        note("init")
        blocking = require("dirty.client").new { socket = "$socket" }
    }
    lua_package_cpath "$core/?.so;;";
    init_worker_by_lua_block { note("init_worker") }
]]

local SERVER = [[
    listen unix:$dir/tls.sock ssl;
    ssl_certificate $dir/cert.pem;
    ssl_certificate_key $dir/key.pem;
    ssl_certificate_by_lua_block { note("ssl_cert") }

    location = /works {
        set $$tried "";
        rewrite_by_lua_block { note("rewrite") }
        access_by_lua_block { note("access") }
        content_by_lua_block {
            note("content")
            ngx.timer.at(0, function() note("timer") end)
            ngx.thread.wait(ngx.thread.spawn(note, "light_thread"))
            ngx.print(coroutine.wrap(function() note("coroutine") return "done" end)())
        }
    }
    location = /fails {
        set_by_lua_block $$nothing { note("set") return "" }
        content_by_lua_block { ngx.print("body") }
        header_filter_by_lua_block { note("header_filter") }
        body_filter_by_lua_block { note("body_filter") }
        log_by_lua_block { note("log") }
    }
    location = /methods {
        log_by_lua_block {
            local words = {}
            local calls = { status = {}, metrics = {}, close = {} }
            for name, args in pairs(calls) do
                local ok, err = pcall(client[name], client, unpack(args))
                words[#words + 1] = tostring(err)
            end
            table.sort(words)
            said:set("methods", table.concat(words, "\n"))
        }
        content_by_lua_block { ngx.print("body") }
    }
    location = /said { content_by_lua_block { ngx.print(said:get(ngx.var.arg_in) or "") } }
    location = /blocking {
        content_by_lua_block {
            local new = require("dirty.client").new
            local _, first = pcall(function() local c = new() return c end)
            local _, second = pcall(function()
                local value = blocking:execute("apps.echo", "echo", 1)
                return value
            end)
            ngx.print(first, "\n", second)
        }
    }
]]

describe("resty.dirty in nginx's phases", function()
    local rt, server

    setup(function()
        rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        local dir = tempdir.new()
        local made = process.run { "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
            "-subj", "/CN=spec", "-days", "2", "-keyout", dir .. "/key.pem", "-out",
            dir .. "/cert.pem" }
        assert.equal(0, made.exit, made.stderr)
        server = nginx.start { dir = dir, words = { socket = rt.socket, core = CORE },
            http = HTTP,
            server = SERVER }
    end)

    teardown(function()
        server:close()
        rt:close()
    end)

    local function said(phase)
        return wait.until_true(function()
            local words = server:request("/said?in=" .. phase).body
            return words ~= "" and words
        end, 10, phase .. " said something\n" .. server:log())
    end

    it("works where Lua can wait", function()
        local r = server:request("/works")
        assert.equal("done", r.body, server:log())
        for _, phase in ipairs { "rewrite", "access", "content", "timer", "light_thread",
            "coroutine" } do
            assert.equal(phase, said(phase))
        end
    end)

    it("works where a certificate is chosen", function()
        process.run({ "openssl", "s_client", "-unix", server.dir .. "/tls.sock", "-brief" },
            { seconds = 20 })
        assert.equal("ssl_cert", said("ssl_cert"))
    end)

    it("says by the phase's name that it doesn't work elsewhere", function()
        assert.equal(200, server:request("/fails").status)
        for _, phase in ipairs { "init", "init_worker", "set", "header_filter", "body_filter",
            "log" } do
            assert.matches("client:execute does not work in nginx's phase " .. phase .. ": it "
                .. "works in rewrite, access, content, timers", said(phase), 1, true)
        end
    end)

    it("says so for every method that waits", function()
        server:request("/methods")
        local words = said("methods")
        for _, method in ipairs { "close", "metrics", "status" } do
            assert.matches("client:" .. method .. " does not work in nginx's phase log", words)
        end
    end)

    it("refuses the blocking client", function()
        local said_so = "nginx.conf:[^\n]*: dirty.client blocks, [^\n]* use resty.dirty"
        assert.matches(said_so .. "[^\n]*\n[^\n]*" .. said_so, server:request("/blocking").body)
    end)
end)
