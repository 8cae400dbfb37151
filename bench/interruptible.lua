--- What it costs that calls can be interrupted: compiled code with LuaJIT's profiler on, as
-- workers have it, against the same code without (`interruptible = false`).
--
--     luajit bench/interruptible.lua [ROUNDS]
--
-- Every program runs in a process of its own, on and off by turns; medians are compared.

local ffi = require "ffi"

local PROFILE = "li1000000000" -- runtime/worker/interrupt.c

local programs = {}

programs["sums"] = function()
    local sum = 0
    for i = 1, 4e8 do
        sum = sum + i % 7
    end
    return sum
end

programs["sieve"] = function()
    local count
    for _ = 1, 30 do
        local composite = {}
        count = 0
        for i = 2, 1e6 do
            if not composite[i] then
                count = count + 1
                for k = i * i, 1e6, i do
                    composite[k] = true
                end
            end
        end
    end
    return count
end

local function bodies()
    local list = {}
    for i = 1, 5 do
        list[i] = { x = i, y = i * 1.3, z = i * 0.7, vx = 0, vy = 0.1 * i, vz = 0, mass = 1 / i }
    end
    return list
end

local function attract(a, b, dt)
    local dx, dy, dz = a.x - b.x, a.y - b.y, a.z - b.z
    local d2 = dx * dx + dy * dy + dz * dz
    local f = dt / (d2 * math.sqrt(d2))
    a.vx, b.vx = a.vx - dx * b.mass * f, b.vx + dx * a.mass * f
    a.vy, b.vy = a.vy - dy * b.mass * f, b.vy + dy * a.mass * f
    a.vz, b.vz = a.vz - dz * b.mass * f, b.vz + dz * a.mass * f
end

programs["n bodies"] = function()
    local list = bodies()
    for _ = 1, 3e6 do
        for i = 1, 5 do
            local a = list[i]
            for k = i + 1, 5 do
                attract(a, list[k], 0.01)
            end
        end
        for i = 1, 5 do
            local a = list[i]
            a.x = a.x + 0.01 * a.vx
            a.y = a.y + 0.01 * a.vy
            a.z = a.z + 0.01 * a.vz
        end
    end
    return list[1].x
end

-- A pixel a round, as image code in FFI does.
programs["tight FFI loop"] = function()
    local pixels, sum = ffi.new("uint8_t[65536]"), 0
    for _ = 1, 8000 do
        for i = 0, 65535 do
            local v = pixels[i] + 3
            pixels[i] = v
            sum = sum + v
        end
    end
    return sum
end

programs["strings"] = function()
    local sum = 0
    for i = 1, 6e6 do
        sum = sum + #(i .. ":" .. i % 10)
    end
    return sum
end

programs["tables"] = function()
    local sum = 0
    for i = 1, 3e6 do
        local t = { i, i + 1, { n = i } }
        sum = sum + t[3].n + #t
    end
    return sum
end

programs["recursion"] = function()
    local function fib(n)
        return n < 2 and n or fib(n - 1) + fib(n - 2)
    end
    return fib(38)
end

programs["gsub and sort"] = function()
    local sum = 0
    for i = 1, 300 do
        local list = {}
        for k = 1, 3000 do
            list[k] = (k * 7919 + i) % 10007
        end
        table.sort(list, function(a, b) return a > b end)
        sum = sum + #(("abc123"):rep(200):gsub("%d", function(d) return d + 1 end)) + list[1]
    end
    return sum
end

local ORDER = { "sums", "sieve", "n bodies", "tight FFI loop", "strings", "tables", "recursion",
    "gsub and sort" }

-- In a process of its own: run one and print its seconds of CPU.
local function run(name, is_on)
    if is_on then
        require("jit.profile").start(PROFILE, function() end)
    end
    local began = os.clock()
    programs[name]()
    print(os.clock() - began)
end

local function measure(name, mode)
    local pipe = assert(io.popen(("%s %s run '%s' %s"):format(arg[-1], arg[0], name, mode)))
    local seconds = tonumber(pipe:read("*l"))
    pipe:close()
    return assert(seconds, name .. " did not run")
end

local function median(list)
    table.sort(list)
    return list[math.ceil(#list / 2)]
end

local function compare(rounds)
    print(("%-16s %8s %14s %8s"):format("", "off s", "interruptible", "cost"))
    for _, name in ipairs(ORDER) do
        local on, off = {}, {}
        for i = 1, rounds do
            off[i] = measure(name, "off")
            on[i] = measure(name, "on")
        end
        local a, b = median(off), median(on)
        print(("%-16s %8.2f %14.2f %+7.0f %%"):format(name, a, b, (b / a - 1) * 100))
    end
end

if arg[1] == "run" then
    run(arg[2], arg[3] == "on")
else
    compare(tonumber(arg[1]) or 7)
end
