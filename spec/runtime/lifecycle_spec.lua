-- The life of workers on the running system: scaled, recycled, replaced, kept away from.
local load = require "support.load"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

-- `who()` is the pid and how many calls this lane has had. It takes a millisecond, in which it
-- needs no CPU: callers that call all the time wait in the queue, and leave CPU for the rest.
local COUNTING = [[
    local ffi = require "ffi"
    ffi.cdef "int getpid(void); void *malloc(size_t); void *memset(void *, int, size_t);"
    ffi.cdef "int usleep(unsigned);"
    local app = { calls = 0 }
    function app:who()
        self.calls = self.calls + 1
        ffi.C.usleep(1000)
        return ffi.C.getpid(), self.calls
    end
    function app:grow(bytes)
        ffi.C.memset(ffi.C.malloc(bytes), 1, bytes)
        return ffi.C.getpid()
    end
    return app]]

local rt, callers

local function start(o)
    rt = runtime.start(o)
end

after_each(function()
    if callers then
        callers:stop()
        callers = nil
    end
    if rt then
        rt:close()
        rt = nil
    end
end)

-- Wait until the status is as it should be.
local function status_when(condition, what)
    return wait.until_true(function()
        local status = rt:status()
        return condition(status) and status
    end, 20, what)
end

local function all_ready(count)
    return status_when(function(status)
        for _, worker in ipairs(status.workers) do
            if worker.state ~= "ready" then
                return false
            end
        end
        return #status.workers == count
    end, count .. " ready workers")
end

local function assert_nothing_lost(report)
    assert.same({}, report.failures)
    assert.equal(0, report.hung)
    assert.is_true(report.calls > 0)
end

describe("TTIN and TTOU", function()
    it("start and end a worker under load, and keep the last host of an app", function()
        start { apps = { "counting" }, files = { ["counting.lua"] = COUNTING },
            args = { "--workers", "1" } }
        callers = load.start(rt.socket, 4, function(client)
            return client:execute("counting", "who")
        end)
        for count = 2, 4 do
            rt:signal(signal.SIGTTIN)
            all_ready(count)
        end
        for count = 3, 1, -1 do
            rt:signal(signal.SIGTTOU)
            all_ready(count)
        end
        rt:signal(signal.SIGTTOU)
        wait.until_true(function() return rt:log():find('"not scaled"', 1, true) end, 10,
            "a refusal in the log")
        assert.equal(1, #rt:status().workers)
        assert_nothing_lost(callers:stop())
    end)
end)

describe("recycling", function()
    it("replaces a worker after max_requests, between requests, without losing one", function()
        start { config = [[
            workers = 2
            max_requests = 50
            max_requests_jitter = 20
            apps = { "counting" }]], files = { ["counting.lua"] = COUNTING } }
        callers = load.start(rt.socket, 4, function(client)
            return client:execute("counting", "who")
        end)
        local status = status_when(function(status)
            return status.counters.recycled >= 6
        end, "six recycled workers")
        assert_nothing_lost(callers:stop())
        assert.equal(0, status.counters.killed)
        for served in rt:log():gmatch("why=max_requests served=(%d+)") do
            assert.is_true(tonumber(served) >= 50, served)
        end
        all_ready(2)
    end)

    it("replaces a worker that has grown over max_rss", function()
        start { config = [[
            workers = 1
            max_rss = "64m"
            apps = { "counting" }]], files = { ["counting.lua"] = COUNTING } }
        local small = rt:call("counting", "who")
        callers = load.start(rt.socket, 2, function(client)
            return client:execute("counting", "who")
        end)
        local grown = rt:call("counting", "grow", 100 * 1024 * 1024)
        assert.equal(small, grown)
        status_when(function(status)
            return status.counters.recycled == 1 and status.workers[1].pid ~= grown
                and status.workers[1].state == "ready"
        end, "a new worker")
        assert_nothing_lost(callers:stop())
        contains(rt:log(), "why=max_rss")
        assert.are_not.equal(grown, (rt:call("counting", "who")))
    end)
end)

describe("max_rss below the need of the apps", function()
    it("stops recycling with a warning, and still sees a leak", function()
        start { config = [[
            workers = 1
            max_rss = "16m"
            apps = { "counting" }]], files = { ["counting.lua"] = COUNTING:gsub("return app$",
            "function app:init() self:grow(20 * 1024 * 1024) end return app") } }
        local first = rt:call("counting", "grow", 100)
        contains(rt:log(), "worker is larger than max_rss as soon as it is ready")
        rt:call("counting", "grow", 100 * 1024 * 1024)
        status_when(function(status) return status.workers[1].pid ~= first end, "a new worker")
        assert.equal(1, rt:status().counters.recycled)
    end)
end)

describe("an app that fails to boot after a while", function()
    it("gets NO_WORKERS while its circuit is open, and comes back by itself", function()
        -- steady lives in both workers, shaky in one
        start { config = 'workers = 2\napps = { "steady", "shaky:1" }', files = {
            ["steady.lua"] = COUNTING,
            ["shaky.lua"] = [[
                local dir = debug.getinfo(1, "S").source:match("@(.*)/")
                local app = {}
                function app:init()
                    if io.open(dir .. "/broken") then error "the disk is gone" end
                end
                function app:pid()
                    local ffi = require "ffi"
                    ffi.cdef "int getpid(void);"
                    return ffi.C.getpid()
                end
                return app]] } }
        callers = load.start(rt.socket, 4, function(client)
            local value, err, info = client:execute("steady", "who")
            if not value and (info.code == "WORKER_LOST" or info.code == "CONNECTION") then
                return nil, "lost" -- it was in the worker that we kill
            end
            return value, err
        end)
        tempdir.write(rt.dir .. "/broken", "")
        signal.kill(rt:call("shaky", "pid"), signal.SIGKILL)
        local status = status_when(function(status)
            return status.apps.shaky.circuit == "open"
        end, "an open circuit")
        assert.same({ 0, "closed" }, { status.apps.shaky.ready, status.apps.steady.circuit })
        assert.is_true(status.apps.shaky.retry_in_ms > 0)
        assert.is_false(status.ready)
        local began = wait.now()
        local _, _, info = rt:call("shaky", "pid")
        assert.is_true(wait.now() - began < 10 * wait.SLOW)
        assert.same({ "NO_WORKERS", "no" }, { info.code, info.started })
        assert.is_true(info.retry_after_ms > 0)
        local r = rt:command("status", { "--ready" })
        assert.equal(6, r.exit)
        contains(r.stderr, "app shaky has no ready worker (of 1), its circuit is open")
        local page = rt:command("status").stdout
        contains(page, "failed in init")
        contains(page, "the disk is gone")
        contains(page, "circuit open")
        os.remove(rt.dir .. "/broken")
        wait.until_true(function() return rt:call("shaky", "pid") end, 20, "an answer of shaky")
        assert.equal(0, rt:command("status", { "--ready" }).exit)
        assert.equal("closed", rt:status().apps.shaky.circuit)
        local report = callers:stop()
        -- One lane was killed; a call whose answer it had begun to write has lost its connection.
        assert.is_true((report.failures.lost or 0) <= 1)
        report.failures.lost = nil
        assert_nothing_lost(report)
    end)

    it("has its circuit closed by the boot, not by the first call", function()
        start { config = 'workers = 1\napps = { "shaky" }', files = { ["shaky.lua"] = [[
            local dir = debug.getinfo(1, "S").source:match("@(.*)/")
            local app = {}
            function app:init()
                if io.open(dir .. "/broken") then error "the disk is gone" end
            end
            function app:die() os.exit(9) end
            return app]] } }
        tempdir.write(rt.dir .. "/broken", "")
        rt:call("shaky", "die")
        status_when(function(now) return now.workers[1].circuit == "open" end, "an open circuit")
        os.remove(rt.dir .. "/broken")
        local status = status_when(function(now) return now.ready end, "shaky is back")
        assert.same({ 0, "closed" }, { status.workers[1].boot_failures, status.workers[1].circuit })
        contains(rt:call("@arbiter", "metrics"), 'dirty_circuit_open{worker="1"} 0')
    end)

    it("answers its waiting callers at once", function()
        start { config = 'workers = 1\napps = { "shaky" }', files = { ["shaky.lua"] = [[
            local dir = debug.getinfo(1, "S").source:match("@(.*)/")
            local app = {}
            function app:init()
                if io.open(dir .. "/broken") then error "the disk is gone" end
            end
            function app:die() os.exit(9) end
            return app]] } }
        tempdir.write(rt.dir .. "/broken", "")
        callers = load.start(rt.socket, 3, function(client)
            local _, _, info = client:execute("shaky", "die")
            return (info.code == "WORKER_LOST" or info.code == "NO_WORKERS") or nil, info.code
        end)
        status_when(function(status)
            return status.counters.errors.NO_WORKERS
        end, "a caller that is told")
        local report = callers:stop()
        assert_nothing_lost(report)
        assert.is_true(report.slowest < 10 * wait.SLOW, report.slowest .. " s")
    end)
end)

describe("limits of apps", function()
    it("spread the apps over the workers, and calls go where their app is", function()
        local files = { ["counting.lua"] = COUNTING }
        start { config = [[
            workers = 4
            apps = {
                everywhere = { module = "counting" },
                one = { module = "counting", workers = 1 },
                two = { module = "counting", workers = 2 },
                other = { module = "counting", workers = 1 },
            }]], files = files }
        local hosts, most = {}, 0
        for _, worker in ipairs(rt:status().workers) do
            most = math.max(most, #worker.apps)
            for _, name in ipairs(worker.apps) do
                hosts[name] = hosts[name] or {}
                hosts[name][worker.pid] = true
            end
        end
        assert.equal(2, most) -- nobody hosts more than everywhere and one of the others
        local function count(set)
            local n = 0
            for _ in pairs(set) do
                n = n + 1
            end
            return n
        end
        for name, wanted in pairs { everywhere = 4, one = 1, two = 2, other = 1 } do
            assert.equal(wanted, count(hosts[name]), name)
        end
        callers = load.start(rt.socket, 6, function(client, number, n)
            local name = ({ "everywhere", "one", "two", "other" })[(number + n) % 4 + 1]
            local pid, err = client:execute(name, "who")
            if pid and not hosts[name][pid] then
                return nil, ("%s ran in %d"):format(name, pid)
            end
            return pid, err
        end)
        status_when(function(status) return status.counters.values > 500 end, "500 answers")
        assert_nothing_lost(callers:stop())
        -- a replacement has the apps of the one that died
        local pid = rt:call("one", "who")
        signal.kill(pid, signal.SIGKILL)
        local new = wait.until_true(function()
            local now = rt:call("one", "who")
            return now ~= pid and now
        end, 10, "a new host of one")
        assert.are_not.equal(pid, new)
        all_ready(4)
    end)
end)

describe("an app that forks", function()
    it("finds its descriptors unchanged in the child", function()
        start { config = 'workers = 1\napps = { "forks" }', files = { ["forks.lua"] = [[
            local ffi = require "ffi"
            ffi.cdef "int pipe(int *); int fork(void); long write(int, const void *, size_t);"
            ffi.cdef "long read(int, void *, size_t); void _exit(int); int close(int);"
            ffi.cdef "int waitpid(int, int *, int);"
            local C, app = ffi.C, {}
            -- a pipe on each of many descriptors: the child tells how many it could use
            function app:count(n)
                local pipes, good = {}, 0
                for i = 1, n do
                    pipes[i] = ffi.new "int[2]"
                    C.pipe(pipes[i])
                end
                local pid = C.fork()
                if pid == 0 then
                    for i = 1, n do C.write(pipes[i][1], "x", 1) end
                    C._exit(0)
                end
                C.waitpid(pid, nil, 0)
                local room = ffi.new "char[1]"
                for i = 1, n do
                    C.close(pipes[i][1])
                    good = good + tonumber(C.read(pipes[i][0], room, 1))
                    C.close(pipes[i][0])
                end
                return good
            end
            return app]] } }
        assert.equal(16, rt:call("forks", "count", 16))
    end)
end)
