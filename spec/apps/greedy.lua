--- An app for the tests of max_memory: ways to use up the Lua heap, most of them compiled.
local cjson = require("cjson")
local dirty = require("dirty")
local ffi = require("ffi")

local Greedy = dirty.app()

local point = ffi.typeof("struct { int a; double b[4]; }")

local ways = {}

ways[#ways + 1] = function(keep) -- tables
    for i = 1, 1e9 do
        keep[i] = { i, k = i }
    end
end

ways[#ways + 1] = function(keep) -- code; of some length, as compiling each piece takes time
    local text = "local x = ... for i = 1, 200 do " .. ("x = x + i "):rep(300) .. "end return x"
    for i = 1, 1e9 do
        keep[i] = loadstring(text)
        keep[i](i)
    end
end

ways[#ways + 1] = function(keep) -- strings in pcalls
    while true do
        pcall(function()
            local parts = {}
            for i = 1, 50 do
                parts[i] = ("x"):rep(i)
            end
            keep[#keep + 1] = table.concat(parts) .. #keep
        end)
    end
end

ways[#ways + 1] = function(keep) -- JSON
    local value = { a = { 1, 2, 3 }, b = "x" }
    for i = 1, 1e9 do
        keep[i] = cjson.decode(cjson.encode(value))
    end
end

ways[#ways + 1] = function(keep) -- coroutines
    for i = 1, 1e9 do
        keep[i] = coroutine.wrap(function()
            local t = {}
            for k = 1, 10 do
                t[k] = { #t }
                coroutine.yield(k)
            end
        end)
        keep[i]()
    end
end

ways[#ways + 1] = function(keep) -- a metamethod
    setmetatable(keep, { __index = function(t, k)
        local v = { k }
        rawset(t, k, v)
        return v
    end })
    local sum = 0
    for i = 1, 1e9 do
        sum = sum + #keep[i]
    end
    return sum
end

ways[#ways + 1] = function(keep) -- objects with finalizers
    for i = 1, 1e9 do
        local proxy = newproxy(true)
        getmetatable(proxy).__gc = function()
            local x = {}
            for k = 1, 10 do
                x[k] = k
            end
            return x
        end
        keep[i] = proxy
    end
end

ways[#ways + 1] = function(keep) -- gsub
    for i = 1, 1e9 do
        keep[i] = (("abc123"):rep(20) .. i):gsub("%d", function(d) return d + 1 end)
    end
end

ways[#ways + 1] = function(keep) -- a recursion
    local function down(n)
        return n == 0 and {} or { down(n - 1), n }
    end
    for i = 1, 1e9 do
        keep[i] = down(150)
    end
end

ways[#ways + 1] = function(keep) -- cdata
    for i = 1, 1e9 do
        keep[i] = point()
    end
end

ways[#ways + 1] = function() -- one string
    local s = ""
    for i = 1, 1e9 do
        s = s .. i .. s
    end
    return s
end

function Greedy:init()
    self.calls = 0
end

function Greedy:ways()
    return #ways
end

function Greedy:eat(way)
    self.calls = self.calls + 1
    return ways[way]({})
end

function Greedy:probe()
    local sum, t = 0, {}
    for i = 1, 1000 do
        sum = sum + i
    end
    for i = 1, 100 do
        t[i] = i * 2
    end
    return sum + t[100] == 500700 and self.calls
end

return Greedy
