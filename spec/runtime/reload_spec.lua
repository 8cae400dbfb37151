-- Reload on the running system: new code and configuration without losing a call, and what
-- happens when they are bad.
local runtime = require "support.runtime"
local shop = require "support.shop"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local CONFIG, start, versioned = shop.CONFIG, shop.start, shop.versioned

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local function pids_of(rt)
    local pids = {}
    for i, worker in ipairs(rt:status().workers) do
        pids[i] = worker.pid
    end
    return pids
end

describe("a reload", function()
    local rt
    after_each(function()
        if rt then
            rt:close()
            rt = nil
        end
    end)

    it("serves new code and new options from new workers", function()
        rt = start()
        local before = pids_of(rt)
        assert.same({ "v1", 1 }, { rt:call("shop", "version") })
        rt:write("shop.lua", versioned "v2")
        rt:configure((CONFIG:gsub("mark = 1", "mark = 2")))
        assert.equal("done", rt:reload().result)
        for _ = 1, 4 do
            assert.same({ "v2", 2 }, { rt:call("shop", "version") })
        end
        for i, pid in ipairs(pids_of(rt)) do
            assert.are_not.equal(before[i], pid)
        end
    end)

    it("uses apps, limits, workers, timeouts and hooks of the new configuration", function()
        rt = start()
        rt:write("more.lua", versioned("more", "workers = 1, timeout = 7, max_queue = 3"))
        rt:configure(([[
            workers = 3
            timeout = 11
            max_queue = 5
            local seen = %q
            function worker_init(worker)
                local file = io.open(seen, "a")
                file:write(worker.number, " ")
                file:close()
            end
            apps = { "more", "shop", again = { module = "more", workers = 2 } }]]):format(
            rt.dir .. "/seen"))
        assert.equal("done", rt:reload().result)
        local status = rt:status()
        assert.equal(3, #status.workers)
        assert.equal(5, status.queue.limit)
        assert.same({ 1, 7000, 3 }, { status.apps.more.limit, status.apps.more.timeout_ms,
            status.apps.more.max_queue })
        assert.same({ 2, 11000 }, { status.apps.again.workers, status.apps.shop.timeout_ms })
        assert.same({ "more", "v1" }, { (rt:call("again", "version")),
            (rt:call("shop", "version")) })
        local seen = tempdir.read(rt.dir .. "/seen")
        for number = 1, 3 do
            contains(seen, number .. " ")
        end
        rt:configure('workers = 1\napps = { "shop" }')
        assert.equal("done", rt:reload().result)
        local _, err = rt:call("more", "version")
        contains(err, "APP_NOT_FOUND")
        assert.equal("v1", (rt:call("shop", "version")))
        assert.equal(seen, tempdir.read(rt.dir .. "/seen")) -- the hook is gone
        wait.until_true(function() return #rt:status().workers == 1 end, 10, "one worker")
    end)

    it("reloads modules that the configuration requires", function()
        rt = start([[
            local dir = debug.getinfo(1, "S").source:match("@(.*)/")
            package.path = dir .. "/?.lua"
            workers = 1
            apps = { shop = { module = "shop", options = require "site" } }]],
            { ["shop.lua"] = versioned "v1", ["site.lua"] = "return { mark = 'a' }" })
        assert.same({ "v1", "a" }, { rt:call("shop", "version") })
        rt:write("site.lua", "return { mark = 'b' }")
        assert.equal("done", rt:reload().result)
        assert.same({ "v1", "b" }, { rt:call("shop", "version") })
    end)

    it("works without a configuration file", function()
        rt = runtime.start { apps = { "shop:1" }, files = { ["shop.lua"] = versioned "v1" } }
        tempdir.write(rt.dir .. "/shop.lua", versioned "v2")
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return (rt:call("shop", "version")) == "v2" end, 10, "v2")
    end)

    it("reports and keeps settings that it can't change", function()
        rt = start()
        rt:configure(CONFIG .. "\nuser = 'nobody'\nlog_format = 'json'\n"
            .. "pidfile = '/nowhere/d.pid'")
        local last = rt:reload()
        assert.equal("partial", last.result)
        for _, part in ipairs { [[user = \"nobody\" (file ]], "dirty.conf.lua:3) is ignored, it "
            .. "stays nil", "log_format = ", "pidfile = ", "restart the runtime" } do
            contains(last.reason:gsub('"', '\\"'), part)
            contains(rt:log(), part)
        end
        assert.equal("v1", (rt:call("shop", "version")))
        assert.falsy(rt:log():find("level=debug", 1, true))
    end)

    it("names the reason to a call that it stops: reload, recycling or scaling", function()
        rt = start([[
            workers = 1
            threads = 2
            graceful_timeout = 0.3
            max_requests = 3
            apps = { shop = { module = "shop", interruptible = false } }]])
        local function ended(act)
            local call = rt:start_call("shop", "sleep", "60")
            wait.until_true(function()
                for _, worker in ipairs(rt:status().workers) do
                    for _, lane in ipairs(worker.lanes) do
                        if lane.state == "running" then
                            return true
                        end
                    end
                end
            end, 10, "a call that runs")
            act()
            assert.same({ exit = 1 }, call:wait(20))
            local said = call:stderr()
            call:close()
            assert.falsy(said:find("shutting down", 1, true), said)
            return said
        end
        contains(ended(function() rt:signal(signal.SIGHUP) end), "SHUTDOWN: shop.sleep was "
            .. "stopped: its worker was replaced by a reload, and graceful_timeout (0.3 s) has "
            .. "passed")
        wait.until_true(function() return rt:status().reload.state == "idle" end, 20, "its end")
        contains(ended(function()
            for _ = 1, 4 do
                rt:call("shop", "version")
            end
        end), "SHUTDOWN: shop.sleep was stopped: its worker was recycled, and graceful_timeout")
        rt:configure [[
            workers = 2
            graceful_timeout = 0.3
            apps = { shop = { module = "shop", interruptible = false }, "apps.echo:1" }]]
        assert.equal("done", rt:reload().result)
        wait.until_true(function() return rt:status().workers[2].state == "ready" end, 20, "two")
        local calls = { rt:start_call("shop", "sleep", "60"), rt:start_call("shop", "sleep", "60") }
        finally(function()
            for _, call in ipairs(calls) do
                call:close()
            end
        end)
        wait.until_true(function()
            local workers = rt:status().workers
            return workers[1].lanes[1].state == "running" and workers[2].lanes[1].state == "running"
        end, 10, "two calls that run")
        assert.equal(0, rt:command("scale", { "1" }).exit)
        local said = wait.until_true(function()
            local over = calls[1]:ended() and calls[1] or calls[2]:ended() and calls[2]
            return over and over:stderr()
        end, 20, "the end of one")
        contains(said, "SHUTDOWN: shop.sleep was stopped: its worker was removed by scaling, and")
    end)

    it("retries a new worker that was killed while it booted", function()
        rt = start()
        -- Its first boot lasts until it is killed.
        rt:write("shop.lua", ([[
            local ffi = require "ffi"
            ffi.cdef "int usleep(unsigned); int getpid(void);"
            local App = require("dirty").app {}
            function App:init()
                local seen = io.open(%q)
                if seen then seen:close() return end
                local file = io.open(%q, "w")
                file:write(ffi.C.getpid())
                file:close()
                os.rename(%q, %q)
                ffi.C.usleep(50e6)
            end
            function App:version() return "v2" end
            return App]]):format(rt.dir .. "/first", rt.dir .. "/first.new",
            rt.dir .. "/first.new", rt.dir .. "/first"))
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return tempdir.read(rt.dir .. "/first") end, 10,
            "the boot of new code")
        signal.kill(tonumber(tempdir.read(rt.dir .. "/first")), signal.SIGKILL)
        local last = wait.until_true(function()
            local r = rt:status().reload
            return r.state == "idle" and r
        end, 20, "the end of the reload")
        assert.same({ "done", 0 }, { last.result, rt:status().counters.reload_failures })
        assert.equal("v2", (rt:call("shop", "version")))
    end)

    for what, case in pairs {
        ["a syntax error in the configuration"] = { "dirty.conf.lua", "workers = = 2",
            "dirty.conf.lua:1: unexpected symbol near '='" },
        ["a wrong value in the configuration"] = { "dirty.conf.lua", "\nworkers = -1",
            "dirty.conf.lua:2: workers = -1: must be a whole number from 0 to 4096" },
        ["a configuration that raises"] = { "dirty.conf.lua", "\n\nerror 'no site file'",
            "dirty.conf.lua:3: no site file" },
        ["a configuration that ends its process"] = { "dirty.conf.lua", "os.exit(0)",
            "the child that runs the configuration ended too early" },
        ["a configuration without apps"] = { "dirty.conf.lua", "workers = 2", "no app to serve" },
        ["a configuration of no workers"] = { "dirty.conf.lua", CONFIG .. "\nworkers = 0",
            "can't disable the runtime" },
        ["a syntax error in an app"] = { "shop.lua", "\nlocal = 5",
            "app shop (module shop): load:" },
        ["an app that is gone"] = { "shop.lua", nil, "module 'shop' was not found" },
        ["an app that declares nonsense"] = { "shop.lua",
            "return require('dirty').app { timeuot = 1 }", "timeuot" },
        ["an app that ends its process"] = { "shop.lua", "os.exit(3)", "status 3" },
        ["an app whose init fails"] = { "shop.lua",
            "return { init = function() error('no model') end, a = print }", "no model" },
        ["an app whose init ends its process"] = { "shop.lua",
            "return { init = function() os.exit(4) end, a = print }", "exit status 4" },
    } do
        it(("leaves everything as it was for %s, and says why"):format(what), function()
            rt = start()
            local before = pids_of(rt)
            if case[2] then
                rt:write(case[1], case[2])
            else
                os.remove(rt.dir .. "/" .. case[1])
            end
            local reload = rt:reload()
            assert.equal("failed", reload.result)
            contains(reload.reason, case[3])
            assert.falsy(reload.reason:find("\n", 1, true))
            contains(rt:log(), "reload failed: the old code keeps serving")
            assert.same({ "v1", 1 }, { rt:call("shop", "version") })
            assert.same(before, pids_of(rt))
            assert.equal(1, rt:status().counters.reload_failures)
            -- and the next one is not harmed by it
            rt:write("shop.lua", versioned "v2")
            rt:configure(CONFIG)
            assert.equal("done", rt:reload().result)
            assert.same({ "v2", 1 }, { rt:call("shop", "version") })
        end)
    end
end)
