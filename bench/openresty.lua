#!/usr/bin/env luajit
--- Measure calls from nginx: `make bench-openresty`.
--
-- A real nginx with one worker, loaded by wrk, calls the no-op of two dirty workers, of
-- PHP-FPM and of nginx's own threads, in rounds that alternate. Two floors send the bytes of a
-- call by hand, to the dirty workers and to workers in bare C. Then the tail of an empty location
-- is measured while both dirty workers spin.
--
-- Environment: BENCH_QUICK=1 a shorter run for development; BENCH_ROUNDS how many rounds;
-- BENCH_ONLY=speed,pinned,tail some sections only; DIRTY_BUILD where the programs are.
-- Exit status 0 also where a target is missed, 1 for an error.

package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;./spec/?.lua;" .. package.path
package.cpath = (os.getenv("DIRTY_BUILD") or "build") .. "/lua/?.so;" .. package.cpath

local process = require "bench.process"
local median = require("bench.speed").median
local web = require "bench.web"

local quick = os.getenv("BENCH_QUICK") == "1"
local only = os.getenv("BENCH_ONLY")

local ROUNDS = tonumber(os.getenv("BENCH_ROUNDS")) or (quick and 3 or 7)
local SECONDS, SPIN_SECONDS = 1, 2
local CONNECTIONS, PINNED_CONNECTIONS = { 2, 8, 32 }, { 32 }
-- By location; `wanted` is our rate divided by theirs, `cpu_wanted` the same of nginx's CPU time.
local CALLERS = {
    { uri = "/dirty", label = "resty.dirty, 2 workers" },
    { uri = "/floor", label = "its bytes, by a bare cosocket", cpu_wanted = 1.15 },
    { uri = "/ready", label = "the same, from floor ready" },
    { uri = "/php", label = "PHP-FPM, kept-alive socket", wanted = 2 },
    { uri = "/thread", label = "ngx.run_worker_thread, 2 threads", wanted = 0.5 },
}
local EMPTY_CONNECTIONS, TAIL_WANTED = 8, 2

local missed = {}

local function verdict(met, words)
    if not met then
        missed[#missed + 1] = words
    end
    return met and "pass" or "MISSED"
end

-- The values of a field over all rounds.
local function field(reports, name)
    local values = {}
    for i, report in ipairs(reports) do
        values[i] = report[name]
    end
    return values
end

-- One after the other, every other round in the other order: reports by uri.
local function alternate(things, run)
    local reports = {}
    for round = 1, ROUNDS do
        for i = 1, #things do
            local thing = things[round % 2 == 1 and i or #things + 1 - i]
            reports[thing.uri] = reports[thing.uri] or {}
            reports[thing.uri][round] = run(thing)
        end
    end
    return reports
end

-- -- Speed -------------------------------------------------------------------------------

local HEAD = "  %-34s %9s %8s %9s %9s  %s"
local ROW = "  %-34s %9.0f %8.0f %9.1f %9.1f  %s"

-- CPU time hardly depends on where the scheduler puts processes, so it is always judged.
local function compare_cpu(caller, reports, where)
    local ratio = median(field(reports["/dirty"], "nginx_us"))
        / median(field(reports[caller.uri], "nginx_us"))
    local met = ratio <= caller.cpu_wanted
    local words = ("%s, nginx's CPU time, against %s: %.2f times, wanted <= %.2f"):format(where,
        caller.label, ratio, caller.cpu_wanted)
    return (", nginx us %.2f, <= %.2f %s"):format(ratio, caller.cpu_wanted, verdict(met, words))
end

local function compare(caller, reports, where, judged)
    if caller.uri == "/dirty" then
        return ""
    end
    local ours, theirs = field(reports["/dirty"], "rate"), field(reports[caller.uri], "rate")
    local ratio, ratios = median(ours) / median(theirs), {}
    for round in ipairs(ours) do
        ratios[round] = ours[round] / theirs[round]
    end
    table.sort(ratios)
    local text = ("%.2f (%.2f..%.2f)"):format(ratio, ratios[1], ratios[#ratios])
    if caller.cpu_wanted then
        return text .. compare_cpu(caller, reports, where)
    elseif not judged or not caller.wanted then
        return text
    end
    local met = ratio >= caller.wanted
    local words = "%s, against %s: %.2f, wanted %.1f"
    return ("%s, >= %.1f %s"):format(text, caller.wanted, verdict(met,
        words:format(where, caller.label, ratio, caller.wanted)))
end

local function speed(server, list_of_connections, place)
    for _, connections in ipairs(list_of_connections) do
        local title = ("%d connections%s"):format(connections, place)
        print(HEAD:format(title, "per s", "p99 us", "nginx us", "behind us",
            "ours is so many times as fast"))
        local reports = alternate(CALLERS, function(caller)
            return server:load(caller.uri, connections, SECONDS)
        end)
        for _, caller in ipairs(CALLERS) do
            local list = reports[caller.uri]
            print(ROW:format(caller.label, median(field(list, "rate")),
                median(field(list, "p99_us")), median(field(list, "nginx_us")),
                median(field(list, "behind_us")), compare(caller, reports, title,
                not server.cpu)))
        end
        io.stdout:flush()
    end
end

-- -- The tail beside long calls ----------------------------------------------------------

local SPIN = "local stop = os.time() + 20 while os.time() < stop do end"

-- Start what spins for the time of `run`: in the dirty workers, or in as many programs that
-- have nothing to do with us.
local function beside(server, where, run)
    local pids = {}
    if where == "dirty" then
        pids[1] = server:start_load("/spin", web.WORKERS, SPIN_SECONDS + 10)
        assert(process.poll(10, function() return server:running() == web.WORKERS end),
            "the dirty workers do not spin")
    else
        for i = 1, web.WORKERS do
            pids[i] = process.start { arg[-1], "-e", SPIN }
        end
    end
    local report = run()
    for _, pid in ipairs(pids) do
        process.stop(pid, process.SIGKILL)
    end
    assert(process.poll(10, function() return server:running() == 0 end))
    return report
end

local function tail(server)
    local things = {
        { uri = "elsewhere", label = "2 programs of their own spin" },
        { uri = "dirty", label = "both dirty workers spin" },
    }
    local reports = alternate(things, function(thing)
        return beside(server, thing.uri, function()
            return server:load("/empty", EMPTY_CONNECTIONS, SPIN_SECONDS)
        end)
    end)
    local p99 = {}
    for _, thing in ipairs(things) do
        local list = reports[thing.uri]
        p99[thing.uri] = median(field(list, "p99_us"))
        print(("  %-34s %9.0f per s, p50 %.0f us, p99 %.0f us"):format(thing.label,
            median(field(list, "rate")), median(field(list, "p50_us")), p99[thing.uri]))
    end
    local ratio = p99.dirty / p99.elsewhere
    local text = ("p99 of an empty location beside calls: %.2f times, wanted <= %.1f"):format(
        ratio, TAIL_WANTED)
    print(("  p99 is %.2f times the other, <= %.1f %s"):format(ratio, TAIL_WANTED,
        verdict(ratio <= TAIL_WANTED, text)))
end

-- -- All of it ---------------------------------------------------------------------------

local function section(name, title, run)
    if not only or ("," .. only .. ","):find("," .. name .. ",", 1, true) then
        print("\n" .. title)
        run()
        io.stdout:flush()
    end
end

local function run_all(env)
    local server = web.start(env)
    env.server = server
    print(("wrk with 1 thread, nginx with 1 worker, %d alternating rounds of %d s, medians")
        :format(ROUNDS, SECONDS))
    section("speed", "no-op behind a location, processes where the scheduler puts them. us is "
        .. "CPU time per\nrequest, of nginx with its threads and of the processes behind it",
        function() speed(server, CONNECTIONS, "") end)
    section("tail", ("an empty location, %d connections, while there is work"):format(
        EMPTY_CONNECTIONS), function() tail(server) end)
    section("pinned", "the no-ops again, all processes on one CPU: what a request costs where "
        .. "waking\nanother process wakes no CPU", function()
        server:pin(0)
        speed(server, PINNED_CONNECTIONS, ", 1 CPU")
    end)
    print("")
    for _, text in ipairs(missed) do
        print("MISSED  " .. text)
    end
    if #missed == 0 then
        print("no target missed")
    end
end

local env = { dir = process.temp_dir(), children = math.max(unpack(CONNECTIONS)) }
local ok, err = xpcall(run_all, debug.traceback, env)
if env.server then
    env.server:stop()
end
process.stop_all()
if not ok then
    io.stderr:write("bench-openresty: ", tostring(err), "\n(outputs are left in ", env.dir, ")\n")
    os.exit(1)
end
os.execute("rm -rf " .. env.dir)
