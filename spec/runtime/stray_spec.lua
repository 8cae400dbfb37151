-- A child that an app, a hook or the configuration forks, and that comes back from it: an error
-- in the child, an `_exit` that is never reached. It must not go on as the process that it was
-- forked from, wherever that happens.
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local wait = require "support.wait"

-- fork_here(): forks; in the parent it waits for the child and notes down how it ended.
local FORK = [[
    local ffi = require "ffi"
    ffi.cdef "int fork(void); int waitpid(int, int *, int); int getpid(void);"
    local function fork_here(where)
        local pid = ffi.C.fork()
        if pid == 0 then
            return true -- the child
        end
        local status = ffi.new "int[1]"
        ffi.C.waitpid(pid, status, 0)
        local file = io.open(os.getenv "STRAYS", "a")
        file:write(where, " ", status[0], "\n")
        file:close()
        return false
    end
]]

local APP = FORK .. [[
    local stage = os.getenv "STAGE"
    local function at(name)
        if stage == name and fork_here(name) then
            error("the child is astray")
        end
    end
    at "load"
    local App = {}
    App.__index = App
    function App.new() at "new" return setmetatable({}, App) end
    function App:init() at "init" end
    function App:close() at "close" end
    function App:pid() return ffi.C.getpid() end
    function App:raise()
        if fork_here "raise" then error("the child is astray") end
        return "the parent's"
    end
    function App:answer()
        return fork_here "answer" and "the child's" or "the parent's"
    end
    function App:many()
        for _ = 1, 3 do
            if fork_here "many" then return ("x"):rep(2 ^ 20) end
        end
        return "the parent's"
    end
    function App:flow()
        local n = 0
        return function()
            n = n + 1
            if n == 2 and fork_here "flow" then error("the child is astray") end
            return n <= 3 and n or nil
        end
    end
    function App:finalize()
        local p = newproxy(true)
        getmetatable(p).__gc = function()
            if fork_here "finalize" then error("the child is astray") end
        end
        p = nil
        collectgarbage()
        return "the parent's"
    end
    function App:tell()
        error(setmetatable({}, { __tostring = function()
            return fork_here "tell" and "the child's" or "the parent's"
        end }))
    end
    return App]]

-- Of the forks at one place: the wait status of each child.
local function statuses(file, where)
    local found = {}
    for place, status in (tempdir.read(file) or ""):gmatch "(%a+) (%d+)" do
        if place == where then
            found[#found + 1] = tonumber(status)
        end
    end
    return found
end

local ENDED = 70 * 256 -- exited with 70

describe("a forked child that returns from an action", function()
    local rt, file, pid

    local function start(config)
        file = os.tmpname()
        rt = runtime.start { config = config, files = { ["forker.lua"] = APP },
            env = { STRAYS = file, STAGE = "none" } }
        pid = rt:call("forker", "pid")
    end

    after_each(function()
        rt:close()
        os.remove(file)
    end)

    -- The worker is the one that it was, and there is no other.
    local function expect_one(where, count)
        local expected = {}
        for i = 1, count do
            expected[i] = ENDED
        end
        assert.same(expected, statuses(file, where))
        for _ = 1, 3 do
            assert.equal(pid, (rt:call("forker", "pid")))
        end
        assert.equal(pid, rt:status().workers[1].pid)
        local workers = 0
        for _, entry in ipairs(rt:tree()) do
            workers = workers + (entry.title:find "^dirty: worker" and 1 or 0)
        end
        assert.equal(1, workers)
        assert.falsy(rt:log():find("not given", 1, true))
        assert.truthy(rt:log():find('msg="a forked child returned to the runtime: ending it"', 1,
            true))
    end

    for action, count in pairs { raise = 1, answer = 1, many = 3, finalize = 1 } do
        it("ends (" .. action .. ")", function()
            start "workers = 1; apps = { 'forker' }"
            assert.equal("the parent's", (rt:call("forker", action)))
            expect_one(action, count)
        end)
    end

    it("ends (a stream)", function()
        start "workers = 1; apps = { 'forker' }"
        local stream = assert(rt:client():stream("forker", "flow"))
        local got = {}
        for n in stream do
            got[#got + 1] = n
        end
        assert.same({ 1, 2, 3 }, got)
        assert.is_nil(stream.err)
        expect_one("flow", 1)
    end)

    it("ends (while an error is described)", function()
        start "workers = 1; apps = { 'forker' }"
        local _, err = rt:call("forker", "tell")
        assert.equal("APP: the parent's", err)
        expect_one("tell", 1)
    end)

    it("ends in a worker of several lanes", function()
        start "workers = 1; threads = 2; apps = { 'forker' }"
        assert.equal("the parent's", (rt:call("forker", "raise")))
        assert.equal("the parent's", (rt:call("forker", "answer")))
        expect_one("raise", 1)
    end)
end)

describe("a forked child that returns", function()
    local rt, file

    before_each(function() file = os.tmpname() end)
    after_each(function()
        if rt then
            rt:close()
            rt = nil
        end
        os.remove(file)
    end)

    local function start(stage, config)
        rt = runtime.start { config = config or "workers = 1; apps = { 'forker' }",
            files = { ["forker.lua"] = APP }, env = { STRAYS = file, STAGE = stage } }
    end

    local function expect_ended(where)
        local found = statuses(file, where)
        assert.is_true(#found > 0, where)
        for _, status in ipairs(found) do
            assert.equal(ENDED, status)
        end
    end

    for _, stage in ipairs { "load", "new", "init" } do
        it("from " .. stage .. " ends, and the app is up", function()
            start(stage)
            expect_ended(stage)
            assert.equal(rt:status().workers[1].pid, (rt:call("forker", "pid")))
            local before = #statuses(file, stage)
            assert.equal(0, rt:command("reload", { "--wait" }).exit)
            assert.is_true(#statuses(file, stage) > before)
            expect_ended(stage)
            assert.equal(rt:status().workers[1].pid, (rt:call("forker", "pid")))
        end)
    end

    it("from close ends, and the worker ends normally", function()
        start "close"
        local processes = rt:tree()
        assert.same({ exit = 0 }, rt:stop())
        tree.wait_gone(processes, 10)
        assert.same({ ENDED }, statuses(file, "close"))
    end)

    for hook, in_worker in pairs { post_fork = true, worker_init = true, on_starting = false,
        worker_exit = false } do
        it("from the hook " .. hook .. " ends", function()
            start("none", FORK .. ([[
                workers = 1
                apps = { "forker" }
                function %s()
                    if fork_here "hook" then error("the child is astray") end
                end]]):format(hook))
            local old = rt:status().workers[1].pid
            assert(signal.kill(old, signal.SIGKILL))
            wait.until_true(function()
                local now = rt:status().workers[1]
                return now and now.pid ~= old and now.state == "ready"
            end, 20, "another worker")
            expect_ended "hook"
            assert.equal(in_worker and 2 or 1, #statuses(file, "hook"))
            assert.equal(rt:status().workers[1].pid, (rt:call("forker", "pid")))
            assert.same({ exit = 0 }, rt:stop())
        end)
    end

    it("from the configuration ends, at the start and at a reload", function()
        start("none", FORK .. [[
            workers = 1
            apps = { "forker" }
            function worker_init() end
            if fork_here "config" then error("the child is astray") end]])
        assert.same({ ENDED }, statuses(file, "config"))
        assert.equal(0, rt:command("reload", { "--wait" }).exit)
        -- run by the probe, and for its hook in the arbiter
        assert.same({ ENDED, ENDED, ENDED }, statuses(file, "config"))
        assert.equal(rt:status().workers[1].pid, (rt:call("forker", "pid")))
        local r = process.run_dirty({ "config", "--config", rt.dir .. "/dirty.conf.lua" },
            { env = { STRAYS = file } })
        assert.equal(0, r.exit, r.stderr)
        local _, count = r.stdout:gsub("\n *workers ", "")
        assert.equal(1, count, r.stdout)
    end)
end)
