-- docs/apps.md: its examples are apps, and what it promises of them holds.
local process = require "support.process"
local runtime = require "support.runtime"
local wait = require "support.wait"

local function blocks()
    local file = assert(io.open("docs/apps.md"))
    local text = file:read("*a")
    file:close()
    local found = {}
    for code in text:gmatch("```lua\n(.-)```") do
        found[#found + 1] = code
    end
    return found
end

local function app(number)
    return assert(loadstring(blocks()[number], "docs/apps.md"))()
end

describe("docs/apps.md", function()
    it("has examples that compile", function()
        assert.equal(7, #blocks())
        for _, code in ipairs(blocks()) do
            assert.is_function(loadstring(code))
        end
    end)

    it("greets", function()
        local greeter = app(1)
        greeter:init({ word = "good day" })
        assert.same({ "good day, Ada", { bytes = 3 } }, { greeter:greet("Ada") })
        assert.same({ nil, "who?" }, { greeter:greet("") })
    end)

    it("calls by itself", function()
        assert.same({ "anything", 2 }, { app(2):call("anything", nil, nil) })
    end)

    it("fails with a table", function()
        assert.equal(3, app(3):order(3))
        assert.equal("LIMIT", select(2, app(3):order(11)).code)
    end)

    it("cleans up and lets the error go on", function()
        local import = app(6)
        local seen
        assert.equal(7, import:run("a", function()
            seen = import.running
            return 7
        end))
        assert.equal("a", seen)
        assert.is_false((pcall(import.run, import, "b", function() error("late") end)))
        assert.is_nil(import.running)
    end)

    it("asks whether somebody waits", function()
        local report = app(5):sum { 1, 2, 3 }
        assert.same({ 6, math.huge }, { report.sum, report.left })
    end)

    it("streams a file", function()
        local lines = app(4):lines("VERSION")
        assert.is_string(lines())
        assert.is_nil(lines())
        assert.is_nil((app(4):lines("no/such/file")))
    end)

    it("says what holds in each phase", function()
        local rt = runtime.start { apps = { "phases", "rude" }, args = { "--workers", "1" },
            files = { ["phases.lua"] = [[
                local dirty = require "dirty"
                local function tell(phase)
                    dirty.log.info("phase", { phase = phase, app = dirty.request.app or "none",
                        left = dirty.remaining() })
                    dirty.check()
                    print("printed in " .. phase)
                end
                tell "load"
                local App = {}
                function App.new() tell "new" return setmetatable({}, { __index = App }) end
                function App:init() tell "init" end
                function App:work() tell "work" return true end
                function App:stream() return coroutine.wrap(function() tell "step" end) end
                function App:close() tell "close" end
                return App]], ["rude.lua"] = "return { close = function() error 'no' end }" } }
        finally(function() rt:close() end)
        rt:call("phases", "work")
        for _ in rt:client():stream("phases", "stream") do
            error "no chunk was sent"
        end
        assert.same({ exit = 0 }, rt:stop())
        local log, seen = rt:log(), {}
        for line in log:gmatch "[^\n]*msg=\"phase\"[^\n]*" do
            local phase = line:match " phase=(%l+)"
            local name, left = line:match " app=(%l+) left=(%S+) "
            seen[#seen + 1] = ("%s %s %s"):format(phase, name,
                left == "inf" and left or tonumber(left) <= 300 and "seconds")
            assert.truthy(log:find("printed in " .. phase, 1, true), phase)
        end
        assert.same({ "load none inf", "load none inf", "new none inf", "init none inf",
            "work phases seconds", "step phases seconds", "close none inf" }, seen)
        assert.matches("rude.lua:1: no", log)
    end)

    it("says that modules are loaded in a child too, and nothing but loaded", function()
        local rt = runtime.start { apps = { "counted" }, args = { "--workers", "1" }, files = {
            ["counted.lua"] = [[
                local path = debug.getinfo(1, "S").source:match "@(.*)/" .. "/loads"
                local file = io.open(path, "a")
                file:write("loaded\n")
                file:close()
                return { init = function()
                    local more = io.open(path, "a")
                    more:write("init\n")
                    more:close()
                end }]] } }
        finally(function() rt:close() end)
        assert.equal("loaded\nloaded\ninit\n",
            process.run({ "cat", rt.dir .. "/loads" }).stdout)
        assert.equal(0, rt:command("reload", { "--wait" }).exit)
        wait.until_true(function()
            return process.run({ "cat", rt.dir .. "/loads" }).stdout
                == ("loaded\nloaded\ninit\n"):rep(2)
        end, 10, "loaded in a child and in the worker again")
    end)
end)
