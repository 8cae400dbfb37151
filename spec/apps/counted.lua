--- The app of spec/c/test_ready_threads.c: tells the test of each call that runs.
local dirty = require("dirty")
local ffi = require("ffi")

ffi.cdef([[
    void counted_ran(unsigned call);
    void counted_hold(void);
    int counted_poll(void *, unsigned long, int) __asm__("poll");
]])

local C = ffi.C

local Counted = dirty.app()

function Counted:run(call)
    C.counted_ran(call)
    return call
end

function Counted:sleep(call)
    C.counted_ran(call)
    C.counted_poll(nil, 0, 1 + call % 15)
    return call
end

--- Hold the lane until the test lets go of it.
function Counted:hold(call)
    C.counted_ran(call)
    C.counted_hold()
    return call
end

return Counted
