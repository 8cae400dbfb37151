--- `dirty reload`: load new code and configuration.
-- @module dirty.cli.reload

local cjson = require "cjson"
local exit = require "dirty.cli.exit"
local say = require "dirty.cli.say"
local socket = require "dirty.cli.socket"
local sys = require "dirty.sys"

local _M = {}

-- Seconds between two requests for the status.
local LOOK_EVERY = 0.05
-- Seconds that a reload may take without --timeout.
local WAIT_SECONDS = 300
-- Seconds that the next arbiter may take to answer if one has died.
local ARBITER_SECONDS = 5

-- How the reload ended: its entry in the status, or the entry of a later reload, which read the
-- configuration after it. Nil while it runs.
local function end_of(reload, number)
    local last = type(reload) == "table" and reload.last
    return type(last) == "table" and last.number >= number and last or nil
end

local function write_end(parsed, number, last, seconds)
    if parsed.json then
        say.json(cjson.encode { reload = number, result = last.result, reason = last.reason })
    elseif last.result == "done" then
        say.out("reload %d: done in %.1f s\n", number, seconds)
    end
    if last.result == "done" then
        return exit.OK
    end
    say.err("dirty reload: reload %d: %s: %s\n%s\n", number, last.result, last.reason,
        last.result == "partial"
            and "everything else uses the new code and configuration"
            or "nothing was changed, the old code and configuration keep serving")
    return exit.FAILED
end

-- Wait until the reload ends, its arbiter dies, or the time is up.
local function wait_for(parsed, arbiter_pid, number, deadline)
    local began = sys.now()
    while true do
        local status, failed = socket.ask_next_arbiter(parsed, "status", ARBITER_SECONDS)
        if not status then
            return failed
        elseif status.arbiter.pid ~= arbiter_pid then
            say.err("dirty reload: the arbiter (pid %d) has ended; the new arbiter (pid %d) read "
                .. "the configuration when it started\n",
                arbiter_pid, status.arbiter.pid)
            return exit.FAILED
        end
        local last = end_of(status.reload, number)
        if last then
            return write_end(parsed, number, last, sys.now() - began)
        elseif sys.now() > deadline then
            say.err("dirty reload: TIMEOUT: reload %d is still running (%s), `dirty status` shows "
                .. "how it ends\n", number, tostring(status.reload.state))
            return exit.TIMEOUT
        end
        sys.sleep(LOOK_EVERY)
    end
end

-- What the runtime did with the request, by the field `start` of its answer.
local STARTS = {
    begun = "reload %d was asked for and runs",
    follows = "reload %d was asked for and waits for the start or the reload that runs now",
    merged = "reload %d was asked for already and waits for the reload that runs now: it reads "
        .. "the files after that",
}

-- Say that the end is not known, and how to see it.
local function write_start(parsed, answer)
    if parsed.json then
        say.json(cjson.encode(answer))
        return
    end
    say.out((STARTS[answer.start] or STARTS.begun) .. "; its result is not known yet: see "
        .. "`reload` in `dirty status`, or wait with `dirty reload --wait`\n", answer.reload)
end

-- A person wants the result; a script that does not say so has always got an answer at once.
local function must_wait(parsed)
    return parsed.wait or not parsed.no_wait and not parsed.json and say.is_to_terminal()
end

--- Reload, and wait for the end with --wait or at a terminal.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local seconds, wrong = socket.timeout(parsed, WAIT_SECONDS)
    if not seconds then
        return wrong
    end
    local deadline, waits = sys.now() + seconds, must_wait(parsed)
    if waits then
        parsed.timeout = nil -- it limits the command, not each request
    end
    local status, failed = socket.ask_arbiter_json(parsed, "status")
    if not status then
        return failed
    end
    local answer
    answer, failed = socket.ask_arbiter_json(parsed, "reload")
    if not answer then
        return failed
    elseif waits then
        return wait_for(parsed, status.arbiter.pid, answer.reload, deadline)
    end
    write_start(parsed, answer)
    return exit.OK
end

return _M
