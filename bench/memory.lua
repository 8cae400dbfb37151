--- Memory of workers, idle connections and queued requests.
-- @module bench.memory

local cjson = require "cjson"
local process = require "bench.process"
local server = require "bench.server"

local _M = {}

local IDLE = 1000
local QUEUED = 1000
local SLEEP_MS = 4000
local QUEUE_LIMIT_KIB = 16 * 1024

local function print_memory(label, m)
    print(("  %-34s RSS %7d KiB   PSS %7d KiB   private %7d KiB"):format(label, m.rss,
        m.pss, m.private))
end

local function processes(env)
    local dirty = server.dirty(env)
    dirty:load({ "--connections", 8, "--requests", 1000 })
    local arbiter, workers = dirty:pids()
    print_memory("arbiter", process.memory(arbiter))
    for i, pid in ipairs(workers) do
        print_memory("idle worker " .. i, process.memory(pid))
    end
    return dirty, arbiter
end

local function idle_connections(dirty, arbiter)
    local before = process.memory(arbiter)
    local pid, out = dirty:start_load({ "--connections", 0, "--idle", IDLE,
        "--seconds", 600 })
    assert(process.poll(60, function()
        return (process.read(out) or ""):find("idle", 1, true)
    end), "the idle connections were not opened")
    local after = process.memory(arbiter)
    process.stop(pid)
    print(("  %-34s RSS %7.2f KiB   private %.2f KiB"):format(
        ("each of %d idle connections"):format(IDLE), (after.rss - before.rss) / IDLE,
        (after.private - before.private) / IDLE))
end

local function peak_rss(pid)
    local text = assert(process.read(("/proc/%d/status"):format(pid)))
    return tonumber(text:match("VmHWM:%s*(%d+) kB"))
end

-- From now on the peak counts anew.
local function reset_peak(pid)
    local file = assert(io.open(("/proc/%d/clear_refs"):format(pid), "w"))
    file:write("5\n")
    file:close()
end

-- All lanes sleep; meanwhile the requests wait in the queue, their payloads in the
-- buffers of the kernel and of the callers.
local function queued_requests(env, dirty, arbiter)
    reset_peak(arbiter)
    local before = process.memory(arbiter).rss
    local sleepers = dirty:start_load({ "--connections", 2, "--requests", 2,
        "sleep:" .. SLEEP_MS })
    assert(process.poll(10, function()
        return env.running(dirty:status()) == 2
    end), "the workers do not sleep")
    local pid, out = dirty:start_load({ "--connections", QUEUED, "--requests", QUEUED,
        "length:" .. 1048576 })
    local queued = 0
    process.poll(SLEEP_MS / 1000, function()
        queued = math.max(queued, env.queued(dirty:status()))
        return queued >= QUEUED
    end)
    local during = process.memory(arbiter).rss
    assert(process.wait(sleepers, 60) == 0, "the sleeping calls failed")
    assert(process.wait(pid, 120) == 0, process.read(out .. ".err"))
    local report = cjson.decode(process.read(out))
    return {
        queued = queued,
        answered = report.requests,
        during = during - before,
        peak = peak_rss(arbiter) - before,
    }
end

--- Measure and print.
-- @tparam table env `build`, `dir`, and `running`, `queued`: functions that read the
--   number of running and of waiting requests from a status
-- @treturn {string,...} missed targets
function _M.run(env)
    local dirty, arbiter = processes(env)
    idle_connections(dirty, arbiter)
    local q = queued_requests(env, dirty, arbiter)
    print(("  %-34s RSS %+7d KiB while they wait, %+d KiB at most (all %d answered)"):format(
        ("arbiter with %d queued 1 MB requests"):format(q.queued), q.during, q.peak,
        q.answered))
    dirty:stop()
    if q.peak >= QUEUE_LIMIT_KIB then
        return { ("queued requests cost the arbiter %d KiB, wanted under %d"):format(q.peak,
            QUEUE_LIMIT_KIB) }
    end
    return {}
end

return _M
