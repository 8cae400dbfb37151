#!/usr/bin/env luajit
--- Let random clients loose on runtimes, at length: `make random`, and a part of `make chaos`.
--
-- Environment: RANDOM_SECONDS how long it may take, about (60); RANDOM_SEED the first round's
-- seed, each round has the next; RANDOM_WITHOUT what the clients leave out (see the program's
-- usage); DIRTY_BUILD where the programs are (build). The last line is "N passed, N failed".
-- Exit status 0 if nothing failed.

package.path = "./lua/?.lua;./lua/?/init.lua;./spec/?.lua;" .. package.path
package.cpath = (os.getenv("DIRTY_CORE") or (os.getenv("DIRTY_BUILD") or "build") .. "/lua")
    .. "/?.so;" .. package.cpath

local random = require "support.random"
local wait = require "support.wait"

local ROUND_S = 8

local function env(name)
    local value = os.getenv(name)
    return value ~= "" and value or nil
end

local seconds = tonumber(env "RANDOM_SECONDS") or 60
local seed = tonumber(env "RANDOM_SEED") or os.time() % 1e6 * 4
local began, passed, failed = wait.now(), 0, 0

repeat
    local left = seconds - (wait.now() - began)
    local o = random.round(seed, math.max(1, math.min(ROUND_S, left - 4)), env "RANDOM_WITHOUT")
    print(("== random clients at %d workers of %d lanes%s; RANDOM_SEED=%d"):format(o.workers,
        o.threads, o.behead and ", kills of the arbiter" or o.kill_ms == 0 and ", no kills" or "",
        seed))
    local round_began = wait.now()
    local ok, report, log = pcall(random.run, o)
    local good = ok and #report.problems == 0
    passed, failed = passed + (good and 1 or 0), failed + (good and 0 or 1)
    print(ok and random.describe(report) or report)
    if ok and not good then
        print("the end of the log:\n" .. log:sub(-3000))
    end
    print(("%s (%.1f s)"):format(good and "ok" or "FAILED", wait.now() - round_began))
    io.stdout:flush()
    seed = seed + 1
until wait.now() - began >= seconds - 4

print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and 0 or 1)
