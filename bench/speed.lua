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

local function run_round(round, floor, dirty, args)
    if round % 2 == 1 then
        local first = floor:load(args)
        return first, dirty:load(args)
    end
    local first = dirty:load(args)
    return floor:load(args), first
end

-- Medians of both over all rounds, and the spread of the ratio.
local function measure(env, row, floor, dirty)
    local args = { "--connections", row.connections, "--seconds", env.seconds,
        "--warmup", env.warmup, row.call }
    local rates = { floor = {}, dirty = {} }
    local p99 = { floor = {}, dirty = {} }
    local ratios = {}
    for round = 1, env.rounds do
        local f, d = run_round(round, floor, dirty, args)
        rates.floor[round], rates.dirty[round] = f.rate, d.rate
        p99.floor[round], p99.dirty[round] = f.p99_us, d.p99_us
        ratios[round] = d.rate / f.rate
    end
    table.sort(ratios)
    return {
        floor = _M.median(rates.floor),
        dirty = _M.median(rates.dirty),
        ratio = _M.median(rates.dirty) / _M.median(rates.floor),
        lowest = ratios[1],
        highest = ratios[#ratios],
        floor_p99 = _M.median(p99.floor),
        dirty_p99 = _M.median(p99.dirty),
    }
end

local FORMAT = "  %-28s %9.0f/s %9.0f/s   %5.2f  %5.2f..%-5.2f %8.0f %8.0f  %s"

local function print_row(row, m)
    local verdict = ""
    if row.target then
        local state = m.ratio >= row.target and "met" or "MISSED"
        verdict = (">= %.2f %s"):format(row.target, state)
    end
    print(FORMAT:format(row.label, m.floor, m.dirty, m.ratio, m.lowest, m.highest,
        m.floor_p99, m.dirty_p99, verdict))
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
    print(("  %-28s %11s %11s   %5s  %-12s %8s %8s"):format("", "floor", "dirty", "ratio",
        "  spread", "p99 us", "p99 us"))
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
