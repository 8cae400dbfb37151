--- `dirty stop`: stop the runtime.
-- @module dirty.cli.stop

local exit = require "dirty.cli.exit"
local say = require "dirty.cli.say"
local socket = require "dirty.cli.socket"
local sys = require "dirty.sys"

local _M = {}

-- Seconds that a stop may take without --timeout, and seconds between two checks.
local WAIT_SECONDS = 60
local LOOK_EVERY = 0.02

-- Whether a process runs. A zombie does not.
local function runs(pid)
    local file = io.open(("/proc/%d/stat"):format(pid))
    local text = file and file:read("*a")
    if file then
        file:close()
    end
    local state = text and text:match("%) (%a)")
    return state ~= nil and state ~= "Z" and state ~= "X"
end

-- The processes that must be gone when the runtime has stopped. The supervisor ends last.
local function pids_of(status)
    local pids = {}
    for _, name in ipairs { "pid", "supervisor_pid" } do
        local pid = status.arbiter[name]
        if type(pid) == "number" and runs(pid) then
            pids[#pids + 1] = pid
        end
    end
    return pids
end

local function wait_gone(pids, deadline)
    for _, pid in ipairs(pids) do
        while runs(pid) do
            if sys.now() > deadline then
                say.err("dirty stop: TIMEOUT: process %d has not ended yet\n", pid)
                return exit.TIMEOUT
            end
            sys.sleep(LOOK_EVERY)
        end
    end
    return exit.OK
end

--- Stop the runtime, and wait for its end with --wait.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local seconds, wrong = socket.timeout(parsed, WAIT_SECONDS)
    if not seconds then
        return wrong
    end
    local deadline, pids = sys.now() + seconds, nil
    if parsed.wait then
        parsed.timeout = nil -- it limits the command, not each request
        local status, failed = socket.ask_arbiter_json(parsed, "status")
        if not status then
            return failed
        end
        pids = pids_of(status)
    end
    local _, failed = socket.ask_arbiter(parsed, "stop", { parsed.now and "now" or "graceful" })
    if failed then
        return failed
    end
    return pids and wait_gone(pids, deadline) or exit.OK
end

return _M
