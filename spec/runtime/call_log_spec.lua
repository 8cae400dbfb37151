-- What the log says of calls: failed ones, each kind once in a while; and all of them, if wanted.
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local function lines(rt, part)
    local found = {}
    for line in rt:log():gmatch("[^\n]+") do
        if line:find(part, 1, true) then
            found[#found + 1] = line
        end
    end
    return found
end

local function one(rt, part)
    return wait.until_true(function() return lines(rt, part)[1] end, 10, part)
end

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local APP = [[
    local app = {}
    function app:fail(text) error(text, 0) end
    function app:ok() return true end
    return app]]

for _, fast in ipairs { "true", "false" } do
    describe("the log of failed calls, fast_path = " .. fast, function()
        local rt
        after_each(function() rt:close() end)

        local function start(config)
            rt = runtime.start { files = { ["shop.lua"] = APP },
                config = "workers = 1; apps = { 'shop' }; fast_path = " .. fast .. "\n"
                    .. (config or "") }
            return rt:client()
        end

        it("has one line for calls that fail alike, and counts the rest", function()
            local client = start()
            for i = 1, 8 do
                client:execute("shop", "fail", "no order " .. i)
            end
            client:execute("shop", "fail", "no stock")
            local line = one(rt, 'error="no stock"')
            contains(line, 'level=warn who=worker:1')
            contains(line, 'msg="call failed" app="shop" action="fail" code=APP')
            assert.falsy(line:find("traceback", 1, true))
            assert.equal(1, #lines(rt, 'error="no order'))
            rt:command("stop", { "--wait" })
            local rest = one(rt, 'msg="more calls failed"')
            contains(rest, 'level=warn')
            contains(rest, 'app="shop" code=APP calls=7')
        end)

        it("takes a caller's mistakes for less, and has tracebacks at debug", function()
            local client = start "log_level = 'debug'"
            client:execute("shop", "no_such_action")
            client:execute("no.such.app", "x")
            client:execute("shop", "fail", "why")
            contains(one(rt, "code=ACTION_NOT_FOUND"), "level=info who=worker:1")
            contains(one(rt, "code=APP_NOT_FOUND"), "level=info who=arbiter")
            contains(one(rt, 'error="why"'), 'traceback="')
        end)

        it("has no line for calls that succeed, unless access_log is set", function()
            local client = start()
            client:execute("shop", "ok")
            client:execute("shop", "fail", "marker")
            one(rt, 'error="marker"')
            assert.same({}, lines(rt, 'action="ok"'))
            rt:close()
            client = start "access_log = true"
            for _ = 1, 5 do
                client:execute("shop", "ok", "secret")
            end
            client:execute("none", "x")
            contains(one(rt, 'msg="call" app="" action="x"'), "code=APP_NOT_FOUND")
            local all = lines(rt, 'msg="call" app="shop" action="ok" code=OK queue_ms=')
            assert.equal(5, #all)
            contains(all[1], "level=info who=worker:1")
            contains(all[5], " caller_pid=")
            assert.falsy(rt:log():find("secret", 1, true))
        end)
    end)
end

describe("the log level", function()
    it("is changed by a reload, in supervisor, arbiter and workers", function()
        local config = "workers = 1; apps = { 'shop' }; log_level = '%s'"
        local rt = runtime.start { files = { ["shop.lua"] = APP }, config = config:format("info") }
        finally(function() rt:close() end)
        local function level(name)
            tempdir.write(rt.dir .. "/dirty.conf.lua", config:format(name))
            local r = rt:command("reload", { "--wait" })
            assert.equal(0, r.exit, r.stderr)
        end
        local function restart(number)
            signal.kill(rt:status().arbiter.pid, signal.SIGKILL)
            wait.until_true(function()
                local ok, status = pcall(rt.status, rt)
                return ok and status.arbiter.restarts == number
            end, 20, "the next arbiter")
        end
        level "error"
        rt:client():execute("shop", "fail", "unseen")
        restart(1)
        level "debug"
        rt:client():execute("shop", "fail", "seen")
        contains(one(rt, 'error="seen"'), 'traceback="')
        restart(2)
        one(rt, "restarts=2")
        assert.same({}, lines(rt, "unseen"))
        for _, line in ipairs(lines(rt, "restarts=1")) do
            assert.falsy(line:find("level=info", 1, true), line)
        end
    end)
end)
