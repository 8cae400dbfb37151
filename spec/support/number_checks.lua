--- Checks of what writes JSON, as plain functions: numbers_spec.lua runs each as a test, in a lane
-- (whose writer is C), and the whole file in every other Lua that clients may have:
--
--     lua5.4 spec/support/number_checks.lua      prints how many passed, or raises
--
-- A check takes an encode function, which writes as lua-cjson does but for numbers.
-- @module support.number_checks

local _M = { WRITING = {}, READING = {} }

local math_type = rawget(math, "type")
local MAX_INTEGER, MIN_INTEGER = rawget(math, "maxinteger"), rawget(math, "mininteger")
local MAX_DEPTH = 20

-- A lua-cjson with the settings that encode has.
local function reference()
    local cjson = require("cjson").new()
    cjson.encode_max_depth(MAX_DEPTH)
    cjson.encode_invalid_numbers(false)
    return cjson
end

local cjson = reference()

local function show(value)
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

local function equal(expected, got, what)
    if expected ~= got then
        error(("%s: %s expected, got %s"):format(what or "value", show(expected), show(got)), 2)
    end
end

local function check(list, name, f)
    list[#list + 1] = name
    _M[name] = f
end

-- -- Random values, the same with each seed -------------------------------------------------

local LONG, SHORT = 1234567890123456, 12345.5 -- no digits of others

local function generator(seed)
    return function(below)
        seed = (seed * 16807) % 2147483647
        return seed % below
    end
end

local STRINGS = { "", "a", "two words", "/\\\"", "\0\1\31\127\128\255", "\8\9\10\12\13",
    "\195\164\226\130\172", ("long "):rep(30), "null", "1.5" }
local NUMBERS = { 0, 1, -1, 42, 0.5, -1234.25, 99999999999999, 3.14159, 1e13, 0.001, -0.0001 }
local HOLES = { { 1, 2, nil, 4 }, { [3] = true }, { [10] = "ten" }, { [2] = 1, [4] = 2, [5] = 3 } }

-- A value that lua-cjson writes without loss; where it takes `marker` it has that.
local function random_value(random, marker, depth)
    local kind = depth == 0 and 6 + random(3) or random(depth < 5 and 9 or 6)
    if kind == 0 then
        return marker
    elseif kind == 1 then
        return STRINGS[random(#STRINGS) + 1]
    elseif kind == 2 then
        return NUMBERS[random(#NUMBERS) + 1]
    elseif kind == 3 then
        return random(2) == 0
    elseif kind == 4 then
        return cjson.null
    elseif kind == 5 then
        return HOLES[random(#HOLES) + 1]
    end
    local t = {}
    for i = 1, 1 + random(6) do
        local key = i
        if kind == 6 then
            key = STRINGS[random(#STRINGS) + 1]
        elseif kind == 7 and random(3) == 0 then
            key = random(2) == 0 and random(9) - 20 or random(9) + 0.5
        end
        t[key] = random_value(random, marker, depth + 1)
    end
    return t
end

-- -- Writing --------------------------------------------------------------------------------

check(_M.WRITING, "is lua-cjson's text byte for byte but for long numbers", function(encode)
    local longs = 0
    for seed = 1, 600 do
        local should = cjson.encode { random_value(generator(seed), SHORT, 0), SHORT }
        local text = encode { random_value(generator(seed), LONG, 0), LONG }
        local count
        text, count = text:gsub(("%.0f"):format(LONG), tostring(SHORT))
        longs = longs + count
        equal(should, text, "seed " .. seed)
        equal(should, encode { random_value(generator(seed), SHORT, 0), SHORT }, "seed " .. seed)
    end
    equal(true, longs > 1200, "long numbers")
end)

check(_M.WRITING, "brings every number back, as a value and as a key", function(encode)
    local random = generator(7)
    local numbers = { 1234567890123456, 2 ^ 53, -2 ^ 53, 2 ^ 53 + 2, 2 ^ 60, 1e15, 1e16, 1e17, 1e22,
        1e23, 1e300, -1e-300, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 1 / 3, 2 / 3, 1e-5,
        9.5367431640625e-07, 123456789.123456789, 1e14, 99999999999999.9, 0.1, 1e-8, -0.5 }
    for _ = 1, 1000 do
        local n = random(2 ^ 31 - 1) / 2 ^ 31 + random(1000)
        numbers[#numbers + 1] = n * 10 ^ (random(40) - 20)
    end
    for _, n in ipairs(numbers) do
        local text = encode { n = n, [n] = "key" }
        local value, key = text:match('"n":([^,}]+)'), text:match('"([^n"]+)":"key"')
        equal(n, tonumber(value), value)
        equal(n, tonumber(key), key)
        equal(n, tonumber(encode { { { n } } }:match "%[%[%[(.*)%]%]%]"), text)
    end
    equal("[-0,0.1]", encode { tonumber "-0.0", 0.1 })
    equal("[-0,0.30000000000000004]", encode { tonumber "-0.0", 0.1 + 0.2 })
end)

check(_M.WRITING, "keeps integers of 64 bits where Lua has them", function(encode)
    if math_type then
        equal("[9223372036854775807,-9223372036854775808,9007199254740993]",
            encode { MAX_INTEGER, MIN_INTEGER, 9007199254740993 })
        equal('{"9223372036854775807":1}', encode { [MAX_INTEGER] = 1 })
    end
end)

check(_M.WRITING, "refuses what lua-cjson refuses, with its words", function(encode)
    local function nested(depth, inside)
        for _ = 2, depth do
            inside = { inside }
        end
        return inside
    end
    for i, bad in ipairs { { print }, { coroutine.create(function() end) }, { 0 / 0 }, { 1 / 0 },
        { [true] = 1 }, { [1] = 1, [99] = 2 }, { [print] = 1 }, { { { io.stdout } } },
        nested(MAX_DEPTH, {}), { [11] = 1 } } do
        local _, should = pcall(cjson.encode, { bad })
        local ok, err = pcall(encode, { bad })
        equal(false, ok, "bad " .. i)
        equal(should, err, "bad " .. i)
        ok, err = pcall(encode, { LONG, bad })
        equal(false, ok, "bad " .. i)
        equal(should, err, "bad " .. i)
    end
    equal(cjson.encode(nested(MAX_DEPTH, {})), encode(nested(MAX_DEPTH, {})))
    equal(MAX_DEPTH, select(2, encode(nested(MAX_DEPTH, { LONG })):gsub("%[", "")))
end)

check(_M.WRITING, "takes a table that is there twice for two, and a circle for too deep",
    function(encode)
        local shared = { LONG }
        equal("[[1234567890123456],[1234567890123456]]", encode { shared, shared })
        local circle = { LONG }
        circle[2] = circle
        local ok, err = pcall(encode, circle)
        equal(false, ok)
        equal("Cannot serialise, excessive nesting (21)", err)
    end)

check(_M.WRITING, "makes objects of indices that lua-cjson can't count", function(encode)
    equal('{"5000000000":1}', encode { [5000000000] = 1 })
    local text = encode { [5000000000] = 1, [3] = 2 }
    equal(true, text == '{"5000000000":1,"3":2}' or text == '{"3":2,"5000000000":1}', text)
end)

check(_M.WRITING, "ignores metatables, but for lua-cjson's marks", function(encode)
    local loud = setmetatable({ LONG }, { __index = error, __len = error, __pairs = error })
    equal("[1234567890123456]", encode(loud))
    if cjson.empty_array then
        local text = encode { LONG, cjson.empty_array, setmetatable({}, cjson.empty_array_mt),
            setmetatable({}, cjson.array_mt), setmetatable({ nil, 2 }, cjson.array_mt),
            setmetatable({ a = 1 }, cjson.empty_array_mt) }
        equal('[1234567890123456,[],[],[],[null,2],{"a":1}]', text)
    end
end)

check(_M.WRITING, "is right again after an error", function(encode)
    pcall(encode, { LONG, "left behind", print })
    equal('["x",1234567890123456]', encode { "x", LONG })
end)

-- -- Reading --------------------------------------------------------------------------------

local function codec()
    return require("dirty.values").new()
end

check(_M.READING, "takes numbers that are held, exactly", function()
    local values = codec()
    for _, text in ipairs { "[0,-1,42,9007199254740992]", "[1234567890123456]",
        '{"a":{"b":[9007199254740992,"9007199254740993"]}}', "[-0,0.1,0.30000000000000004]",
        "[9007199254740994]", "[1.7976931348623157e+308]", '["\\"[9007199254740993"]' } do
        local ok, value = values:from_json(text)
        equal(true, ok, text .. ": " .. tostring(value))
        local again = values:to_json(value)
        equal(text, again)
    end
    local ok, value = values:from_json " [ 1e2 , 12345678901234567890.5, 1e-999 ] "
    equal(true, ok)
    equal(100, value[1])
    equal(12345678901234567890.5, value[2])
    equal(0, value[3])
    equal(-1 / 0, 1 / select(2, values:from_json "-0"))
end)

check(_M.READING, "keeps integers of 64 bits where Lua has them", function()
    if not math_type then
        return
    end
    local values = codec()
    for _, text in ipairs { "9223372036854775807", "[9007199254740993]",
        '{"x":{"\\u0061 b":[[],{},"]",-9223372036854775808]}}' } do
        local ok, value = values:from_json(text)
        equal(true, ok, text .. ": " .. tostring(value))
        equal(text:gsub("\\u0061", "a"):gsub("%[%]", "{}"), (values:to_json(value)))
    end
    equal("integer", math_type(select(2, values:from_json "9223372036854775807")))
end)

check(_M.READING, "refuses the others and names their place", function()
    local values = codec()
    local long = math_type and "9223372036854775809" or "9007199254740993"
    for text, place in pairs {
        [long] = "it",
        ["-" .. long] = "it",
        ["[1, " .. long .. "]"] = "[2]",
        ['{"rows":[{},{"id":' .. long .. '}]}'] = ".rows[2].id",
        ['{"two words" : { "\\u0061" : [ ' .. long .. " ] } }"] = '["two words"].a[1]',
        ["[[1,2],[3],4," .. long .. "]"] = "[4]",
        ['{"a":{"b":1},"c":' .. long .. "}"] = ".c",
        ['["' .. long .. '", "\\\\", ' .. long .. "]"] = "[3]",
        ["1e999"] = "it", ["-1e999"] = "it", ["[[1e309]]"] = "[1][1]",
        ["[" .. ("9"):rep(400) .. "]"] = "[1]",
        ["100000000000000000000001"] = "it",
    } do
        local ok, err = values:from_json(text)
        equal(false, ok, text)
        equal(place .. " is ", err:sub(1, #place + 4), text)
        local told = err:find("which a Lua number can't hold: send it as a string", 1, true)
        equal(true, told ~= nil)
        equal(true, #err < 200)
    end
end)

-- -- A locale with another point ------------------------------------------------------------

--- Write and read after such a locale was set, which lua-cjson does not notice. Needs
-- LOCPATH with the locale.
-- @tparam string locale
function _M.other_point(locale)
    local values = codec()
    values:json() -- lua-cjson is loaded, and has seen the point
    if not os.setlocale(locale, "numeric") then
        error("there is no locale " .. locale)
    end
    equal("[1.5,0.30000000000000004]", values:to_json { 1.5, 0.1 + 0.2 })
    equal("[[0.25]]", values:to_json { { 0.25 } })
    equal("1.5", values:to_json(1.5))
    local ok, value = values:from_json "[1.5,-2.5e3]"
    equal(true, ok, tostring(value))
    equal(1.5, value[1])
    equal(-2500, value[2])
    ok, value = values:from_json "0.5"
    equal(true, ok, tostring(value))
    equal(0.5, value)
    os.setlocale("C", "numeric")
    equal("[1.5]", values:to_json { 1.5 })
    ok, value = values:from_json "[1.5]"
    equal(true, ok, tostring(value))
    equal(1.5, value[1])
end

--- Run all of WRITING.
-- @treturn number how many
function _M.write(encode)
    for _, name in ipairs(_M.WRITING) do
        local ok, err = pcall(_M[name], encode)
        if not ok then
            error(name .. ": " .. tostring(err), 0)
        end
    end
    return #_M.WRITING
end

--- The writer of this Lua, with MAX_DEPTH.
function _M.encoder()
    return require("dirty.json").new(MAX_DEPTH).encode
end

_M.MAX_DEPTH = MAX_DEPTH

if arg and arg[0] and arg[0]:find("number_checks.lua$") then
    local count = _M.write(_M.encoder())
    for _, name in ipairs(_M.READING) do
        _M[name]()
        count = count + 1
    end
    for i = 1, #arg do
        _M.other_point(arg[i])
        count = count + 1
    end
    print(count .. " passed")
end

return _M
