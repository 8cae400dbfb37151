-- The C examples as their users meet them: built with pkg-config against an installed tree, in
-- a directory that is no checkout.

local http = require "support.http"
local images = require "support.images"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local wait = require "support.wait"

-- The plain build: a sanitized library can't be loaded into plain programs.
local BUILD = (os.getenv "DIRTY_CORE" or process.BUILD .. "/lua"):gsub("/lua$", "")
local PREFIX = "/opt/dirty"

local function gray(x, y)
    return (x + y) % 256, (x + y) % 256, (x + y) % 256
end

-- Width and height, by the frame header of a baseline JPEG.
local function jpeg_size(bytes)
    assert.matches("^\255\216", bytes)
    local h1, h2, w1, w2 = bytes:match("\255\192..\8(.)(.)(.)(.)")
    return w1:byte() * 256 + w2:byte(), h1:byte() * 256 + h2:byte()
end

describe("the C examples", function()
    local dest, root, dir

    setup(function()
        dest = tempdir.new()
        root = dest .. PREFIX
        local r = process.run({ "make", "--silent", "install", "BUILD=" .. BUILD,
            "DESTDIR=" .. dest, "PREFIX=" .. PREFIX },
            { seconds = 120, env = { MAKEFLAGS = false, MAKELEVEL = false, MFLAGS = false } })
        assert.equal(0, r.exit, r.stderr)
    end)

    teardown(function() tempdir.remove(dest) end)

    before_each(function() dir = tempdir.new() end)
    after_each(function() tempdir.remove(dir) end)

    local function environment(more)
        local env = { LD_LIBRARY_PATH = root .. "/lib", PATH = root .. "/bin:" .. os.getenv "PATH",
            PKG_CONFIG_PATH = root .. "/lib/pkgconfig",
            -- libmicrohttpd is not below the directory that `make install` was given
            PKG_CONFIG_SYSROOT_DIR = false, DIRTY_APPS = root .. "/share/lua-dirty" }
        for name, value in pairs(more or {}) do
            env[name] = value
        end
        return env
    end

    -- The command that the head of the example says, with the places of this tree, and
    -- further options of the linker.
    local function compile(example, options)
        local path = root .. "/share/lua-dirty/examples/" .. example
        local command = tempdir.read(path):match "\n %*     (cc [^\n]+)"
        local name = command:match "%-o (%S+)$"
        command = command:gsub("^cc ", "cc -Wall -Wextra -Werror " .. (options or ""))
            :gsub("%S+%.c ", path .. " ")
            :gsub("%$%(pkg%-config", "$(pkg-config --define-variable=prefix=" .. root)
            :gsub("%-o %S+$", "-o " .. dest .. "/" .. name)
        local r = process.run({ "sh", "-c", command }, { seconds = 60, env = environment() })
        assert.same({ 0, "" }, { r.exit, r.stderr })
        return dest .. "/" .. name
    end

    local function serve(apps)
        return runtime.start { apps = apps, args = { "--workers", "2" } }
    end

    it("call an action and print what comes back", function()
        local program, rt = compile "c-blocking/call.c", serve { "apps.echo" }
        finally(function() rt:close() end)
        local env = environment { DIRTY_SOCKET = rt.socket }
        local r = process.run({ program, "apps.echo", "echo", "hello", "world" }, { env = env })
        assert.same({ 0, "hello\nworld\n" }, { r.exit, r.stdout })
        r = process.run({ program, "apps.nothing", "x" }, { env = env })
        assert.equal(1, r.exit)
        assert.matches("^APP_NOT_FOUND: ", r.stderr)
        for _, args in ipairs { {}, { "apps.echo" }, { "apps.echo", "no name" } } do
            r = process.run({ program, unpack(args) }, { env = env })
            assert.same({ 2, ("usage: %s APP ACTION [ARG…]\n"):format(program) },
                { r.exit, r.stderr })
        end
    end)

    it("can be linked statically", function()
        local program, rt = compile("c-blocking/call.c", "-static "), serve { "apps.echo" }
        finally(function() rt:close() end)
        local r = process.run({ program, "apps.echo", "echo", "hello" },
            { env = { DIRTY_SOCKET = rt.socket } })
        assert.same({ exit = 0, stdout = "hello\n", stderr = "" }, r)
        local headers = process.run({ "readelf", "-l", program }).stdout
        assert.matches("LOAD", headers)
        assert.not_matches("INTERP", headers) -- nothing is loaded when it starts
    end)

    it("make thumbnails of many files in threads", function()
        local program, rt = compile "c-blocking/thumbs.c", serve { "apps.image" }
        finally(function() rt:close() end)
        local argv, env = { program, "3" }, environment { DIRTY_SOCKET = rt.socket }
        for i = 1, 7 do
            argv[i + 2] = tempdir.write(("%s/%d.png"):format(dir, i), images.png(60, 9 * i, gray))
        end
        local all = process.run(argv, { env = env })
        assert.same({ 0, "" }, { all.exit, all.stderr })
        for i = 1, 7 do
            assert.truthy(all.stdout:find(("%s/%d.png.small\n"):format(dir, i), 1, true))
            assert.matches("^\255\216", tempdir.read(("%s/%d.png.small"):format(dir, i)))
        end
        local r = process.run({ program, "2", tempdir.write(dir .. "/junk", "no picture"),
            dir .. "/absent" }, { env = env })
        assert.equal(1, r.exit)
        assert.matches("junk: APP: ", r.stderr)
        assert.matches("absent: No such file", r.stderr)
        r = process.run({ program }, { env = env })
        assert.same({ 2, ("usage: %s THREADS FILE…   (writes FILE.small)\n"):format(program) },
            { r.exit, r.stderr })
    end)

    describe("with an HTTP server", function()
        local program, server, port

        setup(function() program = compile "c-server/server.c" end)

        before_each(function()
            server = process.start({ program, "0" },
                { env = environment { DIRTY_SOCKET = dir .. "/s" } })
            port = tonumber(wait.until_true(function()
                return server:stdout():match "port (%d+)\n"
            end, 30, function() return "listening\n" .. server:stderr() end))
        end)

        after_each(function() server:close() end)

        it("answer many uploads at once", function()
            local asked, png = {}, images.png(200, 200, gray)
            for i = 1, 12 do
                asked[i] = http.open(port, { uri = "/thumbnail?width=" .. 10 * i, body = png })
            end
            http.finish(asked)
            for i, r in ipairs(asked) do
                assert.is_nil(r.failed)
                assert.equal(200, r.status, r.body)
                assert.equal("image/jpeg", r.headers["content-type"])
                assert.same({ 10 * i, 10 * i }, { jpeg_size(r.body) })
            end
        end)

        it("stream", function()
            local r = http.request(port, { uri = "/count?n=5" })
            assert.same({ 200, "1\n2\n3\n4\n5\n" }, { r.status, r.body })
            r = http.request(port, { uri = "/count?n=50000" })
            assert.equal(50000, select(2, r.body:gsub("\n", "\n")))
            assert.equal("", http.request(port, { uri = "/count?n=0" }).body)
        end)

        it("say what is wrong", function()
            local r = http.request(port, { uri = "/thumbnail", body = "no picture" })
            assert.equal(500, r.status)
            assert.matches("^APP: ", r.body)
            assert.equal(413, http.request(port, { uri = "/thumbnail",
                body = ("x"):rep(17 * 2 ^ 20) }).status)
            assert.equal(404, http.request(port, { uri = "/other" }).status)
            r = http.request(port, { uri = "/count?n=junk" })
            assert.same({ 200, "" }, { r.status, r.body })
        end)

        it("end with their runtime, in good order", function()
            local list = tree.below(server.pid)
            assert.equal(6, #list)
            server:signal(signal.SIGTERM)
            assert.same({ exit = 0 }, server:wait(20))
            tree.wait_gone(list, 20)
        end)

        it("end when their runtime does", function()
            local list = tree.below(server.pid)
            signal.kill(list[2].pid, signal.SIGKILL)
            assert.same({ exit = 1 }, server:wait(20))
            tree.wait_gone(list, 20)
            assert.matches("the dirty runtime has ended", server:stderr())
        end)
    end)
end)
