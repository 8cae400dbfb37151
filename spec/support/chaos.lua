--- A runtime whose processes are killed under load, and what is left of it afterwards.
--
-- The load comes from the program of spec/chaos, which accounts for every call; this module
-- starts the runtime and puts together what it says and what support.aftermath finds.
-- @module support.chaos

local aftermath = require "support.aftermath"
local census = require "support.census"
local cjson = require "cjson"
local process = require "support.process"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local _M = {}

local CONFIG = [[
workers = %d
threads = %d
timeout_grace = %g
fast_path = %s
log_level = "info"
apps = {
    "apps.echo",
    chaos = { module = "spec.apps.chaos", options = { log = %q } },
}
]]

--- The program, built by `make`.
-- @tparam string name of spec/chaos
-- @treturn string path
function _M.tool(name)
    return process.BUILD .. "/chaos/" .. name
end

--- Run one of the programs to its end and read what it prints.
-- @tparam {string,...} argv
-- @tparam number seconds it may take
-- @treturn table the JSON object of its stdout, with `exit` and `stderr`
function _M.measure(argv, seconds)
    local ran = process.run(argv, { seconds = seconds })
    local ok, report = pcall(cjson.decode, ran.stdout)
    if not ok then
        error(("%s ended with %s and said: %s%s"):format(argv[1], tostring(ran.exit),
            ran.stdout, ran.stderr), 2)
    end
    report.exit, report.stderr = ran.exit, ran.stderr
    return report
end

local function storm(rt, o)
    local argv = { _M.tool("chaos"), "--socket", rt.socket, "--pid", tostring(rt.pid),
        "--once", rt.scratch .. "/fates", "--grace-ms", tostring(o.grace * 1000),
        "--margin-ms", tostring(o.margin_ms * wait.SLOW),
        "--strength-ms", tostring((o.strength_ms or 1000) * wait.SLOW) }
    for _, name in ipairs { "seed", "callers", "calm", "storm", "kill-ms", "reload", "scale",
        "behead", "steady-ms", "brood", "spin", "calls", "counted" } do
        local value = o[name:gsub("%-", "_")]
        if value then
            argv[#argv + 1] = "--" .. name
            argv[#argv + 1] = tostring(value)
        end
    end
    return _M.measure(argv, (2 * o.calm + o.storm + 40) * wait.SLOW)
end

-- -- The whole ----------------------------------------------------------------------------------

local function count_faults(report, add)
    for _, name in ipairs { "wrong", "lost", "hung", "late" } do
        if report[name] ~= 0 then
            add(("%d %s"):format(report[name], name))
        end
    end
    if report.stderr ~= "" then
        add(report.stderr)
    end
    if report.exit ~= 0 and report.full_strength_ms < 0 then
        add("full strength did not come back")
    elseif report.exit ~= 0 and #report.problems == 0 then
        add(("full strength came back after %d ms"):format(report.full_strength_ms))
    end
end

-- Once of everything, so that what is compared later is not what is made once and kept.
local function warm_up(rt, o)
    rt.asking = rt:client()
    storm(rt, { calm = 0.5, storm = 0, grace = o.grace, margin_ms = 5000, spin = 0 })
    assert(rt.asking:arbiter("reload"))
    return aftermath.holdings(rt, o.workers)
end

local function run(rt, o, mark)
    local before = warm_up(rt, o)
    local report = storm(rt, o)
    report.problems = {}
    local function add(problem)
        report.problems[#report.problems + 1] = problem
    end
    count_faults(report, add)
    report.once = aftermath.check_once(rt.scratch .. "/once.log", rt.scratch .. "/fates", add)
    assert(rt.asking:arbiter("scale", tostring(o.workers)))
    assert(rt.asking:arbiter("reload")) -- it may be another arbiter by now
    report.before, report.after = before, aftermath.compare(rt, o.workers, before, add)
    aftermath.check_strays(mark, add)
    aftermath.check_end(mark, rt:stop(10), add)
    return report
end

--- Start a runtime, let its processes be killed under load, stop it.
-- @tparam table o `workers`, `threads`, `grace` (seconds), `margin_ms`, `fast_path`, and what
--   the program of spec/chaos takes: `calm`, `storm` (seconds), `seed`, `kill_ms`, `reload`, …
-- @treturn table the program's report, with `problems` (a list of texts, empty if all is well),
--   `before` and `after` (what the arbiter holds), `once` (calls whose runs were counted)
-- @treturn string what the runtime has logged
function _M.run(o)
    local mark = ("%d-%d"):format(require("posix.unistd").getpid(), math.random(2 ^ 31 - 1))
    local scratch = tempdir.new()
    local rt = runtime.start { env = census.env(mark), seconds = 30,
        config = CONFIG:format(o.workers, o.threads, o.grace, o.fast_path ~= false,
            scratch .. "/once.log") }
    rt.scratch = scratch
    local ok, report = xpcall(function() return run(rt, o, mark) end, debug.traceback)
    local log = rt:log()
    rt:close()
    tempdir.remove(scratch)
    if not ok then
        error(report .. "\n" .. log:sub(-4000), 0)
    end
    return report, log
end

-- -- A long queue ---------------------------------------------------------------------------

--- Let very many callers wait at once for one lane, then serve them.
-- @tparam table o `count` (callers), `bytes` (of the argument of each), `headroom_kib` (how
--   much more memory the arbiter may have, by RLIMIT_AS; nil: as much as it likes)
-- @treturn table the report of the program queue
function _M.queue(o)
    local scratch = tempdir.new()
    local rt = runtime.start { config = "max_queue = 20000\n"
        .. CONFIG:format(1, 1, 0.5, true, scratch .. "/once.log") }
    local ok, report = xpcall(function()
        local pid = assert(rt:call("@arbiter", "status")).arbiter.pid
        if o.headroom_kib then
            local limit = census.memory_kib(pid) + o.headroom_kib
            assert(process.run { "prlimit", "--pid", tostring(pid),
                ("--as=%d:"):format(limit * 1024) }.exit == 0)
        end
        return _M.measure({ _M.tool("queue"), "--socket", rt.socket, "--arbiter",
            tostring(pid), "--gate", scratch .. "/gate", "--count", tostring(o.count),
            "--bytes", tostring(o.bytes or 0) }, 60 * wait.SLOW)
    end, debug.traceback)
    local log = rt:log()
    rt:close()
    tempdir.remove(scratch)
    if not ok then
        error(report .. "\n" .. log:sub(-4000), 0)
    end
    report.log = log
    return report
end

--- The figures of a report, as lines for people.
-- @tparam table report
-- @treturn string
function _M.describe(report)
    local lines = {}
    local function add(format, ...)
        lines[#lines + 1] = "  " .. format:format(...)
    end
    add("%d calls of %d callers, %d kills of workers in %g s, %d reloads, %d scalings, "
        .. "%d kills of the arbiter; seed %.0f", report.calls, report.callers,
        report.kills - report.beheadings, report.storm_s, report.reloads, report.scales,
        report.beheadings, report.seed)
    local names = {}
    for name in pairs(report.outcomes) do
        names[#names + 1] = name
    end
    table.sort(names, function(a, b) return report.outcomes[a] > report.outcomes[b] end)
    for _, name in ipairs(names) do
        if report.outcomes[name] > 0 then
            add("%8d  %s", report.outcomes[name], name)
        end
    end
    add("lost %d, wrong %d, hung %d, late %d; sent again %d (nothing had been taken)",
        report.lost, report.wrong, report.hung, report.late, report.resent)
    add("the latest answer came %.0f ms after its deadline; %d calls counted at the app, none "
        .. "ran twice", report.worst_late_ms, report.once)
    add("full strength %d ms after the last kill; arbiter: %d descriptors before and %d after, "
        .. "%d shared pages and %d, %.1f MiB and %.1f", report.full_strength_ms,
        report.before.descriptors, report.after.descriptors, report.before.pages,
        report.after.pages, report.before.rss_mib, report.after.rss_mib)
    for _, problem in ipairs(report.problems) do
        add("PROBLEM  %s", problem)
    end
    return table.concat(lines, "\n")
end

return _M
