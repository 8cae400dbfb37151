--- `dirty stack`: print the tracebacks of running calls.
-- @module dirty.cli.stack

local cjson = require "cjson"
local units = require "dirty.units"
local exit = require "dirty.cli.exit"
local say = require "dirty.cli.say"
local socket = require "dirty.cli.socket"
local sys = require "dirty.sys"

local _M = {}

-- Seconds between two requests. A lane needs a moment to answer the signal.
local LOOK_EVERY = 0.05
local GIVE_UP = 1

-- The lanes of one worker, or all lanes.
local function select_worker(lanes, worker)
    local out = {}
    for _, lane in ipairs(lanes) do
        if not worker or lane.worker == worker then
            out[#out + 1] = lane
        end
    end
    return out
end

local function is_complete(lanes)
    for _, lane in ipairs(lanes) do
        if lane.traceback == cjson.null then
            return false
        end
    end
    return true
end

local function ask(parsed, worker)
    local give_up = sys.now() + GIVE_UP
    local lanes, status = socket.ask_arbiter_json(parsed, "stack")
    while lanes do
        lanes = select_worker(lanes, worker)
        if is_complete(lanes) or sys.now() > give_up then
            return lanes
        end
        sys.sleep(LOOK_EVERY)
        lanes, status = socket.ask_arbiter_json(parsed, "stack", { "read" })
    end
    return nil, status
end

local function write_lane(lane)
    local traceback = lane.traceback ~= cjson.null and lane.traceback
        or "no traceback: it is inside a C function, or its app sets interruptible = false"
    say.out("worker %d (pid %d) lane %d: %s.%s for %s\n    %s\n", lane.worker, lane.pid, lane.lane,
        lane.app, lane.action, units.duration(lane.running_ms / 1000), traceback)
end

--- Ask the arbiter and print the tracebacks.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local worker = parsed.worker and tonumber(parsed.worker)
    if parsed.worker and not worker then
        return socket.usage(parsed, ("WORKER %q: must be a worker's number from `dirty status`")
            :format(parsed.worker))
    end
    local lanes, status = ask(parsed, worker)
    if not lanes then
        return status
    elseif parsed.json then
        say.json(#lanes > 0 and cjson.encode(lanes) or "[]")
    elseif #lanes == 0 then
        say.out(worker and "nothing runs in worker %d\n" or "nothing runs\n", worker)
    else
        for _, lane in ipairs(lanes) do
            write_lane(lane)
        end
    end
    return exit.OK
end

return _M
