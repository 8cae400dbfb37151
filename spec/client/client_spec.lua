local checks = require "support.client_checks"
local process = require "support.process"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local dirty = require "dirty"
local unistd = require "posix.unistd"

-- Where the C module is: DIRTY_CORE names the one of a plain build, which plain interpreters
-- can load, and the one for Lua 5.4 lies beside it.
local CORE = os.getenv("DIRTY_CORE") or process.BUILD .. "/lua"
local CORES = { [process.LUAJIT] = CORE, ["lua5.1"] = CORE,
    ["lua5.4"] = CORE:gsub("lua/?$", "lua5.4") }

local function run_lua(lua, args)
    local argv = { lua }
    for i, arg in ipairs(args) do
        argv[i + 1] = arg
    end
    return process.run(argv, {
        env = {
            LUA_PATH = "./lua/?.lua;./lua/?/init.lua;./spec/?.lua;;",
            LUA_CPATH = CORES[lua] .. "/?.so;;",
        },
        seconds = 60,
    })
end

describe("the client", function()
    local dir, socket, puppet

    setup(function()
        dir = tempdir.new()
        socket = dir .. "/puppet.sock"
        puppet = process.start({ process.LUAJIT, "spec/support/puppet.lua", socket }, {
            env = { LUA_PATH = "./lua/?.lua;./lua/?/init.lua;./spec/?.lua;;" },
        })
        wait.until_true(function()
            return unistd.access(socket, "f") == 0 or puppet:ended()
        end, 10, "the puppet listens")
        assert.is_false(puppet:ended(), puppet:stderr())
    end)

    teardown(function()
        puppet:close()
        tempdir.remove(dir)
    end)

    for _, name in ipairs(checks.CHECKS) do
        it(": " .. name, function() checks.run(name, socket) end)
    end

    it("is shown with the path that is too long for a socket", function()
        local result = process.run({ process.LUAJIT, "-e",
            'local c = require "dirty.client".new() print(c) print(c:execute("a", "b"))' },
            { env = { DIRTY_SOCKET = "/" .. ("x"):rep(120),
                LUA_PATH = "./lua/?.lua;./lua/?/init.lua;;", LUA_CPATH = CORE .. "/?.so;;" } })
        local shown, called = result.stdout:match "^([^\n]*)\n([^\n]*)"
        assert.equal("dirty.client(/" .. ("x"):rep(120) .. ", timeout 30 s)", shown, result.stderr)
        assert.matches("CONNECTION: socket path of 121 bytes is too long", called)
    end)

    for _, lua in ipairs { "lua5.1", "lua5.4" } do
        it("passes all of that in " .. lua, function()
            local result = run_lua(lua, { "spec/support/client_checks.lua", socket })
            assert.equal(#checks.CHECKS .. " passed\n", result.stdout, result.stderr)
        end)
    end

    for _, lua in ipairs { process.LUAJIT, "lua5.1", "lua5.4" } do
        it("needs no cjson for strings and scalars in " .. lua, function()
            local result = run_lua(lua, { "-e", ([[
                package.preload.cjson = function() error "not installed" end
                local c = require "dirty.client".new { socket = %q, timeout = 5 }
                print(c:execute("app", "echo", "x", 1.5, nil, true))
                local value, err, info = c:execute("app", "json", "[]")
                print(value, err, info.code)
                value, err, info = c:execute("app", "close")
                print(value, info.code, info.started, info.app, info.action)
                print(pcall(c.execute, c, "app", "echo", {}))
            ]]):format(socket) })
            local lines = {}
            for line in result.stdout:gmatch("[^\n]+") do
                lines[#lines + 1] = line
            end
            assert.equal("x\t1.5\tnil\ttrue", lines[1], result.stderr)
            assert.truthy(lines[2]:find("^nil\tPROTOCOL: .*cjson can't be loaded.*\tPROTOCOL$"))
            assert.equal("nil\tCONNECTION\tunknown\tapp\tclose", lines[3])
            assert.truthy(lines[4]:find("^false\t.*argument #1 is a table: .*Debian: lua%-cjson"))
        end)
    end
end)

describe("the client on a real runtime", function()
    local rt

    setup(function()
        rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
    end)
    teardown(function()
        rt:close()
    end)

    it("gets back what it sent", function()
        local big = ("0123456789abcdef"):rep(262144)
        local c = rt:client()
        for _ = 1, 3 do
            local bytes, t, n, last = c:execute("apps.echo", "echo", big, { a = dirty.null }, 0.1)
            assert.is_true(bytes == big)
            assert.equal(dirty.null, t.a)
            assert.equal(0.1, n)
            assert.is_nil(last)
        end
    end)

    it("gets errors with what the server knows of them", function()
        local c = rt:client()
        local _
        local value, err, info = c:execute("apps.echo", "fail", "boom")
        assert.is_nil(value)
        assert.truthy(err:find("^APP: .*boom"))
        assert.equal("yes", info.started)
        assert.truthy(info.traceback:find("traceback"))
        _, err, info = c:execute("apps.none", "fail", "boom")
        assert.truthy(err:find("^APP_NOT_FOUND: "))
        assert.same({ "no", 404 }, { info.started, info.http_status })
        _, err, info = c:with { timeout = 0.5 }:execute("apps.echo", "sleep", 10000)
        assert.truthy(err:find("^TIMEOUT: "))
        assert.equal("run", info.phase)
    end)

    it("gets status and metrics", function()
        assert.equal("number", type(assert(rt:client():status()).arbiter.pid))
        assert.matches("# TYPE dirty_", assert(rt:client():metrics()))
    end)

    it("streams", function()
        local c, sum = rt:client(), 0
        local s = assert(c:stream("apps.echo", "count", 1000))
        for n in s do
            sum = sum + n
        end
        assert.same({ 500500 }, { sum, s.err })
        local value, err = c:execute("apps.echo", "count", 3)
        assert.is_nil(value)
        assert.matches("^PROTOCOL: apps.echo.count streams its result: use stream", err)
    end)

    it("leaves a stream, and the lane is free", function()
        local c = rt:client { timeout = 3 }
        for how = 1, 3 do
            local s = assert(c:stream("apps.echo", "count", 1e9))
            assert.equal(1, s())
            if how == 1 then
                s:close()
            elseif how == 2 then
                s = nil -- luacheck: ignore
                collectgarbage()
                collectgarbage()
            else
                c:stream("apps.echo", "count", 1)
                s:close()
            end
            assert.equal("x", c:execute("apps.echo", "echo", "x"))
        end
    end)
end)

describe("a slow reader of a stream", function()
    it("makes the app wait", function()
        local dir = tempdir.new()
        local path = dir .. "/made"
        local rt = runtime.start { apps = { "apps.flow" },
            args = { "--workers", "1", "--lua-path", "spec/?.lua" } }
        finally(function()
            rt:close()
            tempdir.remove(dir)
        end)
        local s = assert(rt:client():stream("apps.flow", "pieces", path, 1000, 65536))
        assert.equal(65536, #s())
        local before
        wait.until_true(function()
            local now = tempdir.read(path)
            local stands = now == before
            before = now
            process.run { "sleep", "0.2" }
            return stands
        end, 10, "it stands")
        assert.is_true(tonumber(before) < 50, before .. " chunks were made for a reader of 1")
        local count = 1
        for _, n in s do
            count = count + 1
            assert.equal(count, n)
        end
        assert.same({ 1000 }, { count, s.err })
        assert.equal("1000", tempdir.read(path))
    end)
end)
