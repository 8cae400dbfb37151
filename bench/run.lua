#!/usr/bin/env luajit
--- Measure the runtime against the floors: `make bench`.
--
-- Environment: BENCH_QUICK=1 a shorter run for development; BENCH_SECONDS how long a
-- round lasts; BENCH_ROUNDS how many rounds; BENCH_CROWD_SECONDS how long each of the 5 runs of
-- the section crowd lasts (4; 20 is long enough to see a rare collapse); BENCH_ONLY=fast,gain,
-- general,pinned,beside,wakeups,crowd,memory,instructions,syscalls some sections only; DIRTY_BUILD
-- where the programs are (build).
-- Exit status 0 also where a target is missed, 1 for an error.

local root = (arg[0]:match("^(.*)/bench/[^/]+$") or ".")
package.path = root .. "/?.lua;" .. package.path

local process = require "bench.process"
local speed = require "bench.speed"
local steady = require "bench.steady"
local memory = require "bench.memory"
local cost = require "bench.cost"

local quick = os.getenv("BENCH_QUICK") == "1"

local env = {
    build = os.getenv("DIRTY_BUILD") or root .. "/build",
    seconds = tonumber(os.getenv("BENCH_SECONDS")) or (quick and 0.15 or 0.2),
    rounds = tonumber(os.getenv("BENCH_ROUNDS")) or (quick and 7 or 25),
    warmup = quick and 0.03 or 0.05,
    steady_seconds = quick and 0.5 or 2,
    crowd_seconds = tonumber(os.getenv("BENCH_CROWD_SECONDS")) or (quick and 2 or 4),
    few_requests = quick and 1000 or 4000,
    many_requests = quick and 3000 or 14000,
    traced_requests = quick and 1000 or 4000,
}

-- Requests that run and that wait, as the status tells them.
function env.running(status)
    local count = 0
    for _, worker in ipairs(status.workers) do
        for _, lane in ipairs(worker.lanes) do
            count = count + (lane.state == "running" and 1 or 0)
        end
    end
    return count
end

function env.queued(status)
    return status.queue.length
end

local function noop(connections, floor, ours, goals, more)
    local plural = connections > 1 and "s" or ""
    local row = { label = ("noop, %d connection%s"):format(connections, plural), floor = floor,
        ours = ours, connections = connections, call = "noop", goals = goals }
    for key, value in pairs(more or {}) do
        row[key] = value
    end
    return row
end

local GAIN = { { field = "rate", least = 2.5 }, { field = "cpu_us", most = 0.35 } }
local RATE = { { field = "rate", least = 0.75 } }

-- The fast path against its floor.
local FAST_ROWS = {
    noop(1, "ready", "dirty", RATE),
    noop(8, "ready", "dirty", RATE),
    noop(64, "ready", "dirty", RATE),
    noop(1000, "ready", "dirty", RATE, { seconds = 1, warmup = 0.5, rounds = 5 }),
    noop(64, "ready32", "dirty32", RATE, { label = "noop, 64 connections, 32 lanes" }),
    { label = "1 MB echo, 1 connection", floor = "one", ours = "dirty", connections = 1,
        call = "echo:1048576", goals = { { field = "rate", least = 0.8 } } },
}

-- The fast path against the general path.
local GAIN_ROWS = {
    noop(1, "general", "dirty", { { field = "p50_us", most = 0.7 } }),
    noop(8, "general", "dirty", GAIN),
    noop(64, "general", "dirty", GAIN),
}

-- The general path against its floor.
local GENERAL_ROWS = {
    noop(1, "pass", "general", RATE),
    noop(8, "pass", "general", RATE),
    noop(64, "pass", "general", RATE),
}

local PINNED_ROWS = {
    noop(1, "ready", "dirty"),
    noop(64, "ready", "dirty"),
    noop(1, "pass", "general"),
    noop(64, "pass", "general"),
    { label = "1 MB echo, 1 connection", floor = "one", ours = "dirty", connections = 1,
        call = "echo:1048576" },
}

local function first_line(argv)
    local known = argv[1]:find("/", 1, true) or process.is_installed(argv[1])
    local text = known and process.output(argv, env.dir .. "/line", 20)
    return text and text:match("[^\n]*") or "not installed"
end

local function cpu_model()
    local text = process.read("/proc/cpuinfo") or ""
    local _, count = text:gsub("processor%s*:", "")
    return ("%s, %d CPUs"):format(text:match("model name%s*:%s*([^\n]+)") or "unknown", count)
end

local function print_setup()
    print("setup")
    print("  cpu      " .. cpu_model())
    print("  kernel   " .. first_line { "uname", "-sr" })
    print("  dirty    " .. first_line { env.build .. "/dirty", "--version" })
    local load = tonumber((process.read("/proc/loadavg") or "0"):match("%S+"))
    print(("  load     %.2f before the start%s"):format(load,
        load > 0.5 and ": the machine is busy, speeds are unsteady" or ""))
    print(("  rounds   %d, alternating, of %.2f s each"):format(env.rounds, env.seconds))
end

local only = os.getenv("BENCH_ONLY")
local missed = {}

local function note(list)
    for _, text in ipairs(list or {}) do
        missed[#missed + 1] = text
    end
end

local function section(name, title, needs, run)
    if only and not ("," .. only .. ","):find("," .. name .. ",", 1, true) then
        return
    end
    print("\n" .. title)
    if needs and not process.is_installed(needs) then
        print("  left out: " .. needs .. " is not installed")
        return
    end
    note(run())
    io.stdout:flush()
end

local function run_all()
    print_setup()
    section("fast", "the fast path and its floor, workers that take ready connections from the "
        .. "kernel\n(1 MB echo: one process). Requests per second, medians over the rounds; CPU us "
        .. "is the\ntime all processes of the server worked per request, caller us that of the "
        .. "load generator", nil, function()
        return speed.run(env, FAST_ROWS)
    end)
    section("gain", "the general path (fast_path = false) and the fast path", nil, function()
        return speed.run(env, GAIN_ROWS)
    end)
    section("general", "the general path and its floor, which passes descriptors to 2 workers",
        nil, function()
        return speed.run(env, GENERAL_ROWS)
    end)
    section("pinned", "all processes on one CPU (taskset -c 0), which shows what a request costs\n"
        .. "without the luck of placement", "taskset", function()
        return speed.run(env, PINNED_ROWS, { "taskset", "-c", "0" })
    end)
    section("beside", "short calls beside a long one", nil, function()
        return steady.beside_long(env)
    end)
    section("wakeups", "how often the arbiter wakes up while lanes take requests themselves", nil,
        function()
            return steady.wakeups(env)
        end)
    section("crowd", "1,000 connections: the calls of each second, by the status", nil,
        function()
            return steady.crowd(env)
        end)
    section("memory", "memory", nil, function()
        return memory.run(env)
    end)
    section("instructions", "instructions per noop (callgrind, user space)", "valgrind",
        function()
            return cost.instructions(env)
        end)
    section("syscalls", "system calls per noop (strace -f -c)", "strace", function()
        return cost.system_calls(env)
    end)
    print("")
    for _, text in ipairs(missed) do
        print("MISSED  " .. text)
    end
    if #missed == 0 then
        print("no target missed")
    end
end

env.dir = process.temp_dir()
local ok, err = xpcall(run_all, debug.traceback)
process.stop_all()
if not ok then
    io.stderr:write("bench: ", tostring(err), "\n(outputs are left in ", env.dir, ")\n")
    os.exit(1)
end
os.execute("rm -rf " .. env.dir)
