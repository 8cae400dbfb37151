#!/usr/bin/env luajit
--- Kill the processes of a runtime under load, at length: `make chaos`.
--
-- Environment: CHAOS_SECONDS how long it may take, about (60), and the random clients as long
-- again; CHAOS_SEED repeats a run's choices; DIRTY_BUILD where the programs are (build).
-- CHAOS_CALLS runs one storm only, of so many calls, once with the fast path and once without it;
-- in it the arbiter is killed every CHAOS_BEHEAD_S seconds (12: after one that has lived less than
-- 10 s the supervisor makes pauses). The last line is "N passed, N failed". Exit status 0 if
-- nothing failed.

package.path = "./lua/?.lua;./lua/?/init.lua;./spec/?.lua;" .. package.path
package.cpath = (os.getenv("DIRTY_CORE") or (os.getenv("DIRTY_BUILD") or "build") .. "/lua")
    .. "/?.so;" .. package.cpath

local chaos = require "support.chaos"
local cjson = require "cjson"
local process = require "support.process"
local random = require "support.random"
local runtime = require "support.runtime"
local wait = require "support.wait"

local seconds = tonumber(os.getenv("CHAOS_SECONDS")) or 60
local calls = tonumber(os.getenv("CHAOS_CALLS"))
local behead_s = tonumber(os.getenv("CHAOS_BEHEAD_S")) or 12
local seed = os.getenv("CHAOS_SEED")
local passed, failed = 0, 0

local function section(title, run)
    local began = wait.now()
    print(("== %s"):format(title))
    local ok, text = pcall(run)
    passed, failed = passed + (ok and 1 or 0), failed + (ok and 0 or 1)
    print(("%s\n%s (%.1f s)"):format(text, ok and "ok" or "FAILED", wait.now() - began))
    io.stdout:flush()
end

-- What the other sections and every start and stop take of the time.
local OVERHEAD_S = 5

local KILLS_PER_S = 20

local function storm(title, share, o)
    section(title, function()
        o.grace, o.margin_ms, o.calm, o.seed = 0.5, 250, 1, seed
        o.storm = o.storm or math.max(2, seconds * share - OVERHEAD_S)
        -- More deaths of arbiters in a row, and the supervisor makes pauses between them.
        o.behead = o.behead and math.floor(o.storm * KILLS_PER_S / o.behead)
        o.behead = o.behead_s and o.behead_s * KILLS_PER_S or o.behead
        local report, log = chaos.run(o)
        local text = chaos.describe(report)
        if #report.problems > 0 then
            error(text .. "\nthe end of the log:\n" .. log:sub(-4000), 0)
        end
        return text
    end)
end

local function finish()
    print(("%d passed, %d failed"):format(passed, failed))
    os.exit(failed == 0 and 0 or 1)
end

-- -- So many calls --------------------------------------------------------------------------

-- How many calls of this mix end in a second on a slow machine, at least.
local SLOWEST = 200
-- The runs of most calls are counted, and none runs past its deadline.
for _, fast_path in ipairs(calls and { true, false } or {}) do
    storm(("%d calls of 32 callers, %s the fast path: kills of workers every 50 ms and of the "
        .. "arbiter every %g s, reloads"):format(calls, fast_path and "with" or "without",
        behead_s), 1,
        { workers = 4, threads = 1, fast_path = fast_path, calls = calls, callers = 32,
            storm = calls / SLOWEST, reload = 40, behead_s = behead_s, counted = 100, spin = 0 })
end
if calls then
    finish()
end

-- -- Storms -----------------------------------------------------------------------------------

storm("4 workers of one lane: kills of workers every 50 ms, reloads, scaling", 0.35,
    { workers = 4, threads = 1, reload = 20, scale = 15, brood = 1 })
storm("the same, and five kills of the arbiter", 0.25,
    { workers = 4, threads = 1, reload = 20, scale = 15, brood = 1, behead = 5 })
storm("3 workers of 4 lanes: kills of workers every 50 ms, reloads, scaling", 0.25,
    { workers = 3, threads = 4, reload = 20, scale = 15, brood = 1 })

for round in random.rounds(seconds, tonumber(seed) or random.new_seed()) do
    section(round.title, function() return (random.prove(round)) end)
end

-- -- A tail ---------------------------------------------------------------------------------

-- Real-time priority, where it is allowed: else the tail is that of everything else that
-- this machine does.
local REAL_TIME = process.run({ "chrt", "-f", "10", "true" }).exit == 0
    and { "chrt", "-f", "10" } or {}

-- The load generator of the bench, started: `seconds` of CALLs over `connections`.
local function load(rt, connections, call, duration)
    local argv = { unpack(REAL_TIME) }
    for _, word in ipairs { process.BUILD .. "/bench/load", "--socket", rt.socket,
        "--connections", tostring(connections), "--seconds", tostring(duration), call } do
        argv[#argv + 1] = word
    end
    return process.start(argv)
end

local function report_of(started, duration)
    local status = started:wait(duration + 30)
    local report = status.exit == 0 and cjson.decode(started:stdout())
    started:close()
    return assert(report, "the load generator failed")
end

-- Short calls beside long ones, in the same run and alone. The lanes are two: while one has
-- a long call, the other has all short ones.
local function measure_tail(duration)
    local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "2" },
        wrap = REAL_TIME }
    local ok, result = pcall(function()
        local alone = report_of(load(rt, 4, "sleep:1", duration), duration)
        local long = load(rt, 1, "sleep:500", duration + 0.5)
        local beside = report_of(load(rt, 4, "sleep:1", duration), duration)
        return { alone = alone, beside = beside, long = report_of(long, duration) }
    end)
    rt:close()
    return ok and result or error(result, 0)
end

local TAIL_RATIO = 3
local TAIL_ROUNDS = 3 -- at most

local function describe_tail(t)
    return ("  1 ms calls alone:  p50 %.2f ms, p99 %.2f ms (%d calls)\n"
        .. "  beside long ones:  p50 %.2f ms, p99 %.2f ms, max %.1f ms (%d calls)\n"
        .. "  500 ms calls:      p50 %.1f ms (%d calls)\n"
        .. "  p99 beside / p50 alone = %.2f, to be at most %d%s"):format(
        t.alone.p50_us / 1e3, t.alone.p99_us / 1e3, t.alone.requests, t.beside.p50_us / 1e3,
        t.beside.p99_us / 1e3, t.beside.max_us / 1e3, t.beside.requests, t.long.p50_us / 1e3,
        t.long.requests, t.beside.p99_us / t.alone.p50_us, TAIL_RATIO,
        REAL_TIME[1] and " (all at real-time priority)" or "")
end

section("2 workers: 4 callers of 1 ms calls, alone and beside one of 500 ms calls", function()
    local texts = {}
    for round = 1, TAIL_ROUNDS do
        local t = measure_tail(math.max(2, seconds * 0.05))
        texts[round] = describe_tail(t)
        if t.beside.p99_us <= TAIL_RATIO * t.alone.p50_us then
            return table.concat(texts, "\n")
        end
    end
    error(table.concat(texts, "\n"), 0)
end)

-- -- Queues -----------------------------------------------------------------------------------

local function queue(title, o)
    section(title, function()
        local r = chaos.queue(o)
        local each = (r.rss_waiting - r.rss_before) / r.callers
        local text = ("  %d callers (arguments of %d bytes), all connected in %.2f s: %d values "
            .. "in %.2f s, %d OVERLOADED, %d other errors, %d ended, %d out of order\n"
            .. "  arbiter: %.1f MiB before, %.1f MiB with %d waiting (%.0f bytes each), %.1f MiB "
            .. "afterwards"):format(r.callers, r.bytes, r.connect_s, r.values, r.serve_s,
            r.overloaded, r.other, r.ended, r.unordered, r.rss_before / 2 ^ 20,
            r.rss_waiting / 2 ^ 20, r.longest, each, r.rss_after / 2 ^ 20)
        local all = r.values + (o.headroom_kib and r.overloaded or 0)
        return all == r.callers and r.unordered == 0 and text or error(text, 0)
    end)
end

queue("10,000 callers wait for one lane", { count = 10000 })
queue("10,000 callers of large requests wait for one lane", { count = 10000, bytes = 100000 })
queue("1,500 callers at an arbiter that may have 1.5 MiB more (RLIMIT_AS)",
    { count = 1500, bytes = 60000, headroom_kib = 1500 })

finish()
