-- A first start that fails is told on the terminal, wherever the log is, and in the log.
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local function count(text, part)
    local from, found = 1, 0
    while true do
        local at, last = text:find(part, from, true)
        if not at then
            return found
        end
        from, found = last + 1, found + 1
    end
end

-- As whoever may be set: the arbiter of another user has its log through the supervisor.
local USERS = unistd.geteuid() == 0 and { false, "nobody" } or { false }

for _, user in ipairs(USERS) do
    describe("a failed first start" .. (user and " for another user" or ""), function()
        local dir
        before_each(function()
            dir = tempdir.new()
            assert(stat.chmod(dir, tonumber("755", 8)))
        end)
        after_each(function() tempdir.remove(dir) end)

        local function serve(o)
            local args = { "serve", "--config", "/dev/null", "--socket", o.socket or dir .. "/s",
                "--workers", "1" }
            local function add(...)
                for i = 1, select("#", ...) do
                    args[#args + 1] = (select(i, ...))
                end
            end
            if o.app ~= false then
                add("--app", o.app or "apps.echo")
            end
            if o.log ~= false then
                add("--log-file", o.log or dir .. "/log")
            end
            if user then
                add("--user", user)
            end
            add("--lua-path", dir .. "/?.lua")
            add(unpack(o.args or {}))
            local r = process.run_dirty(args, { seconds = 20 })
            r.log = tempdir.read(dir .. "/log") or ""
            return r
        end

        -- In both places, and once.
        local function told(r, part)
            assert.equal(1, count(r.stderr, part), part .. " in stderr:\n" .. r.stderr)
            assert.equal(1, count(r.log, part), part .. " in the log:\n" .. r.log)
        end

        it("because another runtime has the socket", function()
            local rt = runtime.start { apps = { "apps.echo" } }
            finally(function() rt:close() end)
            local r = serve { socket = rt.socket }
            assert.equal(3, r.exit)
            told(r, "another runtime serves this socket")
        end)

        it("because an app does not boot", function()
            tempdir.write(dir .. "/bad.lua", "return { init = function() error 'no database' end }")
            local r = serve { app = "bad" }
            assert.equal(4, r.exit)
            told(r, "first start failed, nothing is served")
            assert.truthy(r.stderr:find("no database", 1, true), r.stderr)
            assert.truthy(r.log:find("no database", 1, true), r.log)
        end)

        it("because an app does not load", function()
            tempdir.write(dir .. "/bad.lua", "error 'it is broken'")
            local r = serve { app = "bad" }
            assert.equal(4, r.exit)
            told(r, "an app does not load")
            assert.truthy(r.stderr:find("it is broken", 1, true), r.stderr)
            assert.truthy(r.log:find("it is broken", 1, true), r.log)
        end)

        it("because the pidfile can't be written, or there is nothing to serve", function()
            local r = serve { args = { "--pidfile", dir .. "/none/pid" } }
            assert.equal(2, r.exit)
            told(r, "pidfile = ")
            assert(os.remove(dir .. "/log"))
            r = serve { app = false }
            assert.equal(2, r.exit)
            told(r, "there is no app to serve")
        end)

        it("is reported once if the log is the terminal", function()
            tempdir.write(dir .. "/bad.lua", "return { init = function() error 'no database' end }")
            for _, log in ipairs { false, "/dev/stderr" } do
                local r = serve { app = "bad", log = log }
                assert.equal(4, r.exit)
                assert.equal(1, count(r.stderr, "first start failed"), r.stderr)
            end
        end)
    end)
end

describe("a start that succeeds", function()
    it("leaves later errors to the log", function()
        local dir = tempdir.new()
        local rt = runtime.launch { config = "workers = 1; apps = { 'apps.echo' }",
            args = { "--log-file", dir .. "/log" } }
        finally(function()
            rt:close()
            tempdir.remove(dir)
        end)
        local function logged()
            return tempdir.read(dir .. "/log") or ""
        end
        wait.until_true(function() return rt:is_ready(logged()) end, 20, "ready")
        tempdir.write(rt.dir .. "/dirty.conf.lua", "error 'broken now'")
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return logged():find("broken now", 1, true) end, 20,
            "a reload that fails")
        assert(signal.kill(rt:status().arbiter.pid, signal.SIGKILL))
        wait.until_true(function() return count(logged(), 'msg="ready"') == 2 end, 20, "another")
        assert.same({ exit = 0 }, rt:stop())
        assert.equal("", rt:log())
    end)
end)
