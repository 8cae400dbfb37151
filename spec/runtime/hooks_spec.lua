-- The order in which hooks and apps are called in the life of a worker:
--
--   on_starting → fork → post_fork → new, init of each app → worker_init → ready → traffic
--   → close of each app, the last first → worker_exit, after the process is reaped
--
-- Everybody appends a line to one file; who writes it and in which process is part of it.
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

-- `say(...)` for configuration and apps alike.
local SAY = [[
    local ffi = require "ffi"
    ffi.cdef "int getpid(void);"
    local function say(...)
        local file = io.open(os.getenv "LIFE", "a")
        file:write(ffi.C.getpid(), " ", table.concat({ ... }, " "), "\n")
        file:close()
    end
]]

local CONFIG = SAY .. [[
    workers = 1
    threads = %d
    apps = { first = { module = "app", options = { name = "first" } },
        second = { module = "app", options = { name = "second" } } }
    function on_starting(arbiter) say("on_starting", arbiter.pid) end
    function post_fork(worker) say("post_fork", worker.number, worker.generation, worker.pid) end
    function worker_init(worker) say("worker_init", worker.number, worker.generation) end
    function worker_exit(worker, status)
        -- reaped: the process is not even a zombie any more
        local there = io.open("/proc/" .. worker.pid .. "/stat")
        say("worker_exit", worker.number, worker.generation, status.exit or status.name,
            there and "there" or "gone")
    end]]

local APP = SAY .. [[
    local App = {}
    App.__index = App
    function App.new()
        say("new")
        return setmetatable({}, App)
    end
    function App:init(options)
        self.name = options.name
        say("init", self.name)
        local stop = os.clock() + 0.1 -- long enough for calls to come before the worker is ready
        while os.clock() < stop do end
    end
    function App:hello() say("call", self.name) return true end
    function App:close() say("close", self.name) end
    return App]]

local rt, calls, life

local function start(threads, app)
    life = os.tmpname()
    tempdir.write(life, "")
    rt = runtime.launch { config = CONFIG:format(threads), files = { ["app.lua"] = app or APP },
        env = { LIFE = life } }
    -- calls that are there before anything is ready
    wait.until_true(function() return rt:call("@arbiter", "ping") or rt.process:ended() end, 20,
        "an answer")
    for _, name in ipairs { "first", "second" } do
        calls[#calls + 1] = process.start { process.dirty(), "call", "--socket", rt.socket, name,
            "hello" }
    end
end

-- The lines so far, with words for the pids. Each worker_exit has a process of its own.
local function lines_of(names)
    local out, own = {}, {}
    for line in io.lines(life) do
        local pid = line:match "^(%d+) worker_exit"
        if pid then
            assert.is_nil(names[tonumber(pid)] or own[pid])
            own[pid], line = true, line:gsub("^%d+", "child")
        end
        out[#out + 1] = line:gsub("%d+", function(digits)
            return names[tonumber(digits)]
        end)
    end
    return out
end

local function wait_line(part)
    return wait.until_true(function()
        return (tempdir.read(life) or ""):match("[^\n]*" .. part .. "[^\n]*")
    end, 20, part)
end

before_each(function() calls = {} end)
after_each(function()
    for _, call in ipairs(calls) do
        call:close()
    end
    if rt then
        rt:close()
        rt = nil
    end
    if life then
        os.remove(life)
        life = nil
    end
end)

describe("the life of a worker", function()
    it("runs hooks and apps in order, each in its process, also during a reload", function()
        start(1)
        for _, call in ipairs(calls) do
            assert.same({ exit = 0 }, call:wait())
        end
        local arbiter, one = rt:status().arbiter.pid, rt:status().workers[1].pid
        rt:signal(signal.SIGHUP)
        wait_line("worker_exit 1 1")
        local two = rt:status().workers[1].pid
        assert.same({ exit = 0 }, rt:stop())
        local lines = lines_of { [arbiter] = "arbiter", [one] = "one", [two] = "two" }
        local calls_done = { lines[8], lines[9] }
        table.sort(calls_done)
        assert.same({ "one call first", "one call second" }, calls_done)
        lines[8], lines[9] = "", ""
        assert.same({
            "arbiter on_starting arbiter",
            "one post_fork 1 1 one",
            "one new", "one init first",
            "one new", "one init second",
            "one worker_init 1 1",
            "", "",
            "two post_fork 1 2 two",
            "two new", "two init first",
            "two new", "two init second",
            "two worker_init 1 2",
            "one close second", "one close first",
            "child worker_exit 1 1 0 gone",
            "two close second", "two close first",
            "child worker_exit 1 2 0 gone",
        }, lines)
    end)

    it("runs post_fork before any lane and worker_init after all lanes, with threads", function()
        start(3)
        for _, call in ipairs(calls) do
            assert.same({ exit = 0 }, call:wait())
        end
        local counts, order = {}, {}
        for _, line in ipairs(lines_of {}) do
            local word = line:match("^%d+ ([%w_]+)")
            counts[word] = (counts[word] or 0) + 1
            if order[#order] ~= word and word ~= "new" then
                order[#order + 1] = word
            end
        end
        assert.same({ "on_starting", "post_fork", "init", "worker_init", "call" }, order)
        assert.same({ on_starting = 1, post_fork = 1, new = 6, init = 6, worker_init = 1,
            call = 2 }, counts)
    end)

    it("tells worker_exit how each worker ended", function()
        start(1)
        wait_line("worker_init 1 1")
        wait.until_true(function()
            return rt:command("status", { "--ready" }).exit == 0
        end, 10, "ready")
        signal.kill(rt:status().workers[1].pid, signal.SIGSEGV)
        assert.truthy(wait_line("worker_exit 1 1"):find("SIGSEGV gone", 1, true))
        wait_line("worker_init 1 2")
        assert.same({ exit = 0 }, rt:stop())
        assert.truthy(wait_line("worker_exit 1 2"):find("0 gone", 1, true))
    end)

    it("calls worker_exit, and no worker_init, for a worker that can't boot", function()
        start(1, "return { init = function() error 'no model' end, hello = print }")
        assert.same({ exit = 4 }, rt:wait(20))
        wait_line("worker_exit 1 1 1 gone")
        assert.falsy(tempdir.read(life):find("worker_init", 1, true))
    end)
end)

-- The worker's place waits for it, and so does the end of the runtime.
describe("a worker_exit that does not end", function()
    local function wait_generation(generation)
        return wait.until_true(function()
            local status = rt:call("@arbiter", "status")
            for _, worker in ipairs(status and status.workers or {}) do
                if worker.state ~= "ready" or worker.generation ~= generation then
                    return nil
                end
            end
            return status and #status.workers == 12 and status
        end, 20, "new workers")
    end

    local function kill_all(status)
        for _, worker in ipairs(status.workers) do
            signal.kill(worker.pid, signal.SIGKILL)
        end
    end

    it("delays nobody for longer than one call of it, however many workers end", function()
        rt = runtime.start { config = [[
            workers = 12
            graceful_timeout = 1
            apps = { "apps.echo" }
            function worker_exit() while true do end end]] }
        local before = rt:status()
        local at = wait.now()
        kill_all(before)
        local status = wait_generation(2)
        assert.is_true(wait.now() - at < (2 + 8) * wait.SLOW) -- not twelve times 2 s
        kill_all(status)
        status = wait_generation(3)
        assert.same({ before.arbiter.pid, 0 }, { status.arbiter.pid, status.arbiter.hangs })
        local log = rt:log()
        local _, ended = log:gsub('hook=worker_exit error="killed: it ran for more than 2000 ms',
            "")
        local _, left_out = log:gsub('msg="a hook was skipped" hook=worker_exit worker=', "")
        assert.equal(24, ended + left_out)
        assert.is_true(ended >= 1 and ended <= 8) -- eight run at once
        assert.same({ exit = 0 }, rt:stop())
    end)
end)

describe("a worker_exit", function()
    it("sees what the file opened and created, and its processes live on",
        function()
            rt = runtime.start { config = [[
                workers = 1
                apps = { "apps.echo" }
                local dir = debug.getinfo(1, "S").source:match "@(.*)/"
                local out, count = io.open(dir .. "/seen", "a"), 0
                out:write "opened\n"
                function on_starting() count = 1 end
                function worker_exit(worker)
                    count = count + 1 -- of a copy, which goes when this returns
                    out:write(count, " ", worker.generation, "\n")
                    os.execute("(sleep 0.3; echo done >>" .. dir .. "/seen) &")
                    print("bye", worker.generation)
                end]] }
            for generation = 1, 2 do
                signal.kill(rt:status().workers[1].pid, signal.SIGKILL)
                wait.until_true(function()
                    return rt:status().workers[1].generation == generation + 1
                        and rt:status().workers[1].state == "ready"
                end, 10, "the next worker")
            end
            wait.until_true(function()
                local _, done = (tempdir.read(rt.dir .. "/seen") or ""):gsub("done\n", "")
                return done == 2
            end, 10, "what it has started")
            local seen = tempdir.read(rt.dir .. "/seen"):gsub("done\n", "")
            assert.equal("opened\n2 1\n2 2\n", seen)
            assert.truthy(rt:log():find('msg="output" by=arbiter stream=stdout text="bye\\t2"', 1,
                true))
        end)

    it("has no connection of a caller, nor do its processes", function()
        rt = runtime.start { config = [[
            workers = 1
            apps = { "apps.echo" }
            local dir = debug.getinfo(1, "S").source:match "@(.*)/"
            function worker_exit()
                os.execute("ls -l /proc/self/fd >" .. dir .. "/list; mv " .. dir .. "/list "
                    .. dir .. "/fds")
            end]] }
        local client = rt:client()
        assert.equal("x", client:execute("apps.echo", "echo", "x")) -- and stays connected
        signal.kill(rt:status().workers[1].pid, signal.SIGKILL)
        local list = wait.until_true(function() return tempdir.read(rt.dir .. "/fds") end, 10,
            "a list of descriptors")
        assert.truthy(list:find("/fd", 1, true), list)
        assert.is_nil(list:find("socket:", 1, true), list)
        assert.equal("y", client:execute("apps.echo", "echo", "y"))
    end)

    it("can exit, crash or call the runtime without any other effect", function()
        rt = runtime.start { config = [[
            workers = 1
            apps = { "apps.echo" }
            local dir, ffi = debug.getinfo(1, "S").source:match "@(.*)/", require "ffi"
            ffi.cdef "int raise(int); void _exit(int);"
            function worker_exit(worker)
                if worker.generation == 1 then
                    ffi.C._exit(3)
                elseif worker.generation == 2 then
                    ffi.C.raise(9)
                end
                local client = require("dirty").client { socket = dir .. "/dirty.sock" }
                print("the runtime says", client:arbiter("ping"))
            end]] }
        local arbiter = rt:status().arbiter.pid
        for generation = 1, 3 do
            signal.kill(rt:status().workers[1].pid, signal.SIGKILL)
            wait.until_true(function()
                local worker = rt:status().workers[1]
                return worker.generation == generation + 1 and worker.state == "ready"
            end, 10, "the next worker")
        end
        assert.equal(arbiter, rt:status().arbiter.pid)
        for _, part in ipairs { 'hook=worker_exit error="exited with status 3"',
            'hook=worker_exit error="killed by signal 9"',
            'text="the runtime says\\t' .. arbiter } do
            assert.truthy(rt:log():find(part, 1, true), part .. "\n" .. rt:log())
        end
    end)
end)
