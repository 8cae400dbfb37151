-- Mistakes that the runtime can see: the log and `dirty check` tell them, errors say what helps.
local process = require "support.process"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"

local DOT = [[
local dirty = require "dirty"
local App = dirty.app { timeout = 5000 }
function App.hello(name) return "hello " .. name end
function App.fine(self) return self ~= nil end
function App.unused(_, name) return name end
function App._private(name) return name end
function App.nothing() return 1 end
App.borrowed = string.gsub
return App]]

local OWN = "return { call = function(self, action, ...) return self[action](...) end,\n"
    .. "hello = function(name) return name end }"

local NGX = "return { get = function() return ngx.var.uri end }"

local WARNING = "the first parameter of the action hello is 'name', and it gets the app's object: "
    .. "write function App:hello(name…) with a colon"

describe("advice", function()
    local dir
    before_each(function()
        dir = tempdir.new()
        tempdir.write(dir .. "/dot.lua", DOT)
        tempdir.write(dir .. "/own.lua", OWN)
        tempdir.write(dir .. "/nginx.lua", NGX)
        tempdir.write(dir .. "/nginxload.lua", "local now = ngx.now\nreturn {}")
    end)
    after_each(function() tempdir.remove(dir) end)

    local function check(...)
        return process.run_dirty { "check", "--lua-path", dir .. "/?.lua", ... }
    end

    local function count(text, part)
        local found, at = 0, 1
        while true do
            local _, stop = text:find(part, at, true)
            if not stop then
                return found
            end
            found, at = found + 1, stop + 1
        end
    end

    it("names an action with a dot in place of a colon, and no other", function()
        local r = check("--app", "dot", "--app", "own")
        assert.equal(0, r.exit, r.stderr)
        assert.equal(1, count(r.stdout, "warning: app dot: " .. WARNING), r.stdout)
        assert.equal(1, count(r.stdout, "the first parameter"))
    end)

    it("spells out times that may be milliseconds", function()
        local config = tempdir.write(dir .. "/dirty.conf.lua", [[
            timeout = 3600
            graceful_timeout = 30000
            apps = { "dot", other = { module = "own", timeout = 86400 } }]])
        local r = check("--config", config)
        assert.equal(0, r.exit, r.stderr)
        for _, text in ipairs {
            "warning: file " .. config .. ":2: graceful_timeout = 30000: 30000 s is 8 h 20 m: "
                .. "times are in seconds",
            "warning: app other: timeout = 86400: 86400 s is 1 d 0 h: times are in seconds",
            "warning: app dot: dirty.app { timeout = 5000 }: 5000 s is 1 h 23 m: times are in "
                .. "seconds",
        } do
            assert.equal(1, count(r.stdout, text), r.stdout)
        end
        assert.equal(3, count(r.stdout, "times are in seconds"))
    end)

    it("is in the log of the start and of a reload", function()
        local rt = runtime.start { files = { ["dot.lua"] = DOT }, apps = { "dot" },
            args = { "--workers", "1" } }
        finally(function() rt:close() end)
        assert.equal(1, count(rt:log(), WARNING))
        assert.equal(0, rt:command("reload", { "--wait" }).exit)
        assert.equal(2, count(rt:log(), WARNING))
    end)

    it("says that apps have no ngx, to the caller and at the boot", function()
        local rt = runtime.start { files = { ["nginx.lua"] = NGX }, apps = { "nginx" },
            args = { "--workers", "1" } }
        finally(function() rt:close() end)
        local _, err = rt:call("nginx", "get")
        assert.truthy(err:find("global 'ngx' (a nil value) (apps run outside of nginx, and have "
            .. "no ngx", 1, true), err)
        local r = check("--app", "nginxload")
        assert.equal(4, r.exit)
        assert.equal(1, count(r.stdout, "apps run outside of nginx"), r.stdout)
    end)

    it("tells the name for a path", function()
        for path, module in pairs { ["./apps/x.lua"] = "apps.x", ["apps/x/init.lua"] = "apps.x",
            ["x.lua"] = "x", ["/srv/app/x.lua:2"] = "x" } do
            local r = check("--app", path)
            assert.equal(2, r.exit)
            assert.equal(1, count(r.stderr, ("is a path: write %q, as require")
                :format(module)), r.stderr)
        end
        assert.equal(1, count(check("--app", "/srv/app/x.lua").stderr,
            "(--lua-path '/srv/app/?.lua')"))
    end)
end)
