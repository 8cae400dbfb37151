--- `dirty upgrade`: let a new program take the place of the running one.
-- @module dirty.cli.upgrade

local cjson = require "cjson"
local exit = require "dirty.cli.exit"
local say = require "dirty.cli.say"
local socket = require "dirty.cli.socket"
local sys = require "dirty.sys"

local _M = {}

-- Seconds between two requests for the status.
local LOOK_EVERY = 0.05
-- Seconds that the new runtime may take to become ready without --timeout.
local WAIT_SECONDS = 300
-- Seconds that the next arbiter may take to answer if one has died.
local ARBITER_SECONDS = 5
-- Seconds to wait for the result after that time: the runtime gives up first.
local MARGIN_SECONDS = 15

-- How the upgrade ended: its entry in the status, of the old runtime or of the new one.
local function end_of(status, number)
    local last = type(status.upgrade) == "table" and status.upgrade.last
    return type(last) == "table" and last.number >= number and last or nil
end

local function write_end(parsed, last, status, seconds)
    if parsed.json then
        say.json(cjson.encode { upgrade = last.number, result = last.result, reason = last.reason,
            from = last.from, to = last.to, supervisor_pid = status.arbiter.supervisor_pid })
    elseif last.result == "done" then
        say.out("upgrade %d: from %s to %s, done in %.1f s, supervisor pid %d\n", last.number,
            last.from, last.to, seconds, status.arbiter.supervisor_pid)
    end
    if last.result == "done" then
        return exit.OK
    end
    say.err("dirty upgrade: upgrade %d failed: %s\nthe old runtime (version %s) goes on\n",
        last.number, last.reason, last.from)
    return exit.FAILED
end

local function wait_for(parsed, number, deadline)
    local began = sys.now()
    while true do
        local status, failed = socket.ask_next_arbiter(parsed, "status", ARBITER_SECONDS)
        if not status then
            return failed
        end
        local last = end_of(status, number)
        if last then
            return write_end(parsed, last, status, sys.now() - began)
        elseif sys.now() > deadline then
            say.err("dirty upgrade: TIMEOUT: upgrade %d is still running, `dirty status` shows how "
                .. "it ends\n", number)
            return exit.TIMEOUT
        end
        sys.sleep(LOOK_EVERY)
    end
end

--- Upgrade, and wait for the end.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local seconds, wrong = socket.timeout(parsed, WAIT_SECONDS)
    if not seconds then
        return wrong
    end
    local deadline = sys.now() + seconds + MARGIN_SECONDS
    parsed.timeout = nil -- it limits the new runtime's start, not each request
    local answer, failed = socket.ask_arbiter_json(parsed, "upgrade",
        { tostring(math.ceil(seconds * 1000)) })
    if not answer then
        return failed
    end
    return wait_for(parsed, answer.upgrade, deadline)
end

return _M
