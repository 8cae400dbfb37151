#!/usr/bin/env luajit
--- Kill the processes of a runtime under load, at length: `make chaos`.
--
-- Environment: CHAOS_SECONDS how long it may take, about (60); CHAOS_SEED repeats a run's
-- choices; DIRTY_BUILD where the programs are (build). The last line is
-- "N passed, N failed". Exit status 0 if nothing failed.

package.path = "./lua/?.lua;./lua/?/init.lua;./spec/?.lua;" .. package.path
package.cpath = (os.getenv("DIRTY_CORE") or (os.getenv("DIRTY_BUILD") or "build") .. "/lua")
    .. "/?.so;" .. package.cpath

local chaos = require "support.chaos"
local wait = require "support.wait"

local seconds = tonumber(os.getenv("CHAOS_SECONDS")) or 60
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
        o.storm = math.max(2, seconds * share - OVERHEAD_S)
        -- More deaths of arbiters in a row, and the supervisor makes pauses between them.
        o.behead = o.behead and math.floor(o.storm * KILLS_PER_S / o.behead)
        local report, log = chaos.run(o)
        local text = chaos.describe(report)
        if #report.problems > 0 then
            error(text .. "\nthe end of the log:\n" .. log:sub(-4000), 0)
        end
        return text
    end)
end

storm("4 workers of one lane: kills of workers every 50 ms, reloads, scaling", 0.4,
    { workers = 4, threads = 1, reload = 20, scale = 15, brood = 1 })
storm("the same, and five kills of the arbiter", 0.3,
    { workers = 4, threads = 1, reload = 20, scale = 15, brood = 1, behead = 5 })
storm("3 workers of 4 lanes: kills of workers every 50 ms, reloads, scaling", 0.3,
    { workers = 3, threads = 4, reload = 20, scale = 15, brood = 1 })

print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and 0 or 1)
