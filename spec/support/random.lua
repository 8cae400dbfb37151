--- A runtime at which random clients do whatever a client may do, and what is left of it.
--
-- The clients are the program of spec/random, which knows what the protocol lets the server
-- answer; this module starts a runtime in their midst, lets a storm go over it, looks at what is
-- left, and has it stopped in the midst of another.
-- @module support.random

local aftermath = require "support.aftermath"
local census = require "support.census"
local cjson = require "cjson"
local process = require "support.process"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local _M = {}

-- Limits so short that every one of them is reached all the time; linger_timeout is so long
-- that it is missed where only that ends a connection.
local LIMITS = { timeout_ms = 3000, grace_ms = 300, recv_timeout_ms = 400, send_timeout_ms = 500,
    graceful_ms = 5000, max_queue = 80 }

local CONFIG = [[
workers = %d
threads = %d
timeout_grace = %g
recv_timeout = %g
send_timeout = %g
linger_timeout = 20
graceful_timeout = %g
max_queue = %d
log_level = "info"
apps = {
    wide = { module = "apps.echo", timeout = %g },
    one = { module = "apps.echo", timeout = %g, workers = 1 },
    noted = { module = "spec.apps.random", timeout = %g, options = { log = %q } },
    never = { module = "spec.apps.random", object = "Never", options = { log = %q } },
}
]]

local function configuration(o, log)
    local timeout = LIMITS.timeout_ms / 1e3
    return CONFIG:format(o.workers, o.threads, LIMITS.grace_ms / 1e3,
        LIMITS.recv_timeout_ms / 1e3, LIMITS.send_timeout_ms / 1e3, LIMITS.graceful_ms / 1e3,
        LIMITS.max_queue, timeout, timeout, timeout, log, log)
end

-- -- The program -----------------------------------------------------------------------------

local function arguments(rt, o)
    local argv = { process.BUILD .. "/random/random", "--socket", rt.socket, "--pid",
        tostring(rt.pid), "--fates", rt.scratch .. "/fates", "--slow", tostring(wait.SLOW) }
    for name, value in pairs(LIMITS) do
        argv[#argv + 1] = "--" .. name:gsub("_", "-")
        argv[#argv + 1] = tostring(value)
    end
    for _, name in ipairs { "threads", "seed", "connections", "calm", "storm", "kill-ms", "reload",
        "scale", "behead", "steady-ms", "without" } do
        local value = o[name:gsub("-", "_")]
        if value then
            argv[#argv + 1] = "--" .. name
            argv[#argv + 1] = tostring(value)
        end
    end
    for _, name in ipairs { "early", "stop" } do
        argv[#argv + 1] = o[name] and "--" .. name or nil
    end
    return argv
end

-- Let the clients loose. What they complain of is in the report's `problems`.
local function storm(rt, o)
    local ran = process.run(arguments(rt, o),
        { seconds = (2 * o.calm + o.storm + 60) * wait.SLOW })
    local ok, report = pcall(cjson.decode, ran.stdout)
    if not ok then
        error(("the random client ended with exit %s, signal %s: %s%s"):format(
            tostring(ran.exit), tostring(ran.signal), ran.stdout, ran.stderr), 0)
    end
    report.problems = {}
    if ran.exit ~= 0 or ran.stderr ~= "" then
        report.problems[1] = ("%d complaints\n%s"):format(report.complaints, ran.stderr)
    end
    return report
end

-- -- What is left ----------------------------------------------------------------------------

local function check_runs(rt, add)
    local calls, runs = aftermath.check_once(rt.scratch .. "/ran.log", rt.scratch .. "/fates", add)
    for line, times in pairs(runs) do
        if line:find("^never") then
            add(("a request inside of an argument has run %d times: %s"):format(times, line))
        end
    end
    return calls
end

-- What the processes say of themselves when something of ours is broken.
local function check_log(log, add)
    for line in log:gmatch("[^\n]+") do
        if line:find("Assertion", 1, true) or line:find("Sanitizer", 1, true)
            or line:find("runtime error", 1, true) then
            add(line)
        end
    end
end

local function merge(o, more)
    local all = {}
    for _, from in ipairs { o, more } do
        for name, value in pairs(from) do
            all[name] = value
        end
    end
    return all
end

-- While it starts; and once of everything, so that what is compared later is not what is made
-- once and kept.
local function start_in_the_midst(rt, o)
    local report = storm(rt, merge(o, { calm = 0.5, storm = 0, early = true,
        seed = o.seed + 500000000 }))
    if #report.problems == 0 then
        wait.until_true(function() return rt:is_ready() end, 20, "ready")
        rt.asking = rt:client()
        assert(rt.asking:arbiter("reload"))
        report.holdings = aftermath.holdings(rt, o.workers)
    end
    return report
end

local function look_around(rt, o, before, mark, report, add)
    assert(rt.asking:arbiter("scale", tostring(o.workers)))
    assert(rt.asking:arbiter("reload")) -- it may be another arbiter by now
    report.before, report.after = before, aftermath.compare(rt, o.workers, before, add)
    if report.after.restarts ~= report.beheadings then
        add(("%d arbiters were started again, %d were killed"):format(report.after.restarts,
            report.beheadings))
    end
    aftermath.check_strays(mark, add)
end

-- A second, shorter storm, in whose midst the runtime is told to stop.
local function stop_in_the_midst(rt, o, mark)
    local report = storm(rt, merge(o, { calm = 0.3, storm = math.min(1.5, o.storm), stop = true,
        seed = o.seed + 700000000 }))
    aftermath.check_end(mark, rt:wait(LIMITS.graceful_ms / 1e3 + 5),
        function(problem) table.insert(report.problems, problem) end)
    return report
end

-- Storm after storm; the report is that of the long one, or of the first with a problem, which
-- leaves nothing to be learned from those behind it.
local function run(rt, o, mark)
    local first = start_in_the_midst(rt, o)
    local report = #first.problems > 0 and first or storm(rt, o)
    local function add(problem)
        table.insert(report.problems, problem)
    end
    if #report.problems == 0 then
        look_around(rt, o, first.holdings, mark, report, add)
    end
    if #report.problems == 0 then
        local last = stop_in_the_midst(rt, o, mark)
        if #last.problems > 0 then
            report = last
        end
    end
    report.once = check_runs(rt, add)
    check_log(rt:log(), add)
    return report
end

--- Start a runtime and let random clients loose on it.
-- @tparam table o `workers`, `threads`, `seed`, `calm`, `storm` (seconds), and what the program
--   of spec/random takes: `kill_ms`, `reload`, `scale`, `behead`, `steady_ms`, `without`
-- @treturn table the program's report of its storm, with `problems` (a list of texts, empty if
--   all is well), `before` and `after` (what the arbiter holds), `once` (calls whose runs were
--   counted)
-- @treturn string what the runtime has logged
function _M.run(o)
    local mark = ("%d-%d"):format(require("posix.unistd").getpid(), o.seed)
    local scratch = tempdir.new()
    local rt = runtime.launch { env = census.env(mark),
        config = configuration(o, scratch .. "/ran.log") }
    rt.scratch = scratch
    local ok, report = pcall(run, rt, o, mark)
    local log = rt:log()
    rt:close()
    tempdir.remove(scratch)
    if not ok then
        error(("seed %d: %s\n%s"):format(o.seed, report, log:sub(-4000)), 0)
    end
    return report, log
end

-- What a seed stands for besides the program's choices.
local ROUNDS = {
    { workers = 3, threads = 1, kill_ms = 200, reload = 10, scale = 8 },
    { workers = 2, threads = 3, kill_ms = 200, reload = 10, scale = 8 },
    { workers = 3, threads = 1, kill_ms = 0, steady_ms = 1000 },
    { workers = 3, threads = 1, kill_ms = 200, reload = 10, behead = 15 },
}

--- A round: what a seed stands for, with its length.
-- @tparam number seed
-- @tparam number seconds of its storm
-- @tparam[opt] string without what is left out, as the program's --without
-- @treturn table for run, with a `title` for people
function _M.round(seed, seconds, without)
    local o = merge(ROUNDS[seed % #ROUNDS + 1], { seed = seed, calm = math.min(1, seconds / 4),
        storm = seconds, without = without })
    o.title = ("random clients at %d workers of %d lanes%s; RANDOM_SEED=%d"):format(o.workers,
        o.threads, o.behead and ", kills of the arbiter" or o.kill_ms == 0 and ", no kills" or "",
        seed)
    return o
end

-- How long a storm is, and what a round takes besides.
local STORM_S, OVERHEAD_S = 8, 8

--- Rounds for some time, about: `for round in random.rounds(60, seed) do … end`.
-- @tparam number seconds
-- @tparam number seed of the first; each has the next
-- @tparam[opt] string without
-- @treturn function that gives the next round for run, nil when the time is over
function _M.rounds(seconds, seed, without)
    local stop, number = wait.now() + seconds, 0
    return function()
        local left = stop - wait.now() - OVERHEAD_S
        number = number + 1
        if number == 1 or left > 0 then
            return _M.round(seed + number - 1, math.max(1, math.min(STORM_S, left)), without)
        end
    end
end

--- A seed that is another one at another time, and stands for the first kind of round.
-- @treturn number
function _M.new_seed()
    return os.time() % 1e6 * #ROUNDS
end

-- -- For people ------------------------------------------------------------------------------

local function counts(by_name)
    local parts = {}
    for name, count in pairs(by_name) do
        if count > 0 then
            parts[#parts + 1] = ("%s %d"):format(name, count)
        end
    end
    table.sort(parts)
    return table.concat(parts, ", ")
end

--- The figures of a report, as lines for people.
-- @tparam table r report
-- @treturn string
function _M.describe(r)
    local lines = {}
    local function add(format, ...)
        lines[#lines + 1] = "  " .. format:format(...)
    end
    add("seed %.0f: %d requests on %d connections in %.1f s; %d kills of workers, %d of the "
        .. "arbiter, %d reloads, %d scalings", r.seed, r.asks, r.connections, r.seconds, r.kills,
        r.beheadings, r.reloads, r.scales)
    add("%d hang-ups, %d half-closes, %d stalls; ended by the server without an answer: %d, "
        .. "inside a frame: %d", r.hang_ups, r.half_closes, r.stalls, r.unanswered, r.cut_short)
    add("values: %s", counts(r.values))
    add("errors: %s", counts(r.errors))
    add("the latest answer came %.0f ms after its deadline; %d calls counted at the app",
        r.worst_late_ms, r.once or 0)
    if r.after then
        add("arbiter: %d descriptors before and %d after, %.1f MiB and %.1f",
            r.before.descriptors, r.after.descriptors, r.before.rss_mib, r.after.rss_mib)
    end
    for _, problem in ipairs(r.problems) do
        add("PROBLEM  %s", problem)
    end
    return table.concat(lines, "\n")
end

--- Run a round, or raise with all that is known of its problems.
-- @tparam table o as for run
-- @treturn string the figures, as lines for people
-- @treturn table report
function _M.prove(o)
    local report, log = _M.run(o)
    local text = _M.describe(report)
    if #report.problems > 0 then
        error(text .. "\nthe end of the log:\n" .. log:sub(-4000), 0)
    end
    return text, report
end

return _M
