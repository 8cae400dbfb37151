-- Apps whose code breaks on the disk take neither the runtime nor other apps with them.
local runtime = require "support.runtime"
local signal = require "posix.signal"
local supervision = require "support.supervision"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local contains, defer, kill, wait_for_another =
    supervision.contains, supervision.defer, supervision.kill, supervision.wait_for_another

after_each(supervision.undo)

-- Apps whose code breaks on the disk take neither the runtime nor other apps with them.
describe("when code on the disk is broken", function()
    local GOOD = "return { value = function() return %q end }"
    local rt

    local function write(name, text)
        tempdir.write(rt.dir .. "/" .. name .. ".lua", text)
    end

    local function start_shops()
        rt = runtime.start { config = [[
            workers = 2
            boot_timeout = 10
            apps = { "fruit", "meat", "bread" }]], files = { ["fruit.lua"] = GOOD:format("apple"),
                ["meat.lua"] = GOOD:format("ham"), ["bread.lua"] = GOOD:format("bun") } }
        defer(function() rt:close() end)
    end

    local function wait_value(app, value)
        wait.until_true(function() return rt:call(app, "value") == value end, 20,
            function() return app .. " gives " .. value .. "\n" .. rt:log() end)
    end

    local function assert_apart(app, reason)
        local _, _, info = rt:call(app, "value")
        assert.equal("NO_WORKERS", info.code)
        assert.equal("no", info.started)
        contains(info.message, reason)
        assert.is_true(info.retry_after_ms > 0)
        contains(rt:status().apps[app].apart, reason)
    end

    it("a new arbiter serves the other apps, and the broken one once it is fixed", function()
        start_shops()
        write("meat", "return {{")
        write("bread", "return { init = function() error 'no flour' end, value = print }")
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        local value, err = rt:call("fruit", "value")
        assert.equal("apple", value, tostring(err) .. rt:log())
        local status = wait_for_another(rt, arbiter)
        assert.equal(1, status.arbiter.restarts)
        assert_apart("meat", "meat.lua:1: unexpected symbol near '<eof>'")
        wait.until_true(function() return type(rt:status().apps.bread.apart) == "string" end, 10,
            "bread is quarantined")
        assert_apart("bread", "no flour")
        contains(rt:command("status").stdout, "app meat can't boot and is quarantined: ")
        for _ = 1, 20 do
            assert.equal("apple", (rt:call("fruit", "value")))
        end
        -- the breaker's next try
        write("meat", GOOD:format("beef"))
        wait_value("meat", "beef")
        assert_apart("bread", "no flour")
        -- a reload deals all to all
        write("bread", GOOD:format("bagel"))
        assert.equal(0, rt:command("reload", { "--wait" }).exit)
        assert.equal("bagel", (rt:call("bread", "value")))
        status = rt:status()
        for _, app in pairs(status.apps) do
            assert.equal(2, app.workers)
            assert.are_not.equal("string", type(app.apart))
        end
        assert.equal(2, #status.workers)
        assert.equal(1, status.arbiter.restarts)
    end)

    it("a dead worker costs no other app, and everything recovers by itself", function()
        start_shops()
        write("bread", "error 'no oven'")
        for number = 1, 2 do
            kill(rt:status().workers[number].pid, signal.SIGKILL)
        end
        wait_value("fruit", "apple")
        wait.until_true(function() return type(rt:status().apps.bread.apart) == "string" end, 10,
            "bread is quarantined")
        assert_apart("bread", "no oven")
        wait.until_true(function()
            local apps = rt:status().apps
            return apps.fruit.ready == 2 and apps.meat.ready == 2
        end, 10, "two for the others")
        -- nobody has asked for what is in the file now
        tempdir.write(rt.dir .. "/dirty.conf.lua", "workers = 3 error 'half edited'")
        write("bread", GOOD:format("roll"))
        wait_value("bread", "roll")
        wait.until_true(function()
            local status = rt:status()
            return status.apps.bread.ready == 2 and #status.workers == 2
        end, 20, "a reload")
        contains(rt:log(), "quarantined apps boot again")
        assert.equal("roll", (rt:call("bread", "value")))
    end)

    it("for all apps, a new arbiter reports it to each caller", function()
        rt = runtime.start { apps = { "fruit:1" },
            files = { ["fruit.lua"] = GOOD:format("apple") } }
        defer(function() rt:close() end)
        write("fruit", "return {{")
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        local _, _, info = rt:call("fruit", "value")
        assert.equal("NO_WORKERS", info.code)
        contains(info.message, "fruit.lua:1: unexpected symbol near '<eof>'")
        write("fruit", GOOD:format("pear"))
        wait_value("fruit", "pear")
        assert.equal(1, rt:status().arbiter.restarts)
    end)
end)
