--- What the text of 1,000 rows costs, against lua-cjson's own encode, which rounds numbers.
--
--     luajit bench/json.lua                     the writer for clients (or lua5.1, lua5.4)
--     dirty serve --app bench.json & dirty call --string bench.json run    that of a lane
--
-- Medians of ROUNDS, in microseconds.
-- @module bench.json

if not pcall(require, "dirty.json") then
    package.path = "./lua/?.lua;" .. package.path
end

local ROUNDS, SECONDS = 7, 0.05

local function rows(id, price)
    local list = {}
    for i = 1, 1000 do
        list[i] = { id = id + i, name = "customer " .. i, price = price(i), paid = i % 2 == 0 }
    end
    return list
end

local function cents(i)
    return i * 37 % 10000 / 100
end

local function measured(i)
    return (i * 16807 % 2147483647) / 2147483647 * 1000
end

local TABLES = {
    { "small ids, prices", rows(0, cents) },
    { "ids of 16 digits, prices", rows(1234567890120000, cents) },
    { "small ids, measured numbers", rows(0, measured) },
    { "ids of 16 digits, measured numbers", rows(1234567890120000, measured) },
}

local function time(f, value)
    local count, start = 0, os.clock()
    repeat
        f(value)
        count = count + 1
        local now = os.clock()
    until now - start > SECONDS
    return (os.clock() - start) / count * 1e6
end

-- Both by turns.
local function compare(a, b, value)
    local of_a, of_b = {}, {}
    for i = 1, ROUNDS do
        of_a[i], of_b[i] = time(a, value), time(b, value)
    end
    table.sort(of_a)
    table.sort(of_b)
    return of_a[(ROUNDS + 1) / 2], of_b[(ROUNDS + 1) / 2]
end

local function report(encode)
    local cjson = require("cjson").new()
    local out = { ("%-36s %9s %6s %6s"):format("", "lua-cjson", "ours", "ratio") }
    for _, t in ipairs(TABLES) do
        local before, after = compare(cjson.encode, encode, t[2])
        out[#out + 1] = ("%-36s %9.0f %6.0f %6.2f"):format(t[1], before, after, after / before)
    end
    return table.concat(out, "\n")
end

if package.loaded["dirty.host"] then
    local Json = require("dirty").app { timeout = 60 }

    --- The table of the lane's writer.
    function Json:run()
        return report(require("dirty.lane").encode)
    end

    return Json
end

print(report(require("dirty.json").new().encode))
