-- Finalizers (__gc, ffi.gc) of one app run wherever the lane's garbage is collected. What they
-- raise must fail nobody's call, and what they say must not bear another app's name.
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

-- Leaves objects whose finalizers do something.
local LEAVER = [[
    local dirty = require "dirty"
    local ffi = require "ffi"
    local finalized, seen = 0, nil
    local function leave(count, act)
        for i = 1, count do
            if i %% 2 == 0 then
                local p = newproxy(true)
                getmetatable(p).__gc = act
            else
                ffi.gc(ffi.new "char[8]", act)
            end
        end
    end
    local function raise()
        finalized = finalized + 1
        error "leaver's finalizer"
    end
    local App = {}
    function App:leave(count) leave(count or 20, raise) return true end
    function App:leave_words()
        leave(2, function()
            finalized = finalized + 1
            dirty.log.info("said by a finalizer")
            seen = tostring(dirty.request.app) .. " " .. tostring(dirty.remaining())
        end)
        return true
    end
    function App:finalized() return finalized, seen end
    function App:stop() collectgarbage "stop" return true end
    function App:restart() collectgarbage "restart" return true end
    %s
    return App]]

local HONEST = [[
    local App = {}
    local calls = 0
    function App:work(text)
        local t = {}
        for i = 1, 2000 do t[i] = { i } end
        calls = calls + 1
        return #text
    end
    function App:litter(mib)
        calls = calls + 1
        for i = 1, mib * 1024 do
            local t = {}
            for k = 1, 10 do t[k] = { i, k } end -- about 1 KiB
        end
        return "done"
    end
    function App:flow(chunks, mib)
        local n = 0
        return function()
            n = n + 1
            self:litter(mib)
            return n <= chunks and n or nil
        end
    end
    function App:deep()
        local function down(n) return { n, n > 0 and down(n - 1) or nil } end
        local keep = {}
        for i = 1, 200 do keep[i] = down(150) end
        return #keep
    end
    function App:collect(how)
        if how == "collect" then return collectgarbage() end
        repeat local finished = collectgarbage("step", 100) until finished
        return collectgarbage("step", 2 ^ 20)
    end
    function App:unpatched()
        local _, original = debug.getupvalue(collectgarbage, 2)
        original "collect"
        return "done"
    end
    function App:calls() return calls end
    return App]]

-- Newer LuaJITs print what a finalizer raises, and go on by themselves.
local function raises_through()
    local p = newproxy(true)
    getmetatable(p).__gc = function() error("through", 0) end
    p = nil -- luacheck: ignore
    return not pcall(collectgarbage)
end

describe("a finalizer", function()
    local rt

    local function start(config, leaver)
        rt = runtime.start { config = config or "workers = 1; apps = { 'leaver', 'honest' }",
            files = { ["leaver.lua"] = LEAVER:format(leaver or ""), ["honest.lua"] = HONEST } }
    end

    after_each(function()
        if rt then
            rt:close()
            rt = nil
        end
    end)

    local function lines(text)
        local found = {}
        for line in rt:log():gmatch "[^\n]+" do
            if line:find(text, 1, true) then
                found[#found + 1] = line
            end
        end
        return found
    end

    it("that raises fails no call of another app, and is logged without an app's name", function()
        start()
        local client = rt:client { timeout = 20 }
        assert(client:execute("leaver", "leave"))
        for _ = 1, 60 do
            assert.equal(200000, client:execute("honest", "work", ("x"):rep(200000)))
        end
        assert.equal(60, client:execute("honest", "calls"))
        assert.equal(20, client:execute("leaver", "finalized"))
        local said = wait.until_true(function()
            local found = lines "leaver's finalizer"
            return #found > 0 and found
        end, 10, "a line of the log")
        for _, line in ipairs(said) do
            assert.falsy(line:find("app=", 1, true), line)
        end
        if raises_through() then
            assert.truthy(said[1]:find('level=warn', 1, true), said[1])
            assert.truthy(said[1]:find('msg="a finalizer raised an error"', 1, true), said[1])
        end
        assert.is_true(#said <= 20, #said)
        client:close()
    end)

    it("that raises fails no call without large arguments", function()
        start()
        local client = rt:client { timeout = 20 }
        for _ = 1, 30 do
            assert(client:execute("leaver", "leave"))
            for _ = 1, 30 do
                assert.equal("done", client:execute("honest", "litter", 0.2))
            end
        end
        assert.is_true(client:execute("leaver", "finalized") > 300)
        client:close()
    end)

    it("that raises fails no stream: its garbage is collected between chunks", function()
        start()
        assert(rt:call("leaver", "leave"))
        local stream = assert(rt:client { timeout = 60 }:stream("honest", "flow", 100, 1))
        local last
        for n in stream do
            last = n
        end
        assert.same({ 100 }, { last, stream.err })
        assert.equal(20, (rt:call("leaver", "finalized")))
    end)

    for name, config in pairs { [""] = "", [" in any lane"] = "threads = 2;" } do
        it("that raises fails no call that makes much garbage" .. name, function()
            start("workers = 1; apps = { 'leaver', 'honest' };" .. config)
            local pid = rt:status().workers[1].pid
            for _ = 1, 4 do
                assert(rt:call("leaver", "leave"))
                assert.equal("done", (rt:call("honest", "litter", 8)))
            end
            for _ = 1, 4 do
                rt:call("leaver", "leave")
                local value, err = rt:call("honest", "litter", name == "" and 200 or 20)
                assert.equal("done", value, err)
            end
            assert.equal(pid, rt:status().workers[1].pid)
        end)
    end

    it("that raises fails no app that collects by itself", function()
        start()
        for _, how in ipairs { "collect", "step" } do
            assert(rt:call("leaver", "leave"))
            local value, err = rt:call("honest", "collect", how)
            assert.equal(how == "collect" and 0 or true, value, err)
        end
        assert.equal(40, (rt:call("leaver", "finalized")))
        assert.falsy(lines("leaver's finalizer")[1]:find("app=", 1, true))
    end)

    it("that raises is reported as a finalizer if LuaJIT's own collector runs", function()
        start()
        assert(rt:call("leaver", "leave"))
        local value, err, info = rt:call("honest", "unpatched")
        if not raises_through() then
            assert.equal("done", value, err)
            return
        end
        assert.equal("APP", info.code)
        assert.truthy(info.message:find("^a finalizer raised an error while honest.unpatched "
            .. "ran: .*leaver.lua:%d+: leaver's finalizer$"), info.message)
        assert.equal("yes", info.started)
        local said = lines "leaver's finalizer"
        assert.truthy(said[1]:find('during="honest.unpatched"', 1, true), said[1])
        assert.falsy(said[1]:find("app=", 1, true), said[1])
        -- what an app raises itself is not taken for one, the collector stopped or not
        for _, state in ipairs { "stop", "restart" } do
            assert(rt:call("leaver", state))
            _, err = rt:call("honest", "litter", {})
            assert.truthy(err:find("^APP: .*honest.lua:%d+: attempt to "), err)
        end
    end)

    it("that raises costs no worker whose heap is at its limit", function()
        start "workers = 1; max_memory = '16M'; apps = { 'leaver', 'honest' }"
        local pid = rt:status().workers[1].pid
        for _ = 1, 5 do
            assert(rt:call("leaver", "leave"))
            rt:call("honest", "litter", 100)
            local _, err = rt:call("honest", "deep")
            assert.is_nil(err)
        end
        assert.equal(pid, rt:status().workers[1].pid)
        assert.falsy(rt:log():find("panic", 1, true))
    end)

    it("that raises while apps boot fails no other app", function()
        rt = runtime.start { config = "workers = 1; apps = { 'leaver', 'loader' }",
            files = { ["leaver.lua"] = LEAVER:format "leave(20, raise)", ["loader.lua"] = [[
                local App = {}
                function App:init()
                    self.kept = {}
                    for i = 1, 50000 do self.kept[i] = { i } end
                end
                function App:kept_count() return #self.kept end
                return App]] } }
        assert.equal(50000, (rt:call("loader", "kept_count")))
        local r = process.run_dirty({ "check", "--config", rt.dir .. "/dirty.conf.lua",
            "--lua-path", rt.dir .. "/?.lua" }, { seconds = 30 })
        assert.equal(0, r.exit, r.stdout .. r.stderr)
    end)

    it("sees no call, and its log lines have no app's name", function()
        start()
        assert(rt:call("leaver", "leave_words"))
        for _ = 1, 60 do
            assert.equal(10, (rt:call("honest", "work", ("x"):rep(10))))
        end
        local finalized, seen = rt:call("leaver", "finalized")
        assert.same({ 2, "nil inf" }, { finalized, seen })
        local said = lines "said by a finalizer"
        assert.equal(2, #said)
        assert.falsy(said[1]:find("app=", 1, true), said[1])
    end)

    it("waits while an app has stopped the collector", function()
        start()
        assert(rt:call("leaver", "stop"))
        assert(rt:call("leaver", "leave"))
        for _ = 1, 10 do
            assert.equal(200000, (rt:call("honest", "work", ("x"):rep(200000))))
            assert.equal("done", (rt:call("honest", "litter", 4)))
        end
        assert.equal(0, (rt:call("leaver", "finalized")))
        assert(rt:call("leaver", "restart"))
        for _ = 1, 40 do
            assert.equal("done", (rt:call("honest", "litter", 4)))
        end
        assert.equal(20, (rt:call("leaver", "finalized")))
    end)

    it("of the configuration that raises stops no reload and no arbiter", function()
        start [[
            workers = 1
            apps = { "leaver", "honest" }
            local p = newproxy(true)
            getmetatable(p).__gc = function() error "the configuration's finalizer" end
            function worker_exit() p = p end]]
        local arbiter = rt:status().arbiter.pid
        for _ = 1, 3 do
            local r = rt:command("reload", { "--wait" }, { seconds = 30 })
            assert.equal(0, r.exit, r.stderr)
        end
        assert.equal(arbiter, rt:status().arbiter.pid)
        rt:signal(signal.SIGTERM)
        assert.same({ exit = 0 }, rt:wait(20))
    end)
end)

describe("the garbage of calls", function()
    it("is collected: a lane's heap stays near what its apps keep", function()
        local rt = runtime.start { config = [[workers = 1
            apps = { 'honest', keeper = { module = 'keeper' } }]],
            files = { ["honest.lua"] = HONEST, ["keeper.lua"] = [[
                local App = { kept = {} }
                for i = 1, 100000 do App.kept[i] = { i } end -- some 6 MiB
                function App:heap() return collectgarbage "count" end
                return App]] } }
        finally(function() rt:close() end)
        local client = rt:client { timeout = 20 }
        local kept, most = client:execute("keeper", "heap"), 0
        for i = 1, 300 do
            assert.equal("done", client:execute("honest", "litter", i % 4))
            most = math.max(most, (client:execute("keeper", "heap")))
        end
        client:close()
        assert.is_true(most < 3 * kept + 8192, ("%d KiB of %d kept"):format(most, kept))
        assert.is_true(tonumber(tempdir.read(("/proc/%d/status"):format(rt:status().workers[1].pid))
            :match "VmRSS:%s+(%d+)") < 100000 * wait.SLOW)
    end)
end)
