-- An app that waits in the client of this runtime when it is interrupted: wherever that is, the
-- call ends softly, and worker, app and client go on.
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local socket = require "posix.sys.socket"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local NEST = [[
    local dirty = require "dirty"
    local App = { calls = 0, clients = {} }
    local function client(path)
        App.clients[path] = App.clients[path] or dirty.client { socket = path, timeout = 60 }
        return App.clients[path]
    end
    function App:wait(path, ms)
        local slept, err = client(path):execute("echo", "sleep", tonumber(ms))
        return slept, err
    end
    function App:wait_patiently(path, rounds)
        local waited, err = client(path):execute("flow", "patiently", rounds)
        return waited, err
    end
    function App:send(path, bytes)
        local length, err = client(path):execute("echo", "length", ("x"):rep(bytes))
        return length, err
    end
    function App:stream(path)
        for _ in assert(client(path):stream("flow", "slowly")) do
            self.chunks = (self.chunks or 0) + 1
        end
    end
    function App:caught(path)
        local ok, err = pcall(self.wait, self, path, 30000)
        self.said = not ok and tostring(err)
    end
    function App:what() return self.said or false, self.chunks end
    function App:fine(path)
        self.calls = self.calls + 1
        return (assert(client(path):execute("echo", "echo", "fine"))), self.calls
    end
    return App]]

local FLOW = [[
    local ffi = require "ffi"
    ffi.cdef 'int flow_poll(void *, unsigned long, int) __asm__("poll");'
    local Flow = {}
    function Flow:slowly()
        local n = 0
        return function()
            n = n + 1
            if n == 2 then ffi.C.flow_poll(nil, 0, 30000) end
            return n < 3 and n or nil
        end
    end
    function Flow:patiently(rounds) -- whatever signals come
        for _ = 1, rounds do ffi.C.flow_poll(nil, 0, 10) end
        return rounds
    end
    return Flow]]

-- Seconds that an answer may take beyond its deadline, on a machine that is busy.
local NOISE = 3

describe("a call that an app makes", function()
    local rt, pid, calls, open

    setup(function()
        rt = runtime.start { files = { ["nest.lua"] = NEST, ["flow.lua"] = FLOW }, config = [[
            workers = 3
            allow_stack = true
            timeout_grace = 10
            apps = { echo = { module = "apps.echo", workers = 2, cancel_on_disconnect = true },
                "flow:2", nest = { module = "nest", workers = 1, cancel_on_disconnect = true } }]] }
        calls = 0
    end)

    teardown(function() rt:close() end)

    local function host()
        for _, worker in ipairs(rt:status().workers) do
            if table.concat(worker.apps, " "):find("nest", 1, true) then
                return worker
            end
        end
    end

    before_each(function()
        pid, open = host().pid, {}
    end)

    after_each(function()
        for _, fd in ipairs(open) do
            unistd.close(fd)
        end
        calls = calls + 1
        assert.same({ "fine", calls }, { rt:call("nest", "fine", rt.socket) })
        assert.equal(pid, host().pid)
    end)

    local function expect_timeout(...)
        local began = wait.now()
        local value, err, info = rt:client { timeout = 0.5 }:execute("nest", ...)
        assert.is_nil(value)
        assert.equal("TIMEOUT", info.code, err)
        assert.same({ "run", "yes" }, { info.phase, info.started })
        assert.is_nil(info.killed)
        assert.truthy(info.traceback:find("nest.lua:", 1, true), info.traceback)
        assert.is_true(wait.now() - began < 0.5 + NOISE * wait.SLOW)
    end

    -- A socket that takes `backlog` connections and more, and never answers.
    local function listen(backlog)
        local path = ("%s/deaf-%d"):format(rt.dir, backlog)
        local fd = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
        assert(socket.bind(fd, { family = socket.AF_UNIX, path = path }))
        assert(socket.listen(fd, backlog))
        open[#open + 1] = fd
        return path
    end

    it("ends at its deadline while it waits for an answer", function()
        expect_timeout("wait", rt.socket, 30000)
    end)

    it("ends at its deadline while it waits for the next chunk", function()
        expect_timeout("stream", rt.socket)
        assert.equal(1, select(2, rt:call("nest", "what")))
    end)

    it("ends at its deadline while it sends to a peer that does not read", function()
        expect_timeout("send", listen(8), 8 * 2 ^ 20)
    end)

    it("ends at its deadline while it waits for a place in a full backlog", function()
        local path = listen(0)
        local first = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
        open[#open + 1] = first
        assert(socket.connect(first, { family = socket.AF_UNIX, path = path }))
        expect_timeout("wait", path, 1)
    end)

    it("ends when its caller has disconnected", function()
        local call = rt:start_call("nest", "wait", rt.socket, "30000")
        wait.until_true(function() return host().lanes[1].state == "running" end, 10, "a call")
        call:kill()
        call:close()
        wait.until_true(function() return host().lanes[1].state == "idle" end, 5, "its end")
    end)

    it("can be caught, as any error", function()
        expect_timeout("caught", rt.socket)
        assert.truthy(rt:call("nest", "what"):find("deadline", 1, true))
    end)

    it("continues after its traceback was taken", function()
        local call = rt:start_call("nest", "wait_patiently", rt.socket, "300")
        finally(function() call:close() end)
        wait.until_true(function() return host().lanes[1].state == "running" end, 10, "a call")
        for _ = 1, 3 do
            local r = rt:command("stack", {})
            assert.equal(0, r.exit, r.stderr)
            assert.truthy(r.stdout:find("nest.lua:", 1, true), r.stdout)
        end
        assert.same({ exit = 0 }, call:wait(20))
        assert.equal("300\nnull\n", call:stdout())
    end)
end)

describe("a call by a plain program", function()
    it("can be stopped by Ctrl-C", function()
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        finally(function() rt:close() end)
        local program = process.start({ "luajit", "-e", ([[
            local client = require("dirty").client { socket = %q, timeout = 60 }
            io.stdout:setvbuf "line"
            print(client:execute("apps.echo", "sleep", 30000))]]):format(rt.socket) }, { env = {
            LUA_PATH = "./lua/?.lua;./lua/?/init.lua;;",
            LUA_CPATH = (os.getenv "DIRTY_CORE" or process.BUILD .. "/lua") .. "/?.so;;" } })
        finally(function()
            program:close()
            rt:close()
        end)
        wait.until_true(function()
            return rt:status().workers[1].lanes[1].state == "running"
        end, 10, "a call")
        program:signal(signal.SIGINT)
        assert.same({ exit = 1 }, program:wait(5))
        assert.truthy(program:stderr():find("interrupted!", 1, true), program:stderr())
    end)
end)
