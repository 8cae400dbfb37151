--- The runtime in odd surroundings: closed descriptors, a log nobody reads, apps that print
-- without end, no graceful time.

local runtime = require "support.runtime"
local process = require "support.process"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local NOISY = [[
local Noisy = {}
function Noisy:print(n) for i = 1, n do print("line " .. i) end return n end
function Noisy:log(n, level)
    for i = 1, n do require("dirty").log[level or "info"]("again", { i = i }) end
    return n
end
function Noisy:mutter(s) io.stderr:write("waiting for the lock…") return self:nap(s) end
function Noisy:nap(s)
    local ffi = require "ffi"
    pcall(ffi.cdef, "int poll(void *, unsigned long, int);")
    ffi.C.poll(nil, 0, s * 1000)
    return "rested"
end
return Noisy
]]

local function write(path, text)
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
end

describe("the runtime", function()
    local dir, rt

    before_each(function() dir = tempdir.new() end)
    after_each(function()
        if rt then rt:close() end
        rt = nil
        tempdir.remove(dir)
    end)

    local function start(options)
        write(dir .. "/noisy.lua", NOISY)
        options.apps = { "noisy" }
        options.args = options.args or {}
        table.insert(options.args, "--lua-path")
        table.insert(options.args, dir .. "/?.lua")
        rt = runtime.start(options)
        return rt
    end

    it("logs a limited part of endless output of an app, and counts the rest", function()
        start { args = { "--workers", "1" } }
        assert.equal(20000, rt:call("noisy", "print", 20000))
        wait.until_true(function() return rt:log():find("output suppressed", 1, true) end, 15,
            "the line that tells of suppressed output")
        local _, logged = rt:log():gsub('msg="output"', "")
        assert.is_true(logged < 5000, logged)
    end)

    it("logs a limited part of endless log lines of an app, and counts the rest", function()
        start { args = { "--workers", "1" } }
        assert.equal(20000, rt:call("noisy", "log", 20000))
        assert.equal(1, rt:call("noisy", "log", 1, "debug")) -- is not logged: says nothing
        wait.until_true(function()
            rt:call("noisy", "log", 1)
            return rt:log():find('msg="log lines suppressed" lines=', 1, true)
        end, 15, "the line that tells of suppressed lines")
        local _, logged = rt:log():gsub('msg="again"', "")
        assert.is_true(logged >= 500 and logged < 5000, logged)
    end)

    it("logs an unfinished line of an app that is stuck", function()
        start { args = { "--workers", "1" } }
        local call = rt:start_call("noisy", "mutter", 60)
        finally(function() call:kill() end)
        wait.until_true(function() return rt:log():find("waiting for the lock…", 1, true) end, 15,
            "half a line in the log")
    end)

    it("keeps serving when its log can't grow any more", function()
        write(dir .. "/noisy.lua", NOISY)
        rt = runtime.launch { apps = { "noisy" },
            args = { "--workers", "1", "--log-file", dir .. "/log", "--lua-path", dir .. "/?.lua" },
            wrap = { "/bin/sh", "-c", 'ulimit -f 16 && exec "$@"', "sh" } } -- 8 KiB
        wait.until_true(function() return rt:call("noisy", "print", 400) end, 20, "an answer")
        wait.until_true(function() return #tempdir.read(dir .. "/log") == 8192 end, 10,
            "a log at its limit")
        assert.equal(1, rt:call("noisy", "print", 1))
        assert.equal(0, rt:command("reload", { "--wait" }).exit)
        assert.same({ exit = 0 }, rt:stop())
    end)

    it("starts and stops with its standard descriptors closed", function()
        write(dir .. "/noisy.lua", NOISY)
        local build = os.getenv("DIRTY_BUILD") or "build"
        local script = ([[
            %s/dirty serve --app noisy --workers 1 --lua-path '%s/?.lua' --socket %s/s \
                --log-file %s/log --pidfile %s/pid <&- >&- 2>&- &
            pid=$!
            for i in $(seq 1 400); do
                grep -q 'msg="ready"' %s/log 2>/dev/null && break
                sleep 0.05
            done
            %s/dirty call --socket %s/s noisy print 1 || echo failed
            kill -TERM $pid
            wait $pid
            echo "status $?"
        ]]):format(build, dir, dir, dir, dir, dir, build, dir)
        local result = process.run({ "sh", "-c", script }, { seconds = 60 })
        assert.equal("1\nstatus 0\n", result.stdout, result.stderr)
    end)

    it("ends running calls at once with graceful_timeout = 0", function()
        start { args = { "--workers", "1", "--graceful-timeout", "0" } }
        local client = require("dirty.client").new { socket = rt.socket, timeout = 20 }
        assert.equal("rested", (client:execute("noisy", "nap", 0)))
        local build = os.getenv("DIRTY_BUILD") or "build"
        local script = ([[
            %s/dirty call --socket %s --timeout 15 noisy nap 10 & call=$!
            for i in $(seq 1 200); do
                %s/dirty status --json --socket %s | grep -q '"action":"nap"' && break
                sleep 0.05
            done
            kill -TERM %d
            wait $call
            echo "call ended with $?"
        ]]):format(build, rt.socket, build, rt.socket, rt.pid)
        local result = process.run({ "sh", "-c", script }, { seconds = 60 })
        assert.truthy(result.stderr:find("SHUTDOWN", 1, true), result.stderr)
        assert.equal("call ended with 1\n", result.stdout)
    end)
end)
