--- An app for the tests of interrupts: what its code sees of one, and what it keeps.
local dirty = require("dirty")
local ffi = require("ffi")

ffi.cdef [[
    struct dirty_spec_now { long s, ns; };
    int dirty_spec_clock(int, struct dirty_spec_now *) __asm__("clock_gettime");
]]

local Interrupted = dirty.app()

local function forever()
    while true do end
end

local room = ffi.new("struct dirty_spec_now")
local function now()
    ffi.C.dirty_spec_clock(1, room)
    return tonumber(room.s) + tonumber(room.ns) / 1e9
end

-- Some seconds, without a call that a signal could end.
local function busy(seconds)
    local till = now() + seconds
    while now() < till do end
end

function Interrupted:init(options)
    self.calls = 0
    if options.spin then
        busy(options.spin)
    end
end

function Interrupted:count()
    self.calls = self.calls + 1
    return self.calls
end

function Interrupted:loop()
    forever()
end

local function forever_interpreted()
    while true do end
end
jit.off(forever_interpreted)

function Interrupted:interpreted()
    forever_interpreted()
end

-- -- Catching it -------------------------------------------------------------------------

function Interrupted:swallow()
    return pcall(forever)
end

function Interrupted:tidy()
    local _, err = pcall(forever)
    busy(0.001)
    self.caught = { err.code, tostring(err), "failed: " .. err }
    return "tidied"
end

function Interrupted:what_was_caught()
    return self.caught
end

function Interrupted:swallow_for_ever()
    while true do
        pcall(forever)
    end
end

-- What it is asked for when it is not interruptible.
function Interrupted:check_for_ever()
    local rounds = 0
    local _, err = pcall(function()
        while true do
            dirty.check()
            rounds = rounds + 1
        end
    end)
    self.caught = err.code
    self.rounds = rounds
    error(err, 0)
end

function Interrupted:remaining()
    return dirty.remaining() < math.huge and dirty.remaining() or nil
end

-- -- Other ways to run -------------------------------------------------------------------

function Interrupted:chunks()
    local sent = 0
    return function()
        sent = sent + 1
        if sent > 2 then
            forever()
        end
        return sent
    end
end

local function innermost(seconds)
    busy(seconds)
    return "went on"
end

function Interrupted:go_on(seconds)
    return coroutine.wrap(function()
        local result = innermost(seconds)
        return result
    end)()
end

function Interrupted:tidy_later()
    busy(0.3)
    self.caught = "to the end"
end

local function down(depth)
    if depth == 0 then
        forever()
    end
    return 1 + down(depth - 1)
end

function Interrupted:deep(depth)
    return down(depth)
end

-- -- Hooks of its own --------------------------------------------------------------------

local function own_hook() end

function Interrupted:set_hook()
    debug.sethook(own_hook, "", 1000)
    forever()
end

function Interrupted:has_hook()
    local hook, _, count = debug.gethook()
    debug.sethook()
    return hook == own_hook and count == 1000
end

-- -- Memory ------------------------------------------------------------------------------

-- Over the limit by a little of garbage beside much that is held.
function Interrupted:grow_by_strings(size)
    local held = {}
    for i = 1, 1e9 do
        held[i] = ("x"):rep(size) .. i
    end
end

function Interrupted:grow()
    local list = {}
    for i = 1, 1e9 do
        list[i] = { i }
    end
    return #list
end

function Interrupted:grow_and_swallow()
    local list = {}
    while true do
        pcall(function()
            for i = 1, 1e9 do
                list[#list + 1] = { i }
            end
        end)
    end
end

function Interrupted:leak()
    self.leaked = {}
    for i = 1, 1e9 do
        self.leaked[i] = ("x"):rep(1000) .. i
    end
end

function Interrupted:litter(megabytes)
    local sum = 0
    for i = 1, megabytes do
        sum = sum + #("x"):rep(2 ^ 20 + i)
    end
    return sum > 0
end

function Interrupted:huge(megabytes)
    return #("x"):rep(megabytes * 2 ^ 20)
end

function Interrupted:hold(megabytes)
    self.held = ("y"):rep(megabytes * 2 ^ 20)
    return #self.held
end

function Interrupted:result(megabytes)
    return ("z"):rep(megabytes * 2 ^ 20)
end

return Interrupted
