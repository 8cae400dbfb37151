--- Waiting for conditions, with a deadline, so that no spec hangs or sleeps for luck.
-- @module support.wait

local time = require "posix.time"

local _M = {}

-- A condition is looked at again after an eighth of the time that it has been waited for: many
-- conditions cost more than the rest of a spec (a call, a process, a log to read).
local SHORTEST, LONGEST = 0.001, 0.04

local function sleep(seconds)
    time.nanosleep { tv_sec = 0, tv_nsec = seconds * 1e9 }
end

--- Seconds on a clock that only goes forward.
-- @treturn number
function _M.now()
    local t = time.clock_gettime(time.CLOCK_MONOTONIC)
    return t.tv_sec + t.tv_nsec / 1e9
end

--- How much longer things may take than on an idle machine: $DIRTY_SPEC_SLOW, for
-- sanitizers and valgrind.
_M.SLOW = tonumber(os.getenv("DIRTY_SPEC_SLOW") or "") or 1

--- Sleep a moment. For loops that look at a condition; never instead of one.
function _M.moment()
    sleep(0.002)
end

--- Call a function until it returns something true.
-- @tparam function condition
-- @tparam number seconds at most (times SLOW)
-- @tparam string|function what for the error message
-- @return what the condition returned; raises when it did not become true in time
function _M.until_true(condition, seconds, what)
    local began = _M.now()
    local deadline = began + seconds * _M.SLOW
    repeat
        local value = condition()
        if value then
            return value
        end
        sleep(math.min(math.max((_M.now() - began) / 8, SHORTEST), LONGEST))
    until _M.now() > deadline
    local text = type(what) == "function" and what() or what or "the condition"
    error(("after %g s still not: %s"):format(seconds, text), 2)
end

return _M
