--- What a request costs whatever else the machine does: instructions and system calls.
-- @module bench.cost

local process = require "bench.process"
local server = require "bench.server"

local _M = {}

local CONNECTIONS = 8
local ATTACH_TIMEOUT_S = 20

-- -- Instructions ------------------------------------------------------------------

local function callgrind(prefix)
    return { "valgrind", "-q", "--tool=callgrind", "--trace-children=yes",
        "--callgrind-out-file=" .. prefix .. ".%p" }
end

local function total_of(prefix, pid)
    local text = process.read(("%s.%d"):format(prefix, pid))
    return text and tonumber(text:match("\ntotals: (%d+)"))
end

-- Instructions of dispatcher and workers in a server's life that served `requests`.
local function count_instructions(env, start, requests)
    local prefix = ("%s/callgrind-%d"):format(env.dir, requests)
    local s = start(env, callgrind(prefix))
    local dispatcher, workers = s:pids()
    s:load({ "--connections", CONNECTIONS, "--requests", requests, "noop" })
    s:stop()
    local counts = { dispatcher = total_of(prefix, dispatcher), workers = 0 }
    for _, pid in ipairs(workers) do
        local count = total_of(prefix, pid)
        counts.workers = count and counts.workers and counts.workers + count
    end
    return counts
end

-- Two lives of different length; what differs is the requests.
local function instructions(env, start)
    local few, many = env.few_requests, env.many_requests
    local a = count_instructions(env, start, few)
    local b = count_instructions(env, start, many)
    local function each(who)
        return a[who] and b[who] and (b[who] - a[who]) / (many - few)
    end
    return { dispatcher = each("dispatcher"), workers = each("workers") }
end

--- Print instructions per noop in dispatcher and worker, floor and runtime.
-- @tparam table env `build`, `dir`, `few_requests`, `many_requests`
function _M.instructions(env)
    local floor = instructions(env, server.floor_pass)
    local dirty = instructions(env, server.general)
    local fast = instructions(env, server.dirty)
    for _, who in ipairs { "dispatcher", "workers" } do
        if floor[who] and dirty[who] then
            print(("  %-12s floor %7.0f   general path %7.0f   fast path %7.0f"):format(who,
                floor[who], dirty[who], fast[who] or 0))
        else
            print(("  %-12s not counted: a process ended without its profile"):format(who))
        end
    end
end

-- -- System calls ------------------------------------------------------------------

-- Rows of `strace -c`: % time, seconds, usecs/call, calls, [errors,] name.
local function parse_strace(text, requests)
    local counts = {}
    for line in (text or ""):gmatch("[^\n]+") do
        local calls, rest = line:match("^%s*[%d.]+%s+[%d.]+%s+%d+%s+(%d+)%s+(.+)$")
        local name = rest and rest:match("([%a_][%w_]*)%s*$")
        if name and name ~= "total" and calls / requests >= 0.005 then
            counts[#counts + 1] = { name = name, each = calls / requests }
        end
    end
    table.sort(counts, function(x, y)
        return x.each > y.each or (x.each == y.each and x.name < y.name)
    end)
    return counts
end

local function attach(pid, out)
    local argv = { "strace", "-f", "-c", "-o", out, "-p", tostring(pid) }
    local tracer = process.start(argv, nil, out .. ".err")
    local attached = process.poll(ATTACH_TIMEOUT_S, function()
        return (process.read(out .. ".err") or ""):find("attached", 1, true)
    end)
    if not attached then
        error("strace: " .. (process.read(out .. ".err") or ""), 0)
    end
    return tracer
end

local function describe(counts)
    local words, sum = {}, 0
    for i, count in ipairs(counts) do
        words[i] = ("%s %.2f"):format(count.name, count.each)
        sum = sum + count.each
    end
    return ("%.2f: %s"):format(sum, table.concat(words, ", "))
end

local function add(counts, more)
    for _, new in ipairs(more) do
        local found
        for _, old in ipairs(counts) do
            found = found or (old.name == new.name and old)
        end
        if found then
            found.each = found.each + new.each
        else
            counts[#counts + 1] = new
        end
    end
end

local function system_calls(env, start, connections)
    local s = start(env)
    local dispatcher, workers = s:pids()
    s:load({ "--connections", connections, "--requests", 2000 })
    table.insert(workers, 1, dispatcher)
    local tracers = {}
    for i, pid in ipairs(workers) do
        tracers[i] = attach(pid, ("%s.strace-%d"):format(s.scratch, i))
    end
    s:load({ "--connections", connections, "--requests", env.traced_requests, "noop" })
    local dispatched, worked = nil, {}
    for i in ipairs(workers) do
        process.stop(tracers[i], process.SIGINT)
        local text = process.read(("%s.strace-%d"):format(s.scratch, i))
        local counts = parse_strace(text, env.traced_requests)
        if i == 1 then
            dispatched = counts
        else
            add(worked, counts)
        end
    end
    s:stop()
    return dispatched, worked
end

--- Print system calls per noop in dispatcher and worker, floor and runtime.
-- @tparam table env `build`, `dir`, `traced_requests`
function _M.system_calls(env)
    for _, connections in ipairs { 1, 64 } do
        for _, name in ipairs { "floor_pass", "general", "floor_ready", "dirty" } do
            local dispatched, worked = system_calls(env, server[name], connections)
            local label = ("%-5s %2d conn."):format(name:match("^%a+"), connections)
            print(("  %s dispatcher %s"):format(label, describe(dispatched)))
            print(("  %s worker     %s"):format(label, describe(worked)))
        end
    end
end

return _M
