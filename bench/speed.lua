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
    local args = { "--connections", row.connections, "--seconds", env.seconds,
        "--warmup", env.warmup, row.call }
    local floors, dirties, ratios = {}, {}, {}
    for round = 1, env.rounds do
        floors[round], dirties[round] = run_round(round, floor, dirty, args)
        ratios[round] = dirties[round].rate / floors[round].rate
    end
    table.sort(ratios)
    local m = { lowest = ratios[1], highest = ratios[#ratios] }
    for _, field in ipairs { "rate", "p99_us", "cpu_us" } do
        m[field] = { median_of(floors, field), median_of(dirties, field) }
    end
    m.ratio = m.rate[2] / m.rate[1]
    return m
end

local HEAD = "  %-23s %9s %9s %6s  %10s  %11s  %11s"
local FORMAT = "  %-23s %9.0f %9.0f %6.2f  %4.2f..%-4.2f  %4.0f %6.0f  %5.1f %5.1f  %s"

local function print_row(row, m)
    local verdict = ""
    if row.target then
        local state = m.ratio >= row.target and "met" or "MISSED"
        verdict = (">= %.2f %s"):format(row.target, state)
    end
    print(FORMAT:format(row.label, m.rate[1], m.rate[2], m.ratio, m.lowest, m.highest,
        m.p99_us[1], m.p99_us[2], m.cpu_us[1], m.cpu_us[2], verdict))
    io.stdout:flush()
end

--- Measure rows and print a line for each.
-- @tparam table env `build`, `dir`, `seconds`, `warmup`, `rounds`
-- @tparam {table,...} rows `label`, `floor` ("one" or "pass"), `connections`, `call`,
--   `target` (ratio; nil: none)
-- @tparam[opt] {string,...} wrap words before every server and the load generator
-- @treturn {string,...} the labels of missed targets
function _M.run(env, rows, wrap)
    local servers = { one = server.floor_one(env, wrap), pass = server.floor_pass(env, wrap) }
    local dirty = server.dirty(env, wrap)
    env.load_wrap = wrap
    print(HEAD:format("", "floor", "dirty", "ratio", "spread", "p99 us", "CPU us"))
    local missed = {}
    for _, row in ipairs(rows) do
        local m = measure(env, row, servers[row.floor], dirty)
        print_row(row, m)
        if row.target and m.ratio < row.target then
            missed[#missed + 1] = ("%s: %.2f of the floor, wanted %.2f"):format(row.label,
                m.ratio, row.target)
        end
    end
    env.load_wrap = nil
    dirty:stop()
    servers.one:stop()
    servers.pass:stop()
    return missed
end

return _M
