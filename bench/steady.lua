--- Whether the runtime serves evenly: short calls beside a long one, an arbiter that sleeps while
-- lanes take their requests themselves, and many connections for a long time.
-- @module bench.steady

local median = require("bench.speed").median
local process = require "bench.process"
local server = require "bench.server"

local _M = {}

local WARMUP_S = 0.5

local missed

-- Print a row and its goal.
local function row(label, words, value, most)
    local met = value <= most
    print(("  %-45s %s, wanted <= %g %s"):format(label, words, most, met and "met" or "MISSED"))
    io.stdout:flush()
    if not met then
        missed[#missed + 1] = ("%s: %s, wanted <= %g"):format(label, words, most)
    end
end

-- Run `measure` while the load with `args` runs. Returns what it returns, and the load's report.
local function beside(target, args, measure)
    local pid, out = target:start_load(args)
    process.pause(WARMUP_S)
    local result = measure()
    process.stop(pid)
    return result, target:report_of(out)
end

-- -- Short calls beside a long one -------------------------------------------------------

local LANES, SHORT_CALLERS, LONG_MS = 5, 4, 500
local LATE_MOST = 2

--- Measure calls of 1 ms alone and beside a call of 500 ms. There is a lane for each caller.
-- @tparam table env `build`, `dir`, `steady_seconds`
-- @treturn {string,...} missed targets
function _M.beside_long(env)
    missed = {}
    local dirty = server.dirty(env, nil, LANES)
    local args = { "--connections", SHORT_CALLERS, "--warmup", WARMUP_S, "--seconds",
        env.steady_seconds, "sleep:1" }
    local alone = dirty:load(args)
    local with = beside(dirty, { "--seconds", 600, "sleep:" .. LONG_MS }, function()
        return dirty:load(args)
    end)
    local ratio = with.p99_us / alone.p50_us
    row(("%d callers of 1 ms beside one of %d ms"):format(SHORT_CALLERS, LONG_MS),
        ("alone p50 %.0f us, p99 %.0f; beside it p50 %.0f, p99 %.0f, %.2f times the p50 alone")
            :format(alone.p50_us, alone.p99_us, with.p50_us, with.p99_us, ratio), ratio, LATE_MOST)
    dirty:stop()
    return missed
end

-- -- Wake-ups of the arbiter -------------------------------------------------------------

local SLEEPS_PER_1000, SLEEPS_PER_S = 5, 20

-- How often the arbiter goes to sleep in a second of the load `args`, and the load's report.
local function sleeps_per_s(env, target, args)
    local arbiter = target:pids()
    args = { "--warmup", WARMUP_S, "--seconds", 600, unpack(args) }
    return beside(target, args, function()
        local from, since = process.sleeps(arbiter), process.now()
        process.pause(env.steady_seconds)
        return (process.sleeps(arbiter) - from) / (process.now() - since)
    end)
end

--- Count the wake-ups of the arbiter while lanes take all requests themselves, and while one long
-- call runs and nothing else.
-- @tparam table env
-- @treturn {string,...} missed targets
function _M.wakeups(env)
    missed = {}
    local dirty = server.dirty(env)
    for _, connections in ipairs { 8, 64 } do
        local sleeps, report = sleeps_per_s(env, dirty, { "--connections", connections })
        local each = sleeps / report.rate * 1000
        row(("noop, %d connections"):format(connections),
            ("%.2f wake-ups per 1,000 calls (%.0f in the %.0f calls of a second)"):format(each,
            sleeps, report.rate), each, SLEEPS_PER_1000)
    end
    local sleeps = sleeps_per_s(env, dirty, { "sleep:" .. LONG_MS })
    row(("one call of %d ms after the other"):format(LONG_MS),
        ("%.1f wake-ups per second"):format(sleeps), sleeps, SLEEPS_PER_S)
    dirty:stop()
    return missed
end

-- -- Many connections --------------------------------------------------------------------

local CROWD, CROWD_RUNS = 1000, 5
local SLICE_S = 1
-- A collapse: in one second less than this part of the calls of a usual second.
local COLLAPSE = 1 / 3

-- The calls of each second of one run.
local function seconds_of(env, dirty)
    local rates = {}
    beside(dirty, { "--connections", CROWD, "--seconds", 600 }, function()
        local before, since = dirty:status().counters.requests, process.now()
        for i = 1, env.crowd_seconds do
            process.pause(SLICE_S)
            local count, now = dirty:status().counters.requests, process.now()
            rates[i] = (count - before) / (now - since)
            before, since = count, now
        end
    end)
    return rates
end

--- Load 1,000 connections in several runs, and look for seconds with far fewer calls than usual.
-- @tparam table env and `crowd_seconds`
-- @treturn {string,...} missed targets
function _M.crowd(env)
    missed = {}
    local dirty = server.dirty(env)
    for i = 1, CROWD_RUNS do
        local rates = seconds_of(env, dirty)
        local usual, least = median(rates), math.min(unpack(rates))
        row(("noop, %d connections, run %d of %d s"):format(CROWD, i, env.crowd_seconds),
            ("%.0f/s, in the slowest second %.0f, 1/%.2f of it"):format(usual, least,
            usual / least), usual / least, 1 / COLLAPSE)
    end
    dirty:stop()
    return missed
end

return _M
