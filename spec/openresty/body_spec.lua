-- client:body() in a real nginx whose options for bodies are the default ones, but for
-- client_max_body_size: without that nginx itself refuses more than 1 MiB.
local http = require "support.http"
local nginx = require "support.nginx"
local runtime = require "support.runtime"
local wait = require "support.wait"

local HTTP = [[
    client_max_body_size 64m;
    init_by_lua_block {
        client = require("dirty").client { socket = "$socket", max_message = 16 * 1024 * 1024 }
        begun = 0
        function read()
            begun = begun + 1
            local body, err = client:body()
            if not body then
                return err
            end
            return client:execute("apps.echo", "length", body) or "not called"
        end
        function send_back(c)
            local body, err, info = c:body()
            if not body then
                ngx.status = info.http_status
                return ngx.say(err)
            end
            ngx.header["X-File"] = ngx.req.get_body_file() and "yes" or "no"
            local same, failed = c:execute("apps.echo", "echo", body)
            ngx.print(same or failed)
        end
    }
]]

local SERVER = [[
    location = /body { content_by_lua_block { send_back(client) } }
    location = /access {
        access_by_lua_block { ngx.ctx.body = client:body() }
        content_by_lua_block { ngx.print(#ngx.ctx.body, " ", #client:body()) }
    }
    location = /lost {
        content_by_lua_block {
            client:body()
            os.remove(ngx.req.get_body_file())
            send_back(client)
        }
    }
    location = /threads {
        content_by_lua_block {
            local others, said = {}, {}
            for i = 1, 3 do
                others[i] = ngx.thread.spawn(read)
            end
            said[1] = read()
            for i = 1, 3 do
                said[i + 1] = select(2, ngx.thread.wait(others[i]))
            end
            ngx.print(table.concat(said, " "))
        }
    }
    location = /phases {
        access_by_lua_block {
            local other = ngx.thread.spawn(read)
            ngx.ctx.first = read()
            ngx.thread.wait(other)
        }
        content_by_lua_block { ngx.print(ngx.ctx.first, " ", read()) }
    }
    location = /killed {
        content_by_lua_block {
            local first = ngx.thread.spawn(read)
            local second = ngx.thread.spawn(read)
            local third = ngx.thread.spawn(read)
            ngx.thread.kill(second)
            ngx.thread.kill(first)
            local _, err = ngx.thread.wait(third)
            ngx.print(err, "; ", read())
        }
    }
    location = /begun { content_by_lua_block { ngx.print(begun) } }
    location = /timer {
        content_by_lua_block {
            local said
            ngx.timer.at(0, function() said = select(2, pcall(client.body, client)) end)
            while not said do ngx.sleep(0.01) end
            ngx.print(said)
        }
    }
]]

describe("client:body", function()
    local rt, server

    setup(function()
        rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        server = nginx.start { words = { socket = rt.socket }, http = HTTP, server = SERVER }
    end)

    teardown(function()
        server:close()
        rt:close()
    end)

    local function send(o)
        o.uri = o.uri or "/body"
        return server:request(o)
    end

    it("is a body in memory", function()
        local r = send { body = "a small one\0with a NUL" }
        assert.same({ 200, "a small one\0with a NUL", "no" }, { r.status, r.body,
            r.headers["x-file"] })
    end)

    it("is a body of 8 MB, from the file that nginx has made of it", function()
        local bytes = {}
        for i = 1, 65536 do
            bytes[i] = ("%8d"):format(i):rep(15) .. ("%7d\n"):format(i * 7)
        end
        local big = table.concat(bytes)
        assert.equal(8 * 1024 * 1024, #big)
        local r = send { body = big }
        assert.same({ 200, "yes" }, { r.status, r.headers["x-file"] })
        assert.is_true(r.body == big)
    end)

    it("is a body that came in chunks", function()
        local r = send { method = "POST", headers = { ["Transfer-Encoding"] = "chunked" },
            raw = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n" }
        assert.same({ 200, "hello world" }, { r.status, r.body })
    end)

    it("is empty where there is none", function()
        assert.same("", send({ method = "GET" }).body)
        assert.same("", send({ body = "" }).body)
    end)

    it("can be read in access, and again", function()
        assert.equal("100000 100000", send({ uri = "/access", body = ("x"):rep(100000) }).body)
        assert.equal("10 10", send({ uri = "/access", body = ("x"):rep(10) }).body)
    end)

    it("is refused over max_message, by the header alone or when it is here", function()
        local long = ("x"):rep(16 * 1024 * 1024 + 1)
        local chunked = { ("%x\r\n"):format(#long), long, "\r\n0\r\n\r\n" }
        for _, o in ipairs {
            { body = long },
            { method = "POST", headers = { ["Transfer-Encoding"] = "chunked" },
                raw = table.concat(chunked) },
        } do
            local r = send(o)
            assert.equal(413, r.status)
            assert.matches("^PROTOCOL: the request's body has 16777217 bytes, .* max_message "
                .. "allows 16777216", r.body)
        end
    end)

    it("says when the file is gone", function()
        local r = send { uri = "/lost", body = ("x"):rep(100000) }
        assert.equal(500, r.status)
        assert.matches("^CONNECTION: can't read the request's body from .*No such file", r.body)
    end)

    -- Send the half of a body, wait until so many light threads want it, send the other half.
    local function in_halves(uri, threads)
        local before = tonumber(server:request({ uri = "/begun" }).body)
        local half = ("x"):rep(2 ^ 20)
        local exchange = server:open { uri = uri, method = "POST", raw = half,
            headers = { ["Content-Length"] = 2 * #half } }
        wait.until_true(function()
            if exchange.fd then
                exchange:step()
            end
            return tonumber(server:request({ uri = "/begun" }).body) >= before + threads
        end, 10, "light threads that want the body")
        if exchange.fd then -- it is not answered yet
            exchange.out = exchange.out .. half
            http.finish { exchange }
        end
        return exchange
    end

    local function expect_well(workers)
        assert.same(workers, server:workers())
        assert.equal("hello", send({ body = "hello" }).body)
        assert.falsy(server:log():find("exited on signal", 1, true))
    end

    it("is the same in several light threads at once, each waits until it is whole", function()
        local workers = server:workers()
        local n = tostring(2 ^ 21)
        assert.equal(table.concat({ n, n, n, n }, " "), in_halves("/threads", 4).body)
        assert.equal("10 10 10 10", send({ uri = "/threads", body = ("x"):rep(10) }).body)
        assert.equal("0 0 0 0", send({ uri = "/threads", method = "GET" }).body)
        expect_well(workers)
    end)

    it("is the same in another phase, too", function()
        local workers = server:workers()
        assert.equal(("%d %d"):format(2 ^ 21, 2 ^ 21), in_halves("/phases", 2).body)
        expect_well(workers)
    end)

    it("is refused where the light thread that read it was killed", function()
        local workers = server:workers()
        local r = in_halves("/killed", 3)
        local err = "CONNECTION: the request's body is incomplete: the light thread that read it "
            .. "was killed"
        assert.equal(err .. "; " .. err, r.body, r.failed)
        expect_well(workers)
    end)

    it("says where there is no request", function()
        assert.matches("client:body does not work in nginx's phase timer: the body of a request",
            http.request(server.socket, "/timer").body)
    end)
end)
