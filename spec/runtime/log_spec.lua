-- A log that is no file: a FIFO to a collector, a descriptor by its name. It holds up nobody.
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local undone = {}

local function defer(undo)
    undone[#undone + 1] = undo
end

after_each(function()
    while #undone > 0 do
        pcall(table.remove(undone))
    end
end)

local function wait_ready(rt, log)
    wait.until_true(function() return rt:is_ready(log()) or rt.process:ended() end, 20,
        function() return "ready\n" .. rt:log() end)
    assert.is_false(rt.process:ended(), rt:log())
end

local function launch(log_file)
    local rt = runtime.launch { apps = { "apps.echo" }, args = { "--workers", "1", "--log-file",
        log_file } }
    defer(function() rt:close() end)
    return rt
end

-- A runtime that logs to a FIFO, and who reads it.
local function start_with_collector()
    local dir = tempdir.new()
    defer(function() tempdir.remove(dir) end)
    assert.equal(0, process.run { "mkfifo", dir .. "/fifo" }.exit)
    local collector = process.start { "cat", dir .. "/fifo" }
    defer(function() collector:close() end)
    local rt = launch(dir .. "/fifo")
    wait_ready(rt, function() return collector:stdout() end)
    return rt, collector, dir .. "/fifo"
end

describe("a FIFO whose reader has left", function()
    it("delays neither reopening nor a stop", function()
        local rt, collector, path = start_with_collector()
        collector:kill()
        rt:signal(signal.SIGUSR1)
        local r = rt:command("reopen-logs")
        assert.same({ 0, "" }, { r.exit, r.stderr })
        assert.equal("x", (rt:call("apps.echo", "echo", "x")))
        -- who reads next has what was said meanwhile
        collector = process.start { "cat", path }
        defer(function() collector:close() end)
        wait.until_true(function()
            return collector:stdout():find("action=reopen_logs", 1, true)
        end, 10, function() return "lines\n" .. collector:stdout() end)
        collector:kill()
        local list = rt:tree()
        assert.same({ exit = 0 }, rt:stop())
        assert.is_nil(tree.alive(list))
    end)

    it("delays no subreaper that cleans up after a killed supervisor", function()
        local rt, collector = start_with_collector()
        collector:kill()
        local list = rt:tree()
        assert(signal.kill(rt.pid, signal.SIGKILL))
        tree.wait_gone(list, 5)
    end)

    it("or has never come delays no start", function()
        local dir = tempdir.new()
        defer(function() tempdir.remove(dir) end)
        assert.equal(0, process.run { "mkfifo", dir .. "/fifo" }.exit)
        local rt = launch(dir .. "/fifo")
        wait.until_true(function() return (rt:call("@arbiter", "status") or {}).ready end, 20,
            "ready")
        assert.same({ exit = 0 }, rt:stop())
    end)

    it("and whose room is full costs lines, which are counted", function()
        local rt, collector, path = start_with_collector()
        collector:kill()
        for _ = 1, 800 do -- a line each, of about 120 bytes
            assert.is_false((rt:call("@arbiter", "cancel", "1")))
        end
        collector = process.start { "cat", path }
        defer(function() collector:close() end)
        wait.until_true(function()
            assert.is_false((rt:call("@arbiter", "cancel", "1")))
            return collector:stdout():find("log lines were lost", 1, true)
        end, 10, "a line about lost ones")
    end)
end)

describe("a log path under /proc/self/fd", function()
    it("is accepted, by a link as well", function()
        local dir = tempdir.new()
        defer(function() tempdir.remove(dir) end)
        assert(unistd.link("/dev/stderr", dir .. "/log", true))
        for _, path in ipairs { "/dev/stderr", dir .. "/log" } do
            local rt = launch(path)
            wait_ready(rt, function() return rt:log() end)
            assert.equal(0, rt:command("reopen-logs").exit)
            assert.equal("x", (rt:call("apps.echo", "echo", "x")))
            assert.same({ exit = 0 }, rt:stop())
            assert.truthy(rt:log():find('msg="ended" status=0', 1, true))
        end
    end)
end)

describe("an unusable log file", function()
    it("is an error at the start", function()
        local dir = tempdir.new()
        defer(function() tempdir.remove(dir) end)
        for path, reason in pairs { [dir] = "Is a directory", ["/proc/nowhere"] =
            "No such file or directory", [dir .. "/none/log"] = "No such file or directory" } do
            local r = process.run_dirty { "serve", "--app", "apps.echo", "--socket", dir .. "/s",
                "--log-file", path }
            assert.equal(2, r.exit)
            assert.truthy(r.stderr:find(reason, 1, true), r.stderr)
        end
    end)
end)
