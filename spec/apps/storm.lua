--- An app for the tests of interrupts: work of many kinds that ends with a value that only
-- its kind and size decide, so that a state that an interrupt has harmed is seen.
local cjson = require("cjson")
local dirty = require("dirty")
local ffi = require("ffi")

local Storm = dirty.app()

function Storm:init()
    self.begun, self.ended, self.last = 0, 0, 0
end

local kinds = {}

kinds[#kinds + 1] = function(n) -- tables
    local t, sum = {}, 0
    for i = 1, n * 60 do
        t[i % 100] = { i }
    end
    for _, x in pairs(t) do
        sum = sum + x[1]
    end
    return sum
end

kinds[#kinds + 1] = function(n) -- compiling
    local sum = 0
    for i = 1, n / 4 do
        local f = loadstring("local x = ... for i = 1, 200 do x = x + i end return x")
        sum = sum + f(i)
    end
    return sum
end

kinds[#kinds + 1] = function(n) -- strings, and a pcall that swallows
    local sum = 0
    for i = 1, n / 4 do
        local ok, text = pcall(function()
            local parts = {}
            for k = 1, 30 do
                parts[k] = ("x"):rep(k) .. i
            end
            return table.concat(parts)
        end)
        if not ok then
            error(text, 0)
        end
        sum = sum + #text
    end
    return sum
end

kinds[#kinds + 1] = function(n) -- JSON, which is C
    local value, sum = { a = { 1, 2, 3 }, b = "x" }, 0
    for i = 1, n do
        value.i = i
        sum = sum + #cjson.encode(cjson.decode(cjson.encode(value)))
    end
    return sum
end

kinds[#kinds + 1] = function(n) -- coroutines
    local sum = 0
    for _ = 1, n do
        local step = coroutine.wrap(function()
            for i = 1, 10 do
                coroutine.yield(i)
            end
        end)
        for _ = 1, 10 do
            sum = sum + step()
        end
    end
    return sum
end

kinds[#kinds + 1] = function(n) -- metamethods
    local t = setmetatable({}, { __index = function(_, k) return k end })
    local sum = 0
    for i = 1, n * 200 do
        sum = sum + t[i]
    end
    return sum
end

kinds[#kinds + 1] = function(n) -- finalizers
    local sum = 0
    for i = 1, n * 4 do
        local proxy = newproxy(true)
        getmetatable(proxy).__gc = function()
            local x = 0
            for k = 1, 10 do
                x = x + k
            end
        end
        sum = sum + i
    end
    return sum
end

kinds[#kinds + 1] = function(n) -- callbacks of C
    local text, sum = ("abc123"):rep(20), 0
    for _ = 1, n / 4 do
        sum = sum + #text:gsub("%d", function(d) return d + 1 end)
    end
    return sum
end

kinds[#kinds + 1] = function(n) -- a comparator
    local list = {}
    for i = 1, n * 4 do
        list[i] = i * 7919 % 10007
    end
    table.sort(list, function(a, b) return a < b end)
    return list[1] + list[#list]
end

kinds[#kinds + 1] = function(n) -- FFI and 64 bits
    local point = ffi.new("struct { double x; int64_t n; }")
    for i = 1, n * 400 do
        point.x = point.x + i % 3
        point.n = point.n + 1
    end
    return point.x + tonumber(point.n)
end

kinds[#kinds + 1] = function(n) -- recursion
    local function fib(i)
        return i < 2 and i or fib(i - 1) + fib(i - 2)
    end
    return fib(math.floor(math.log(n) * 3))
end

kinds[#kinds + 1] = function(n) -- an empty loop
    local i = 0
    while i < n * 3000 do
        i = i + 1
    end
    return i
end

--- How many kinds there are.
function Storm:kinds()
    return #kinds
end

--- Do some work.
-- @tparam number serial of the call; must go up
-- @tparam number kind
-- @tparam number size
-- @treturn number that depends on kind and size alone
function Storm:work(serial, kind, size)
    if serial <= self.last then
        error(("call %d came after call %d"):format(serial, self.last))
    end
    self.last = serial
    self.begun = self.begun + 1
    local value = kinds[kind](size)
    self.ended = self.ended + 1
    return value
end

--- What the app has kept, and whether the state is sound.
function Storm:probe()
    local sum, t = 0, {}
    for i = 1, 1000 do
        sum = sum + i
    end
    for i = 1, 100 do
        t[i] = i * 2
    end
    return sum + t[100] == 500700, self.begun, self.ended
end

return Storm
