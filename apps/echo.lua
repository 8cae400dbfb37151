--- A dirty app for trying things out, for tests and for measuring. Copy it to begin an app
-- of your own: a table of functions, called by name.
--
--     dirty serve --app apps.echo
--     dirty call apps.echo echo '"hello"'

local dirty = require("dirty")
local ffi = require("ffi")

-- Names of our own, so that an app with declarations of the same C functions gets along.
ffi.cdef([[
    typedef struct { long sec, nsec; } echo_timespec;
    int echo_clock_gettime(int clock, echo_timespec *out) __asm__("clock_gettime");
    int echo_nanosleep(const echo_timespec *want, echo_timespec *left) __asm__("nanosleep");
]])

local C = ffi.C
local CLOCK_MONOTONIC = 1

local Echo = dirty.app({ timeout = 60 })

-- Say which argument is wrong and what it must be, not where in here that was noticed.
local function check(is_right, action, wanted, value)
    if not is_right then
        error(("%s: its argument must be %s, not %s"):format(action, wanted,
            type(value) == "number" and tostring(value) or "a " .. type(value)), 0)
    end
end

local function check_number(action, wanted, value)
    check(type(value) == "number" and value >= 0 and value <= 2 ^ 53, action, wanted, value)
end

--- Nothing, as fast as can be.
function Echo:noop()
    return nil
end

--- Whatever it is given.
function Echo:echo(...)
    return ...
end

--- The number of bytes of a string.
function Echo:length(s)
    check(type(s) == "string", "length", "a string", s)
    return #s
end

--- Sleep, as a blocking driver would: the lane does nothing else meanwhile.
function Echo:sleep(ms)
    check_number("sleep", "milliseconds, a number from 0 up", ms)
    local want = ffi.new("echo_timespec", math.floor(ms / 1000), (ms % 1000) * 1e6)
    C.echo_nanosleep(want, nil)
    return ms
end

-- Milliseconds of the monotonic clock, by a call that LuaJIT compiles.
local now_room = ffi.new("echo_timespec")
local function now_ms()
    C.echo_clock_gettime(CLOCK_MONOTONIC, now_room)
    return tonumber(now_room.sec) * 1000 + tonumber(now_room.nsec) / 1e6
end

--- Keep a CPU busy; returns how often it looked at the clock.
function Echo:spin(ms)
    check_number("spin", "milliseconds, a number from 0 up", ms)
    local rounds, stop = 0, now_ms() + ms
    while now_ms() < stop do
        rounds = rounds + 1
    end
    return rounds
end

--- Fail as an app does that raises.
function Echo:fail(message)
    error(message)
end

--- Die as native code does: a write to address 0. The worker is lost, and replaced.
function Echo:crash()
    ffi.cast("int *", 0)[0] = 1
end

--- Stream the numbers 1 to n: a function that is returned gives the chunks one by one.
function Echo:count(n)
    check_number("count", "a number from 0 up", n)
    local i = 0
    return function()
        i = i + 1
        if i <= n then
            return i
        end
    end
end

return Echo
