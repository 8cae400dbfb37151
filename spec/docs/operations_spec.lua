-- docs/operations.md: its tables are held against the sources and the running system, and its
-- runbook is gone through, each trouble brought about first.
local document = require "support.document"
local failures = require "support.failures"
local options = require "dirty.config.options"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local TEXT = document.text "docs/operations.md"

-- All string constants of the sources, those that are written in pieces put together.
local function sources()
    local pieces = {}
    local list = process.run { "find", "runtime", "lua", "-name", "*.[chl]*" }
    for path in list.stdout:gmatch "%S+" do
        local text = assert(tempdir.read(path), path)
        pieces[#pieces + 1] = text:gsub('"%s*%.%.%s*"', ""):gsub('"%s*"', ""):gsub('\\"', '"')
    end
    return table.concat(pieces, "\n")
end

describe("docs/operations.md", function()
    it("names options and metrics that there are", function()
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        finally(function() rt:close() end)
        rt:call("apps.echo", "noop")
        local metrics, seen
        wait.until_true(function() -- a lane counts a call just after its answer
            metrics, seen = rt:call("@arbiter", "metrics"), 0
            return metrics:find("dirty_request_run_seconds_count", 1, true)
        end, 10, "the call in the metrics")
        for name in TEXT:gmatch "`(dirty_[%w_]+)[`{]" do
            assert.truthy(metrics:find("\n" .. name, 1, true), name)
            seen = seen + 1
        end
        assert.is_true(seen >= 6)
        for _, row in ipairs(document.rows(document.section(TEXT, "## Tuning"))) do
            for _, name in ipairs(document.quoted(row[3])) do
                assert.truthy(not name:find "^%l+_%l+$" or options.by_name[name], name)
            end
        end
    end)

    it("quotes messages that are printed", function()
        local text, seen = sources(), failures.provoke()
        local quoted = 0
        for _, row in ipairs(document.rows(document.section(TEXT, "## Troubleshooting"))) do
            local words = row[1]:match "`(.-)`"
            local found = failures.find(seen, words)
            for piece in (found and "" or words):gsub("…", "\n"):gmatch "[^\n]+" do
                piece = piece:match "^[%s:]*(.-)[%s:]*$"
                assert.truthy(text:find(piece, 1, true), piece)
            end
            quoted = quoted + 1
        end
        assert.is_true(quoted > 30)
    end)

    it("has commands that there are", function()
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        finally(function() rt:close() end)
        tempdir.write(rt.dir .. "/dirty.conf.lua", 'apps = { "apps.echo" }')
        local ran = 0
        for _, row in ipairs(document.rows(document.section(TEXT, "## Troubleshooting"))) do
            for _, command in ipairs(document.quoted(row[3])) do
                local name = command:match "^dirty (%l+)" or command:match "^(ls %-l)"
                if name and name ~= "stop" then
                    local r = process.run({ "sh", "-c", command }, { cwd = rt.dir, env = {
                        DIRTY_SOCKET = rt.socket, LUA_PATH = process.run({ "pwd" }).stdout
                            :match "%S+" .. "/?.lua;;",
                        PATH = process.dirty():match "^(.*)/" .. ":" .. os.getenv "PATH" } })
                    assert.equal(0, r.exit, command .. "\n" .. r.stdout .. r.stderr)
                    ran = ran + 1
                end
            end
        end
        assert.is_true(ran >= 8)
    end)
end)

-- An app whose boot fails while there is a file "broken", and which can misbehave.
local MOODY = [[
local Moody = {}
function Moody:init()
    if io.open("broken") then error "the model is gone" end
end
function Moody:crash() require("ffi").cast("int *", 0)[0] = 1 end
function Moody:quit() os.exit(3) end
function Moody:spin() while true do end end
return Moody
]]

local CONFIG = [[
apps = { "moody" }
workers = 1
log_file = "dirty.log"
allow_stack = true
slow_log_threshold = 0.1
]]

describe("daily work and the runbook", function()
    local rt

    before_each(function()
        rt = { dir = tempdir.new() }
        tempdir.write(rt.dir .. "/moody.lua", MOODY)
        tempdir.write(rt.dir .. "/dirty.conf.lua", CONFIG)
        local started = runtime.launch { cwd = rt.dir }
        rt.runtime = started
        wait.until_true(function()
            return started:is_ready(tempdir.read(rt.dir .. "/dirty.log") or "")
        end, 20, function() return "ready\n" .. started:log() end)
    end)

    after_each(function()
        rt.runtime:close()
        tempdir.remove(rt.dir)
    end)

    local function run(command)
        return process.run({ "sh", "-c", command }, { cwd = rt.dir, seconds = 30, env = {
            DIRTY_SOCKET = rt.runtime.socket,
            PATH = process.dirty():match "^(.*)/" .. ":" .. os.getenv "PATH" } })
    end

    local function status_when(condition, what)
        return wait.until_true(function()
            local status = rt.runtime:call("@arbiter", "status")
            return status and condition(status)
        end, 20, what)
    end

    -- Run the commands of a section, or those from `first` to `last`; all that they print.
    local function follow(heading, first, last)
        local commands = document.commands(document.section(TEXT, "### " .. heading))
        local out = {}
        for i = first or 1, last or #commands do
            local r = run(commands[i].line)
            local expected = tonumber(commands[i].comment:match "exits (%d)") or 0
            assert.equal(expected, r.exit, commands[i].line .. "\n" .. r.stdout .. r.stderr)
            out[#out + 1] = r.stdout .. r.stderr
        end
        assert.is_true(#out > 0)
        return table.concat(out)
    end

    local function has(text, ...)
        for _, words in ipairs { ... } do
            assert.truthy(text:find(words, 1, true), words .. " is not in\n" .. text)
        end
    end

    -- Of the machine, not of the runtime; and the start, which was made already.
    local ELSEWHERE = { ["systemd-sysusers"] = true, systemctl = true, ["dirty serve"] = true }

    it("has commands for each of its ten things", function()
        rt.runtime:call("moody", "crash") -- something that fails, for the log
        status_when(function(status) return status.ready end, "a new worker")
        local things, ran = 0, 0
        for heading in document.section(TEXT, "## Daily work"):gmatch "\n### ([^\n]+)" do
            local section = document.section(TEXT, "### " .. heading)
            for _, command in ipairs(document.commands(section)) do
                local line = command.line
                if not ELSEWHERE[line:match "^%S+"] and not ELSEWHERE[line:match "^%S+ %S+"] then
                    local r = run(line)
                    assert.equal(0, r.exit, line .. "\n" .. r.stdout .. r.stderr)
                    ran = ran + 1
                end
            end
            things = things + 1
        end
        assert.equal(10, things)
        assert.is_true(ran >= 14, ran .. " commands")
        assert.same({ exit = 0 }, rt.runtime:wait())
    end)

    it("tells how workers died", function()
        rt.runtime:call("moody", "crash")
        status_when(function(status) return status.ready end, "a new worker")
        has(follow "Workers die", "last exit: signal 11 (SIGSEGV)",
            'how="signal 11 (SIGSEGV)"', 'app=moody action="crash"',
            'dirty_worker_exits_total{reason="signal"} 1')
    end)

    it("finds out why a circuit is open, and closes it", function()
        tempdir.write(rt.dir .. "/broken", "")
        rt.runtime:call("moody", "quit")
        status_when(function(status) return status.apps.moody.circuit == "open" end, "open")
        has(follow("A circuit is open", 1, 3), "circuit open", "moody failed in init",
            'phase="init" error="./moody.lua:3: the model is gone"', "moody.lua:3")
        os.remove(rt.dir .. "/broken")
        has(follow("A circuit is open", 4), "done in")
    end)

    it("finds the call that holds a lane, and ends it", function()
        local function spin()
            local call = rt.runtime:start_call("moody", "spin")
            status_when(function(status)
                return status.workers[1].lanes[1].caller_pid == call.pid
            end, "a call runs")
            return call
        end
        local call = spin()
        local waiting = rt.runtime:start_call("-t", "0.3", "moody", "spin")
        assert.equal(4, waiting:wait().exit)
        waiting:close()
        rt.runtime:call("@arbiter", "cancel", 1)
        assert.equal(1, call:wait().exit)
        call:close()
        call = spin()
        has(follow "The queue grows", "running moody.spin for", "moody.lua:7: in function",
            'msg="slow call" app=moody action="spin" code=CANCELLED')
        local section = document.section(TEXT, "### The queue grows")
        for _, command in ipairs { "dirty cancel 1", "dirty scale +1" } do
            assert.truthy(section:find("`" .. command .. "`", 1, true), command)
            assert.equal(0, run(command).exit, command)
        end
        assert.equal(1, call:wait().exit)
        has(call:stderr(), "CANCELLED: moody.spin was")
        call:close()
        status_when(function(status) return #status.workers == 2 end, "two workers")
    end)

    it("says why a reload was rolled back", function()
        tempdir.write(rt.dir .. "/moody.lua", "return {")
        has(follow "A reload is rolled back", "reload 1: failed: ", "moody.lua:1: ",
            "the old code and configuration keep serving")
        assert.equal("ACTION_NOT_FOUND", (select(3, rt.runtime:call("moody", "none"))).code)
    end)

    it("shows who has how much memory", function()
        has(follow "Memory grows", "resident", "LUA", 'dirty_worker_rss_bytes{worker="1"',
            "dirty_arbiter_rss_bytes")
        assert.equal(0, run("dirty kill 1").exit)
    end)

    it("tells how the arbiter died", function()
        local before = rt.runtime:status().arbiter.pid
        signal.kill(before, signal.SIGKILL)
        status_when(function(status) return status.arbiter.pid ~= before and status.ready end,
            "another arbiter")
        has(follow "The arbiter dies", "restarted 1 times", 'how="signal 9 SIGKILL"')
    end)

    it("goes on where the disk is full, and says what was lost", function()
        assert.equal(0, run("mv dirty.log kept && ln -s /dev/full dirty.log").exit)
        assert.equal(0, run("dirty reopen-logs").exit)
        rt.runtime:call("moody", "quit") -- lines that nobody will read
        status_when(function(status) return status.ready end, "a new worker")
        follow("The disk is full", 1, 1)
        os.remove(rt.dir .. "/dirty.log.1") -- it has no end
        rt.runtime:call("moody", "quit")
        status_when(function(status) return status.ready end, "a new worker")
        has(run("grep 'log lines were lost' dirty.log").stdout, 'msg="log lines were lost')
        tempdir.write(rt.dir .. "/dirty.log.1", "")
        has(follow("The disk is full", 2), 'msg="log lines were lost')
    end)
end)
