-- dirty.testing: what it offers to specs of apps. spec/runtime/testing_spec.lua compares it with a
-- lane.
local dirty = require "dirty"
local testing = require "dirty.testing"

describe("dirty.testing", function()
    it("runs an app's module with its options", function()
        local app = assert(testing.open("apps.echo"))
        assert.equal("apps.echo", app.name)
        assert.same({ 1, "x", nil, { a = { 1 } } }, { app:execute("echo", 1, "x", nil,
            { a = { 1 } }) })
        assert.equal(0, select("#", app:execute("echo")))
        app:close()
    end)

    it("runs a table, with init, options and close", function()
        local closed
        local app = assert(testing.open({
            init = function(self, options) self.word = options.words[1] end,
            greet = function(self, name) return self.word .. ", " .. name end,
            close = function(self) closed = self end,
        }, { options = { words = { "hello" } }, name = "greeter" }))
        assert.equal("hello, Ada", app:execute("greet", "Ada"))
        assert.equal("hello", app.object.word)
        app:close()
        assert.equal(app.object, closed)
    end)

    it("keeps what an object holds from call to call, and no two objects share it", function()
        local Counter = { count = function(self)
            self.n = (self.n or 0) + 1
            return self.n
        end }
        local one, two = assert(testing.open(Counter)), assert(testing.open(Counter))
        one:execute("count")
        assert.equal(2, (one:execute("count")))
        assert.equal(1, (two:execute("count")))
    end)

    it("says which phase of an app failed", function()
        local app, err, failed = testing.open("no.such.app")
        assert.is_nil(app)
        assert.truthy(err:find("load: module 'no.such.app' was not found", 1, true))
        assert.equal("load", failed.phase)
        local _
        _, err, failed = testing.open { init = function() error("no database", 0) end }
        assert.equal("init: no database", err)
        assert.truthy(failed.traceback:find("testing_spec.lua", 1, true))
        _, err = testing.open { new = function() return nil, "not today" end }
        assert.equal("new: not today", err)
    end)

    it("passes metadata, and names the call", function()
        local app = assert(testing.open({ tell = function()
            local r = dirty.request
            return r.metadata and r.metadata.user, r.app, r.action, r.uid ~= nil
        end }, { name = "me" }))
        assert.same({ "ada", "me", "tell", true },
            { app:with { metadata = { user = "ada" } }:execute("tell") })
        assert.is_nil((app:execute("tell")))
        assert.is_nil(dirty.request.app)
    end)

    it("counts the time of a call", function()
        local app = assert(testing.open { left = function() return dirty.remaining() end })
        local left = app:with { timeout = 5 }:execute("left")
        assert.is_true(left > 4 and left <= 5)
        left = assert(testing.open({ left = app.object.left }, { timeout = 2 })):execute("left")
        assert.is_true(left > 1 and left <= 2)
        assert.equal(math.huge, dirty.remaining())
    end)

    it("ends an endless loop at the deadline", function()
        local app = assert(testing.open { loop = function() while true do end end,
            stubborn = function() while true do pcall(function() while true do end end) end end })
        for _, action in ipairs { "loop", "stubborn" } do
            local _, err, info = app:with { timeout = 0.05 }:execute(action)
            assert.equal("TIMEOUT", info.code)
            assert.truthy(err:find("^TIMEOUT: app." .. action .. " ran %d+ ms$"))
            assert.truthy(info.traceback:find("testing_spec.lua", 1, true))
        end
        assert.is_true(jit.status())
    end)

    it("plays a caller that has hung up", function()
        local app = assert(testing.open { work = function()
            dirty.check()
            return "done"
        end })
        assert.equal("done", app:execute("work"))
        assert.equal("CANCELLED", select(3, app:with { gone = true }:execute("work")).code)
    end)

    it("collects what a stream sends, and what it failed by", function()
        local app = assert(testing.open { count = function(_, n, failure)
            return coroutine.wrap(function()
                for i = 1, n do
                    coroutine.yield(i)
                end
                coroutine.yield("two", "values")
                if failure then error(failure, 0) end
            end)
        end })
        assert.same({ { 1, 2, { "two", "values" } } }, { app:collect("count", 2) })
        local chunks, err, info = app:collect("count", 0, "broken")
        assert.same({ { "two", "values" } }, chunks)
        assert.equal("APP: broken", err)
        assert.equal("APP", info.code)
        local seen = {}
        local stream = app:stream("count", 9)
        for i in stream do
            seen[#seen + 1] = i
            if i == 3 then break end
        end
        stream:close()
        assert.is_nil(stream())
        assert.same({ 1, 2, 3 }, seen)
    end)

    it("keeps what the app logs", function()
        local app = assert(testing.open {
            init = function() dirty.log.info("ready", { models = 3 }) end,
            work = function() dirty.log.warn("slow") end,
        })
        app:execute("work")
        assert.same({ { level = "info", message = "ready", fields = "models=3" },
            { level = "warn", message = "slow", fields = "" } }, app.log)
    end)

    it("raises at the caller's line for a wrong use", function()
        local app = assert(testing.open {})
        local function fails(text, f, ...)
            local ok, err = pcall(f, ...)
            assert.is_false(ok)
            assert.truthy(err:find("testing_spec.lua:%d+: ") and err:find(text, 1, true), err)
        end
        fails("argument #1 is a function", function() app:execute("x", print) end)
        fails("action must be a string, is nil", function() app:execute() end)
        fails("unknown option 'timout'", function() app:with { timout = 1 } end)
        fails("the app must be a module's name or a table", function() testing.open(5) end)
    end)

    it("leaves nothing behind of a call that raises", function()
        local app = assert(testing.open { fail = function() error("x") end })
        app:execute("fail")
        assert.is_nil(dirty.request.action)
        assert.is_nil(package.loaded["dirty.host"])
    end)
end)
