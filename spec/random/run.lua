#!/usr/bin/env luajit
--- Let random clients loose on runtimes, at length: `make random`.
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

local function env(name)
    local value = os.getenv(name)
    return value ~= "" and value or nil
end

local seconds = tonumber(env "RANDOM_SECONDS") or 60
local seed = tonumber(env "RANDOM_SEED") or random.new_seed()
local passed, failed = 0, 0

for round in random.rounds(seconds, seed, env "RANDOM_WITHOUT") do
    local began = wait.now()
    print("== " .. round.title)
    local ok, text = pcall(random.prove, round)
    passed, failed = passed + (ok and 1 or 0), failed + (ok and 0 or 1)
    print(("%s\n%s (%.1f s)"):format(text, ok and "ok" or "FAILED", wait.now() - began))
    io.stdout:flush()
end

print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and 0 or 1)
