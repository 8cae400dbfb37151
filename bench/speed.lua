--- Requests per second of the runtime against a floor, in alternating rounds.
-- Both servers stay up; each round gives each of them the same load, one after the other,
-- and every other round in the other order, so that what else the machine does falls on
-- both.
-- @module bench.speed

local server = require "bench.server"

local _M = {}

--- The middle of a list.
-- @tparam {number,...} list
-- @treturn number
function _M.median(list)
    local sorted = {}
    for i, value in ipairs(list) do
        sorted[i] = value
    end
    table.sort(sorted)
    local middle = math.floor(#sorted / 2) + 1
    if #sorted % 2 == 1 then
        return sorted[middle]
    end
    return (sorted[middle - 1] + sorted[middle]) / 2
end

-- One load; its report with `cpu_us`, what the server's processes worked per request.
local function run_load(target, args)
    local before = target:cpu_seconds()
    local report = target:load(args)
    report.cpu_us = (target:cpu_seconds() - before) * 1e6 / report.sent
    return report
end

local function run_round(round, floor, dirty, args)
    if round % 2 == 1 then
        local first = run_load(floor, args)
        return first, run_load(dirty, args)
    end
    local first = run_load(dirty, args)
    return run_load(floor, args), first
end

-- The median of a field of all reports.
local function median_of(reports, field)
    local values = {}
    for i, report in ipairs(reports) do
        values[i] = report[field]
    end
    return _M.median(values)
end

-- Medians of both over all rounds, and the spread of the ratio.
local function measure(env, row, floor, dirty)
    local args = { "--connections", row.connections, "--seconds", row.seconds or env.seconds,
        "--warmup", row.warmup or env.warmup, row.call }
    local floors, dirties, ratios = {}, {}, {}
    local rounds = row.rounds and math.min(row.rounds, env.rounds) or env.rounds
    for round = 1, rounds do
        floors[round], dirties[round] = run_round(round, floor, dirty, args)
        ratios[round] = dirties[round].rate / floors[round].rate
    end
    table.sort(ratios)
    local m = { lowest = ratios[1], highest = ratios[#ratios] }
    for _, field in ipairs { "rate", "p50_us", "p99_us", "cpu_us", "caller_us" } do
        m[field] = { median_of(floors, field), median_of(dirties, field) }
    end
    return m
end

local HEAD = "  %-29s %9s %9s %6s  %10s  %11s  %11s  %11s  %11s"
local FORMAT = "  %-29s %9.0f %9.0f %6.2f  %4.2f..%-4.2f  %5.0f %5.0f  %5.0f %5.0f  "
    .. "%5.1f %5.1f  %5.1f %5.1f  %s"

-- The goals of a row: a field's ratio of ours to theirs, and on which side of a number it is
-- wanted. Returns the words for the row, and adds those of missed goals to a list.
local function judge(row, m, missed)
    local words = {}
    for _, goal in ipairs(row.goals or {}) do
        local ratio = m[goal.field][2] / m[goal.field][1]
        local met = goal.least and ratio >= goal.least or goal.most and ratio <= goal.most
        local wanted = goal.least and (">= %.2f"):format(goal.least)
            or ("<= %.2f"):format(goal.most)
        words[#words + 1] = ("%s %.2f %s %s"):format(goal.field, ratio, wanted,
            met and "met" or "MISSED")
        if not met then
            missed[#missed + 1] = ("%s: %s is %.2f of the other's, wanted %s"):format(row.label,
                goal.field, ratio, wanted)
        end
    end
    return table.concat(words, ", ")
end

local function print_row(row, m, verdict)
    print(FORMAT:format(row.label, m.rate[1], m.rate[2], m.rate[2] / m.rate[1], m.lowest,
        m.highest, m.p50_us[1], m.p50_us[2], m.p99_us[1], m.p99_us[2], m.cpu_us[1], m.cpu_us[2],
        m.caller_us[1], m.caller_us[2], verdict))
    io.stdout:flush()
end

-- How each server is started, by the name that rows use.
local STARTS = {
    one = server.floor_one,
    pass = server.floor_pass,
    ready = server.floor_ready,
    ready32 = function(env, wrap) return server.floor_ready(env, wrap, 32) end,
    dirty = server.dirty,
    dirty32 = function(env, wrap) return server.dirty(env, wrap, 32) end,
    general = server.general,
}

-- The part of a server's requests that lanes took themselves.
local function direct_share(s)
    local counters = s:status().counters
    return counters.direct / counters.requests
end

--- Measure rows and print a line for each.
-- @tparam table env `build`, `dir`, `seconds`, `warmup`, `rounds`
-- @tparam {table,...} rows `label`, `floor` and `ours` (names of servers), `connections`, `call`,
--   `goals` (a list of `field`, and the `least` or the `most` of ours divided by theirs); `rounds`,
--   `seconds` and `warmup` if they differ
-- @tparam[opt] {string,...} wrap words before every server and the load generator
-- @treturn {string,...} what was missed
function _M.run(env, rows, wrap)
    local servers, missed = {}, {}
    local function get(name)
        servers[name] = servers[name] or STARTS[name](env, wrap)
        return servers[name]
    end
    for _, row in ipairs(rows) do
        get(row.floor)
        get(row.ours)
    end
    env.load_wrap = wrap
    print(HEAD:format("", "other", "ours", "ratio", "spread", "p50 us", "p99 us", "CPU us",
        "caller us"))
    for _, row in ipairs(rows) do
        local m = measure(env, row, get(row.floor), get(row.ours))
        print_row(row, m, judge(row, m, missed))
    end
    env.load_wrap = nil
    for _, name in ipairs { "dirty", "dirty32" } do
        if servers[name] then
            print(("  %s: %.1f %% of the requests took the fast path"):format(name,
                direct_share(servers[name]) * 100))
        end
    end
    for _, s in pairs(servers) do
        s:stop()
    end
    return missed
end

return _M
