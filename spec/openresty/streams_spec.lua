-- Streams from a real runtime with one lane through a real nginx: a stream that is not left
-- keeps the lane, and the next call tells.
local nginx = require "support.nginx"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local HTTP = [[
    init_by_lua_block {
        client = require("dirty").client { socket = "$socket", timeout = 10 }
        function flow(...) return assert(client:stream("apps.flow", ...)) end
        function is_free()
            return client:with({ timeout = 2 }):execute("apps.flow", "noop") == true
        end
        function made()
            local file = io.open("$made")
            local n = file and tonumber(file:read("*a"))
            if file then file:close() end
            return n or 0
        end
    }
]]

local SERVER = [[
    location = /all {
        content_by_lua_block {
            local sum, bytes = 0, 0
            local s = flow("pieces", "$made", 1000, 3000)
            for piece, i in s do
                sum, bytes = sum + i, bytes + #piece
            end
            ngx.print(sum, " ", bytes, " ", tostring(s.err))
        }
    }
    location = /sse {
        content_by_lua_block {
            local s, err, info = client:stream("apps.flow", "then_fail", 3)
            if not s then return ngx.exit(info.http_status) end
            ngx.header["Content-Type"] = "text/event-stream"
            for text in s do
                ngx.print("data: ", text, "\n\n")
                ngx.flush(true)
            end
            ngx.print("event: error\ndata: ", s.err, "\n\n")
        }
    }
    location = /slow {
        content_by_lua_block {
            local s = flow("pieces", "$made", 1000, 65536)
            s()
            local before
            repeat -- until it has come to a stand
                before = made()
                ngx.sleep(0.3)
            until made() == before
            local count = 1
            for _ in s do count = count + 1 end
            ngx.print(before, " ", count, " ", made())
        }
    }
    location = /break {
        content_by_lua_block {
            for _, i in flow("pieces", "$made", 1000000, 10000) do
                if i == 3 then break end
            end
            collectgarbage() collectgarbage()
            ngx.print(tostring(is_free()))
        }
    }
    location = /close {
        content_by_lua_block {
            local s = flow("stall")
            s()
            s:close()
            ngx.print(tostring(is_free()))
        }
    }
    location = /end_of_request {
        content_by_lua_block {
            kept = flow("stall") -- not collected
            ngx.print(kept())
        }
    }
    location = /is_free { content_by_lua_block { ngx.print(tostring(is_free())) } }
    location = /deadline {
        content_by_lua_block {
            local s = client:with({ timeout = 1 }):stream("apps.flow", "stall")
            local got = 0
            for _ in s do got = got + 1 end
            ngx.print(got, " ", s.err, " ", s.info.phase, " ", s.info.http_status)
        }
    }
    location = /late_reader {
        content_by_lua_block {
            local s = client:with({ timeout = 0.2 }):stream("apps.flow", "stall")
            ngx.sleep(2.5) -- the budget and the client's own margin are over
            local got = 0
            for _ in s do got = got + 1 end
            ngx.print(got, " ", s.err)
        }
    }
    location = /close_elsewhere {
        content_by_lua_block {
            local s = flow("then_stall", 300)
            s()
            local reader = ngx.thread.spawn(function() return s() end)
            s:close()
            local ok, value = ngx.thread.wait(reader)
            ngx.print(tostring(ok), " ", tostring(value), " ", s.err, " ", s.info.code, " ",
                s.info.http_status, " ", tostring(s()), " ", tostring(is_free()))
        }
    }
    location = /two_readers {
        content_by_lua_block {
            local s = flow("then_stall", 300)
            s()
            local reader = ngx.thread.spawn(function() return s() end)
            local ok, err = pcall(s)
            ngx.print(tostring(ok), " ", err, " ", select(2, ngx.thread.wait(reader)))
            s:close()
        }
    }
    location = /execute {
        content_by_lua_block {
            local value, err = client:execute("apps.flow", "then_fail", 3)
            ngx.print(err)
        }
    }
    location = /hang_up {
        lua_check_client_abort on;
        content_by_lua_block {
            for chunk in flow("pieces", "$made", 1000000, 10000) do
                ngx.print(chunk)
                ngx.flush(true)
            end
        }
    }
]]

describe("streams through nginx", function()
    local rt, server, dir

    setup(function()
        dir = tempdir.new()
        rt = runtime.start { apps = { "apps.flow" },
            args = { "--workers", "1", "--lua-path", "spec/?.lua" } }
        server = nginx.start { words = { socket = rt.socket, made = dir .. "/made" },
            http = HTTP, server = SERVER }
    end)

    teardown(function()
        server:close()
        rt:close()
        tempdir.remove(dir)
    end)

    local function get(uri)
        local r = server:request(uri)
        assert.equal(200, r.status, server:log())
        return r.body
    end

    it("give every chunk, in order and whole", function()
        assert.equal("500500 3000000 nil", get("/all"))
    end)

    it("reach a browser as they come, with the error at their end", function()
        assert.matches("^data: chunk 1\n\ndata: chunk 2\n\ndata: chunk 3\n\nevent: error\n"
            .. "data: APP: .*out of tokens", get("/sse"))
    end)

    it("wait for a reader that is slow", function()
        local ahead, count, made = get("/slow"):match("^(%d+) (%d+) (%d+)$")
        assert.equal("1000", count)
        assert.equal("1000", made)
        assert.is_true(tonumber(ahead) < 50, ahead .. " chunks were made for a reader of 1")
    end)

    for _, how in ipairs { "break", "close" } do
        it("are cancelled by " .. how, function()
            assert.equal("true", get("/" .. how))
            assert.equal("true", get("/" .. how))
        end)
    end

    it("are cancelled by the end of the request", function()
        assert.equal("first", get("/end_of_request"))
        assert.equal("true", get("/is_free"))
    end)

    it("are cancelled when the browser hangs up", function()
        local x = server:open { uri = "/hang_up" }
        wait.until_true(function()
            x:step()
            return #x:received() > 100000
        end, 10, "a part of the stream")
        x:close()
        assert.equal("true", get("/is_free"))
    end)

    it("end at their deadline, as the server tells it", function()
        assert.matches("^1 TIMEOUT: .* run 504$", get("/deadline"))
        assert.equal("true", get("/is_free"))
    end)

    it("give a late reader the chunks that have arrived", function()
        local said = get("/late_reader")
        assert.matches("^1 TIMEOUT: ", said)
        assert.is_nil(said:find("got no answer", 1, true))
    end)

    it("end as cancelled where another light thread closes them", function()
        assert.matches("^true nil CANCELLED: the stream of apps.flow.then_stall was closed "
            .. ".* CANCELLED 499 nil true$", get("/close_elsewhere"))
    end)

    it("refuse a second reader, and the first reads on", function()
        assert.matches("^false .*another light thread is reading this stream.* second$",
            get("/two_readers"))
        assert.equal("true", get("/is_free"))
    end)

    it("are refused by execute", function()
        assert.matches("^PROTOCOL: apps.flow.then_fail streams its result: use stream",
            get("/execute"))
        assert.equal("true", get("/is_free"))
    end)

    it("leave nothing in nginx's error log", function()
        assert.same({}, server:errors())
    end)
end)
