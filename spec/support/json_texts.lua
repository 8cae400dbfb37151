--- Texts that are JSON, nearly JSON, or not at all, for whoever has to tell: written by hand
-- where they are known to be taken by one reader or another, and made at random.
-- @module support.json_texts

local _M = {}

local NUMBERS = { "0", "-0", "1", "-1", "12", "0.5", "-0.5", "1e5", "1E5", "1e+5", "1e-5", "0e1",
    "0.0", "1.25e10", "1e400", "-1e400", "123456789012345678901234567890", "", "-", "+1", "01",
    "-01",
    "00", "1.", "-1.", "0.", ".5", "-.5", "-.", ".", "1.e2", "1.5.", "1..5", "1.2.3", "1e", "1e+",
    "1e-", "1E", "e5", "-e5", "1e5.", "1e.5", "1e5e5", "0x10", "-0x10", "0X1F", "0b1", "0o7", "1_0",
    "1,0", "1 2", "- 1", "-\t1", "--1", "1-", "1+1", "NaN", "nan", "-NaN", "-nan", "Infinity",
    "-Infinity", "infinity", "inf", "-inf", "+inf", "1f", "1d", "1L", "0x", "0x1p4", "1e5x", "1a",
    ("1"):rep(400), ("1"):rep(400) .. ".", "0." .. ("1"):rep(400), "1." .. "e" .. ("1"):rep(3) }

local STRINGS = { '""', '"a"', '"\\""', '"\\\\"', '"\\/"', '"\\b\\f\\n\\r\\t"', '"\\u0000"',
    '"\\u00e9"',
    '"\\uD83D\\uDE00"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\udc00"', '"\\ud800\\ud800"',
    '"\\ude00\\ud83d"',
    '"\\ud800\\u0041"', '"\\ud800x"', '"\\\\ud800"', '"\\\\\\ud800"', '"a.b"', '"1."', '"-.5"',
    '"\127"',
    '"\194\160"', '"\255"', "'a'", '"', '"a', 'a"', '"a\\"', '"\\x41"', "\"\\'\"", '"\\a"', '"\\0"',
    '"\\u"', '"\\u12"', '"\\u123"', '"\\u12g4"', '"\\U0041"', '"\\u 041"', '"\\u+041"',
    '"\\ud83d\\u"',
    '"\\ud83d\\ude0"', '"\\N"', '"\\', '"\\u004', '"a"b"', '""""' }

local OTHERS = { "null", "true", "false", "[]", "{}", "[1]", '{"a":1}', '{"a":1,"a":2}', "[[],{}]",
    " 1 ", "\t1\n", "\r\n[1]\r\n", "[ 1 , 2 ]", '{ "a" : 1 , "b" : [ ] }', '{"":1}', "[null]",
    " ", "\n", "nul", "nulll", "null ", "Null", "NULL", "TRUE", "tru", "truee", "True", "undefined",
    "[", "]", "{", "}", "[]]", "[[]", "{}}", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1]x",
    "[1][2]",
    "[1}", "{]", "{,}", '{"a"}', '{"a":}', '{"a":1,}', '{,"a":1}', '{"a" 1}', '{"a"::1}', "{a:1}",
    "{1:1}", "{'a':1}", '{"a":1 "b":2}', '{"a":1;"b":2}', '{"a":1,"b"}', "{null:1}", '{"a",1}',
    '["a":1]',
    "[1/**/]", "//\n1", "# 1", "1 // x", "\239\187\1911", "\239\187\191[]", "\0", "1\0", "[1\0]",
    "[1]\0",
    "\f1", "\v1", "1\f", "\194\1601", "[1\f]", "[\1]", "[1]\1", ";", ":", ",", "\\", "\\n", "\127",
    "[true false]", "[truefalse]", "[nullnull]", '["a""b"]', '[1"a"]', '["a"1]', "{}{}", '""1',
    "1[]" }

-- Every byte in a string, in a key, behind a backslash and between values.
local function add_bytes(add)
    for c = 0, 255 do
        local byte = string.char(c)
        add('"a' .. byte .. 'b"')
        add('{"' .. byte .. '":1}')
        add('"\\' .. byte .. '"')
        add("[1" .. byte .. "]")
    end
end

local value -- of the generator, below

local function pick(list)
    return list[math.random(#list)]
end

local function spaces()
    return math.random(6) == 1 and pick { " ", "\n", "\t", "\r", "  " } or ""
end

local PIECES = { "a", "Z", " ", "1.", "-.5", ".", "é", "\\n", "\\\"", "\\\\", "\\u00e9",
    "\\ud83d\\ude00", "/",
    "\\/", "\\ud800", "x.y", ":", ",", "[", "}" }

local function string_text()
    local list = {}
    for i = 1, math.random(0, 5) do
        list[i] = pick(PIECES)
    end
    return '"' .. table.concat(list) .. '"'
end

local function number_text()
    return pick { "", "-" } .. pick { "0", tostring(math.random(1, 99999)) }
        .. pick { "", "", "." .. math.random(0, 999) } .. pick { "", "", "e5", "E-7", "e+12" }
end

local function list_text(level, open, close, item)
    local list = {}
    for i = 1, math.random(0, 3) do
        list[i] = spaces() .. item(level + 1) .. spaces()
    end
    return open .. (#list == 0 and spaces() or table.concat(list, ",")) .. close
end

local function member(level)
    return string_text() .. spaces() .. ":" .. spaces() .. value(level)
end

function value(level)
    local kind = math.random(level > 4 and 3 or 5)
    if kind == 1 then
        return number_text()
    elseif kind == 2 then
        return string_text()
    elseif kind == 3 then
        return pick { "null", "true", "false" }
    elseif kind == 4 then
        return list_text(level, "[", "]", value)
    end
    return list_text(level, "{", "}", member)
end

local NOISE = { "0", "1", "9", ".", "-", "+", "e", "E", '"', "\\", "/", "u", "n", "{", "}", "[",
    "]", ":",
    ",", " ", "\t", "\n", "\r", "\1", "\31", "\0", "\127", "\200", "a", "N", "x", "d8", "\\u", "." }

-- A text with a byte or two more, less, or other.
local function mutated(text)
    for _ = 1, math.random(2) do
        local at, how = math.random(0, #text), math.random(3)
        if how == 1 then
            text = text:sub(1, at) .. pick(NOISE) .. text:sub(at + 1)
        elseif how == 2 then
            text = text:sub(1, at) .. text:sub(at + 2)
        else
            text = text:sub(1, at) .. pick(NOISE) .. text:sub(at + 2)
        end
    end
    return text
end

local DIGITS = { "0", "1", "9", ".", "-", "+", "e", "E" }

local function nearly_number()
    local list = {}
    for i = 1, math.random(1, 7) do
        list[i] = pick(DIGITS)
    end
    local text = table.concat(list)
    return pick { text, "[" .. text .. "]", '{"a":' .. text .. "}", "[1," .. text .. ",1]" }
end

--- All those that are written by hand, and `count` of each kind that is made.
-- @tparam number seed
-- @tparam number count
-- @treturn {string,...}
function _M.texts(seed, count)
    local list = {}
    local function add(text)
        list[#list + 1] = text
    end
    for _, number in ipairs(NUMBERS) do
        add(number)
        add("[" .. number .. "]")
        add('{"a":' .. number .. "}")
        add('["1.",' .. number .. ',"-.5"]')
    end
    for _, text in ipairs(STRINGS) do
        add(text)
        add("[" .. text .. ",1.5]")
        add("{" .. text .. ":1}")
    end
    for _, text in ipairs(OTHERS) do
        add(text)
    end
    add_bytes(add)
    math.randomseed(seed)
    for _ = 1, count do
        add(value(0))
        add(mutated(value(0)))
        add(nearly_number())
    end
    return list
end

return _M
