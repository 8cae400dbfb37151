-- A browser that hangs up, while its request waits for a call.
local nginx = require "support.nginx"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local HTTP = [[
    lua_shared_dict said 1m;
    init_by_lua_block {
        client = require("dirty").client { socket = "$socket", timeout = 30 }
    }
]]

local SERVER = [[
    location = /cancelled {
        lua_check_client_abort on;
        content_by_lua_block { client:execute("apps.flow", "wait", "$path") }
    }
    location = /on_abort {
        lua_check_client_abort on;
        content_by_lua_block {
            assert(ngx.on_abort(function()
                ngx.shared.said:set("aborted", "yes")
                ngx.exit(499)
            end))
            client:execute("apps.flow", "wait", "$path")
        }
    }
    location = /unchecked {
        lua_check_client_abort off;
        content_by_lua_block {
            local one = client:with { timeout = 1 }
            local _, _, info = one:execute("apps.flow", "wait", "$path")
            ngx.shared.said:set("unchecked", info.code)
        }
    }
    location = /said {
        content_by_lua_block { ngx.print(ngx.shared.said:get(ngx.var.arg_what) or "") }
    }
]]

describe("a browser that hangs up", function()
    local rt, server, dir, path

    setup(function()
        dir = tempdir.new()
        path = dir .. "/state"
        rt = runtime.start { apps = { "apps.flow" },
            args = { "--workers", "1", "--lua-path", "spec/?.lua" } }
        server = nginx.start { words = { socket = rt.socket, path = path }, http = HTTP,
            server = SERVER }
    end)

    teardown(function()
        server:close()
        rt:close()
        tempdir.remove(dir)
    end)

    local function hang_up(uri)
        os.remove(path)
        local x = server:open { uri = uri }
        wait.until_true(function()
            x:step()
            return tempdir.read(path) == "running"
        end, 10, "the app runs")
        x:close()
    end

    local function said(what)
        return server:request("/said?what=" .. what).body
    end

    it("cancels the call with lua_check_client_abort", function()
        hang_up("/cancelled")
        assert.is_true(rt:client({ timeout = 5 }):execute("apps.flow", "noop"))
    end)

    it("cancels it from a handler of ngx.on_abort, too", function()
        hang_up("/on_abort")
        assert.is_true(rt:client({ timeout = 5 }):execute("apps.flow", "noop"))
        wait.until_true(function() return said("aborted") == "yes" end, 5, "the handler ran")
    end)

    it("changes nothing without it", function()
        hang_up("/unchecked")
        wait.until_true(function() return said("unchecked") == "TIMEOUT" end, 10, "its deadline")
    end)

    it("leaves nothing in nginx's error log", function()
        assert.same({}, server:errors())
    end)
end)
