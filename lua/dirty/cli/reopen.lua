--- `dirty reopen-logs`: have the log file opened again, and report whether that worked.
--
-- The supervisor opens the file and tells the arbiter. The arbiter's status shows it a moment
-- later.
-- @module dirty.cli.reopen

local cjson = require "cjson"
local exit = require "dirty.cli.exit"
local say = require "dirty.cli.say"
local socket = require "dirty.cli.socket"
local sys = require "dirty.sys"

local _M = {}

-- Seconds between two requests for the status.
local LOOK_EVERY = 0.02
-- Seconds that the next arbiter may take to answer if one has died.
local ARBITER_SECONDS = 5

local function fail(status, text, ...)
    say.err("dirty reopen-logs: " .. text .. "\n", ...)
    return status
end

-- How often the log was opened, from the status. Nil without a supervisor or a log file; then the
-- answer to the command is the result.
local function opens_of(status)
    local log = status.arbiter.supervisor_pid and status.log
    return type(log) == "table" and tonumber(log.opens) or nil
end

-- Wait until the status has the supervisor's result.
local function wait_for(parsed, before, deadline)
    local opens = opens_of(before)
    while true do
        local status, failed = socket.ask_next_arbiter(parsed, "status", ARBITER_SECONDS)
        if not status then
            return failed
        elseif status.arbiter.pid ~= before.arbiter.pid then
            return fail(exit.OTHER, "the arbiter (pid %d) has ended: try again",
                before.arbiter.pid)
        elseif opens_of(status) > opens then
            local trouble = status.log.trouble
            return type(trouble) == "string" and fail(exit.APP,
                "the log file can't be reopened, the old one is kept: %s: %s",
                tostring(status.log.file), trouble) or exit.OK
        elseif sys.now() > deadline then
            return fail(exit.TIMEOUT, "TIMEOUT: the supervisor (pid %d) does not answer",
                before.arbiter.supervisor_pid)
        end
        sys.sleep(LOOK_EVERY)
    end
end

--- Ask the arbiter and report the result.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local seconds, wrong = socket.timeout(parsed, 5)
    if not seconds then
        return wrong
    end
    local deadline = sys.now() + seconds
    local before, status = socket.ask_arbiter_json(parsed, "status")
    if not before then
        return status
    end
    local answer
    answer, status = socket.ask_arbiter_json(parsed, "reopen_logs")
    if answer == nil then
        return status
    end
    status = opens_of(before) and wait_for(parsed, before, deadline) or exit.OK
    if status == exit.OK then
        say.out(type(before.log) == "table" and before.log.file == cjson.null
            and "the runtime logs to stderr, there is no file to reopen\n"
            or "the log file was reopened\n")
    end
    return status
end

return _M
