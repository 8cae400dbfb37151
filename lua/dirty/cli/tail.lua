--- `dirty tail`: print the last calls that failed or were slow.
-- @module dirty.cli.tail

local cjson = require "cjson"
local exit = require "dirty.cli.exit"
local json = require("dirty.json").new()
local say = require "dirty.cli.say"
local socket = require "dirty.cli.socket"
local sys = require "dirty.sys"

local _M = {}

-- The runtime tells at most so many at a time.
local MOST = 200
local LOOK_EVERY_S = 0.5
-- A lane may note a call a moment after a later one of another lane.
local OVERLAP_S = 1
-- How long to ask again after an arbiter that has died.
local PATIENCE_S = 10

local function present(value)
    return value ~= cjson.null and value or nil
end

local function milliseconds(ms)
    return ms < 10 and ("%.1f ms"):format(ms) or ("%.0f ms"):format(ms)
end

local function describe(call)
    local parts = {}
    if call.run_ms > 0 then
        parts[1] = "ran " .. milliseconds(call.run_ms)
    end
    parts[#parts + 1] = "waited " .. milliseconds(call.queue_ms)
    if call.worker > 0 then
        parts[#parts + 1] = ("worker %d (pid %d)"):format(call.worker, call.worker_pid)
    end
    parts[#parts + 1] = ("caller pid %d, uid %d"):format(call.caller_pid, call.caller_uid)
    return table.concat(parts, ", ")
end

local function write(call)
    local whole, fraction = math.floor(call.at), call.at % 1
    local name = present(call.app) and present(call.action) and call.app .. "." .. call.action
        or present(call.action) or "-"
    say.out("%s.%03d %s %s: %s\n", os.date("%Y-%m-%d %H:%M:%S", whole), fraction * 1000,
        call.code, name, describe(call))
    local message, traceback = present(call.message), present(call.traceback)
    if message then
        say.out("    %s\n", message)
    end
    if traceback and traceback ~= message then
        say.out("    %s\n", traceback)
    end
end

local function write_json(call)
    say.json(json.encode(call))
end

-- Remember the calls of an answer, and print those that are new. Returns what is remembered and
-- the time of the last one.
local function print_new(answer, known, print_call)
    local seen, last = {}, nil
    for _, call in ipairs(answer.calls) do
        local key = ("%.6f %d %d"):format(call.at, call.worker_pid, call.caller_pid)
        seen[key], last = true, call.at
        if not known[key] then
            print_call(call)
        end
    end
    return seen, last
end

local function follow(parsed, answer, print_call)
    local seen, last = print_new(answer, {}, print_call)
    last = last or answer.now
    while say.flush() do
        sys.sleep(LOOK_EVERY_S)
        local status
        answer, status = socket.ask_next_arbiter(parsed, "recent", PATIENCE_S,
            { tostring(MOST), ("%.6f"):format(last - OVERLAP_S) })
        if not answer then
            return status
        end
        local at
        seen, at = print_new(answer, seen, print_call)
        last = at or last
    end
    return exit.OTHER -- the reader has gone
end

--- Ask the arbiter and print the calls.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local most = tonumber(parsed.number or 20)
    if not most or most % 1 ~= 0 or most < 1 or most > MOST then
        return socket.usage(parsed, ("--number %q: must be a number of calls from 1 to %d")
            :format(parsed.number, MOST))
    end
    local answer, status = socket.ask_arbiter_json(parsed, "recent", { tostring(most) })
    if not answer then
        return status
    end
    local print_call = parsed.json and write_json or write
    if parsed.follow then
        return follow(parsed, answer, print_call)
    end
    print_new(answer, {}, print_call)
    return exit.OK
end

return _M
