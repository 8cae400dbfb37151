--- An app for the tests of deadlines: programs that never end by themselves, each in a way
-- of its own, and what tells whether the app has kept its state.
local dirty = require("dirty")
local ffi = require("ffi")

ffi.cdef [[
    unsigned sleep(unsigned seconds);
    int usleep(unsigned us);
    struct dirty_spec_time { long s, ns; };
    int clock_gettime(int clock, struct dirty_spec_time *t);
]]

local Endless = dirty.app()

function Endless:init()
    self.calls = 0
end

-- What callers compare: it goes up by one a call, and starts anew with the app.
function Endless:count()
    self.calls = self.calls + 1
    return self.calls
end

-- -- Programs that never end -------------------------------------------------------------

local programs = {}

programs["an empty loop"] = function()
    while true do end
end

programs["a loop that counts"] = function()
    local x = 0
    while true do
        x = x + 1
    end
end

programs["a loop over 1e18"] = function()
    local sum = 0
    for i = 1, 1e18 do
        sum = sum + i % 3
    end
    return sum
end

programs["repeat until false"] = function()
    goto again
    ::again::
    repeat until false
end

programs["an iterator without end"] = function()
    for value in function() return 1 end do
        local _ = value
    end
end

programs["a loop that makes tables"] = function()
    local t
    while true do
        t = { #(t or "") }
    end
end

programs["a loop that makes strings"] = function()
    local s
    while true do
        s = string.format("%d", 3) .. tostring(s and #s)
    end
end

programs["a recursion"] = function()
    local function fib(n)
        if n < 2 then
            return n
        end
        return fib(n - 1) + fib(n - 2)
    end
    return fib(90)
end

programs["tail calls"] = function()
    local function again()
        return again()
    end
    return again()
end

programs["a loop of failing pcalls"] = function()
    while true do
        pcall(error, "x")
    end
end

programs["a pcall around a loop"] = function()
    return pcall(function()
        while true do end
    end)
end

programs["a loop of pcalls around loops"] = function()
    while true do
        pcall(function()
            while true do end
        end)
    end
end

programs["a loop of xpcalls around loops"] = function()
    while true do
        xpcall(function()
            while true do end
        end, function(e)
            return tostring(e) .. debug.traceback()
        end)
    end
end

programs["coroutines that yield"] = function()
    local step = coroutine.wrap(function()
        while true do
            coroutine.yield(1)
        end
    end)
    while true do
        step()
    end
end

programs["a loop in a coroutine"] = function()
    coroutine.wrap(function()
        while true do end
    end)()
end

programs["a loop of resumes of loops"] = function()
    while true do
        coroutine.resume(coroutine.create(function()
            while true do end
        end))
    end
end

programs["a loop of FFI calls"] = function()
    local t = ffi.new("struct dirty_spec_time")
    while true do
        ffi.C.clock_gettime(1, t)
    end
end

programs["a sleep in C"] = function()
    ffi.C.sleep(1000)
    return "slept"
end

programs["a comparator of table.sort"] = function()
    local list = {}
    for i = 1, 1000 do
        list[i] = i * 7919 % 1009
    end
    while true do
        table.sort(list, function(a, b)
            return a < b
        end)
    end
end

programs["a loop in __gc"] = function()
    local proxy = newproxy(true)
    getmetatable(proxy).__gc = function()
        while true do end
    end
    proxy = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
end

programs["a pattern match in C"] = function()
    return (("a"):rep(40):match(("a*"):rep(30) .. "b"))
end

local names = {}
for name in pairs(programs) do
    names[#names + 1] = name
end
table.sort(names)

function Endless:programs()
    return names
end

-- Run one of them, which must be ended from outside.
function Endless:run(name)
    self.calls = self.calls + 1
    return programs[name]()
end

return Endless
