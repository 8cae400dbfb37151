--- The commands that ask the arbiter one thing and print its answer: `dirty scale`, `cancel`,
-- `kill` and `ping`.
-- @module dirty.cli.ask

local cjson = require "cjson"
local exit = require "dirty.cli.exit"
local say = require "dirty.cli.say"
local socket = require "dirty.cli.socket"

local _M = {}

-- By command: the action, its argument, and the text of the answer.
local COMMANDS = {
    scale = { "scale", "workers", function(answer)
        return ("%d worker%s"):format(answer.workers, answer.workers == 1 and "" or "s")
    end },
    cancel = { "cancel", "lane", function(answer, parsed)
        return ("%s: %s"):format(parsed.lane, answer and "its call was cancelled"
            or "no call runs there")
    end },
    kill = { "kill", "worker", function(answer, parsed)
        return ("worker %s (pid %d) was killed"):format(parsed.worker, answer.pid)
    end },
    ping = { "ping", nil, function(answer)
        return ("the arbiter answers, pid %d"):format(answer)
    end },
}

-- The form that an argument must have.
local ARGUMENTS = {
    workers = { "^[+-]?%d+$", "a number of workers, or +N, -N" },
    worker = { "^%d+$", "a worker's number from `dirty status`" },
    lane = { "^%d+%.?%d*$", "a worker's number from `dirty status`, or WORKER.LANE" },
}

local function fault_of(name, value)
    local pattern, must = unpack(ARGUMENTS[name])
    return not value:match(pattern) and ("%q: must be %s"):format(value, must) or nil
end

--- Ask the arbiter and print the answer.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local action, argument, tell = unpack(COMMANDS[parsed.command], 1, 3)
    local fault = argument and fault_of(argument, parsed[argument])
    if fault then
        return socket.usage(parsed, fault)
    end
    local answer, status = socket.ask_arbiter_json(parsed, action,
        { argument and parsed[argument] })
    if answer == nil then
        return status
    end
    if parsed.json then
        say.json(cjson.encode(answer))
    else
        say.out("%s\n", tell(answer, parsed))
    end
    return exit.OK
end

return _M
