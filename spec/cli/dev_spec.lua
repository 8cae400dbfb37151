-- `dirty serve --dev`: saved code serves at once, and what is wrong with it is on the terminal.
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local APP = [[
local dirty = require "dirty"
local App = dirty.app { workers = 3 }
local helper = require "helper"
function App:version() return %d end
function App:helped() return helper.value end
function App:lazy() return require("lazy") end
function App:print(text) print(text) end
function App:fail() return {} .. "" end
return App]]

local function app(version)
    return APP:format(version)
end

describe("dirty serve --dev", function()
    local rt
    after_each(function()
        if rt then rt:close() end
        rt = nil
    end)

    local function start(files, o)
        o = o or {}
        local defaults = { ["app.lua"] = app(1), ["helper.lua"] = "return { value = 1 }",
            ["lazy.lua"] = "return 1" }
        for name, text in pairs(files or {}) do
            defaults[name] = text
        end
        o.files, o.apps = defaults, o.apps or { "app" }
        o.args = { "--dev", unpack(o.args or {}) }
        rt = runtime.start(o)
        return rt
    end

    local function save(name, text)
        tempdir.write(rt.dir .. "/" .. name, text)
    end

    -- As most editors do: write another file, and rename it.
    local function replace(name, text)
        save(name .. "~new", text)
        assert(os.rename(rt.dir .. "/" .. name .. "~new", rt.dir .. "/" .. name))
    end

    local function answers(action, value, name)
        wait.until_true(function()
            return rt:call(name or "app", action) == value
        end, 10, function() return action .. " answers " .. tostring(value) .. "\n" .. rt:log() end)
    end

    local function logs(text, count)
        wait.until_true(function()
            local _, found = rt:log():gsub(text:gsub("%p", "%%%0"), "")
            return found >= (count or 1)
        end, 10, function() return text .. "\n" .. rt:log() end)
    end

    it("serves code that was saved, in place or by a new file of the name", function()
        start()
        answers("version", 1)
        save("app.lua", app(2))
        answers("version", 2)
        replace("app.lua", app(3))
        answers("version", 3)
        assert(os.remove(rt.dir .. "/app.lua"))
        save("app.lua", app(4))
        answers("version", 4)
    end)

    it("knows the modules of an app, those too that a call loads", function()
        start()
        answers("helped", 1)
        replace("helper.lua", "return { value = 2 }")
        answers("helped", 2)
        answers("lazy", 1)
        replace("lazy.lua", "return 2")
        answers("lazy", 2)
    end)

    it("begins one reload for files that are saved together, none for other files", function()
        start()
        save("other.lua", "return 1")
        for version = 2, 9 do
            save("helper.lua", "return { value = " .. version .. " }")
            replace("app.lua", app(version))
        end
        answers("version", 9)
        answers("helped", 9)
        logs("reloaded roll=")
        assert.is_true(rt:status().reload.number <= 3) -- a busy machine may pause in between
        assert.is_nil(rt:log():find("other.lua", 1, true))
    end)

    it("keeps the old code while the new is broken, and prints why", function()
        start()
        save("helper.lua", "return {\n  value = 2")
        logs("reload failed: the old code keeps serving")
        logs("helper.lua:2: '}' expected")
        answers("helped", 1)
        save("helper.lua", "error('not yet')")
        logs("helper.lua:1: not yet\n")
        answers("helped", 1)
        save("helper.lua", "return { value = 3 }")
        answers("helped", 3)
    end)

    it("loads a module that was missing as soon as it is there", function()
        start()
        replace("app.lua", app(2) .. [[, require "missing"]])
        replace("app.lua", 'require "missing"\n' .. app(3))
        logs("module 'missing' not found")
        answers("version", 1)
        save("missing.lua", "return 1")
        answers("version", 3)
    end)

    it("starts with an app that does not load, and serves it once it is mended", function()
        start({ ["broken.lua"] = "return {" }, { apps = { "app", "broken" } })
        logs("broken.lua:1: ")
        answers("version", 1)
        local _, _, err = rt:call("broken", "hello")
        assert.equal("NO_WORKERS", err.code)
        replace("broken.lua", "return { hello = function() return 'mended' end }")
        answers("hello", "mended", "broken")
        answers("version", 1)
    end)

    it("starts with an app whose init fails, once, and serves it once it is mended", function()
        start({ ["app.lua"] = "return { init = function() error 'no database' end }" })
        logs("app.lua:1: no database")
        logs("waiting until a file is saved")
        local at = wait.now()
        local _, _, err = rt:call("app", "version")
        assert.equal("NO_WORKERS", err.code)
        assert.is_true(wait.now() - at < 5)
        replace("app.lua", app(2))
        answers("version", 2)
        local _, boots = rt:log():gsub("worker can't boot", "")
        assert.equal(1, boots)
    end)

    it("boots at once after any number of failed boots", function()
        start()
        for i = 1, 6 do
            replace("app.lua", "return { init = function() error 'failure " .. i .. "' end }")
            logs("app.lua:1: failure " .. i)
        end
        answers("version", 1)
        replace("app.lua", app(2))
        answers("version", 2)
    end)

    it("reads the configuration again when it, or a module of it, is saved", function()
        local CONFIG = [[
            package.path = %q .. "/?.lua;" .. package.path
            apps = { app = { module = "app", options = { } }, second = "app" }
            timeout = require "seconds" ]]
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        tempdir.write(dir .. "/seconds.lua", "return 7")
        start({}, { apps = {}, config = CONFIG:format(dir) })
        assert.equal(7000, rt:status().apps.app.timeout_ms)
        tempdir.write(dir .. "/seconds.lua", "return 8")
        wait.until_true(function() return rt:status().apps.app.timeout_ms == 8000 end, 10, "8 s")
        save("dirty.conf.lua", CONFIG:format(dir) .. "+ 'x'")
        logs("dirty.conf.lua:3: ")
        save("dirty.conf.lua", CONFIG:format(dir) .. "+ 1")
        wait.until_true(function() return rt:status().apps.app.timeout_ms == 9000 end, 10, "9 s")
    end)

    it("prints failed calls with their traceback, and what apps print at once", function()
        start()
        rt:call("app", "fail")
        logs("call failed app=app action=fail code=APP")
        logs("app.lua:8: attempt to concatenate a table value\n    stack traceback:\n    \t")
        rt:call("app", "print", "hello, developer")
        logs("| hello, developer\n")
        rt:call("app", "none")
        logs("action=none code=ACTION_NOT_FOUND")
    end)

    it("has one worker unless a flag says how many", function()
        start()
        assert.equal(1, #rt:status().workers)
        assert.is_nil(rt:log():find("asks for", 1, true))
        rt:close()
        start(nil, { args = { "--workers", "2" } })
        assert.equal(2, #rt:status().workers)
    end)

    it("ends as always", function()
        start()
        replace("app.lua", app(2))
        rt:signal(signal.SIGTERM)
        assert.same({ exit = 0 }, rt.process:wait(10))
    end)
end)
