--- Writes JSON with every number exact, in pure Lua. Lanes do the same in C
-- (runtime/worker/lua_json.c).
--
-- lua-cjson writes numbers with 14 digits, so 1234567890123456 and 0.1 + 0.2 would change, and it
-- has no hook for numbers. So this module looks through a value first. If lua-cjson can write all
-- its numbers, lua-cjson writes it. Otherwise the writer here does, with lua-cjson's rules and
-- error messages. One rule differs: a table with an index over 2^31 - 1, which lua-cjson can't
-- count, is an object.
--
-- If a program sets a locale with another decimal point after lua-cjson was loaded, lua-cjson
-- writes that point. The writer here does not.
-- @module dirty.json_exact

-- Taken at load: apps may change the globals and the strings' metatable later.
local error, getmetatable, next, pcall = error, getmetatable, next, pcall
local rawequal, rawget, tonumber = rawequal, rawget, tonumber
local jit = rawget(_G, "jit")
local tostring, type = tostring, type
local byte, find, format, gsub, match = string.byte, string.find, string.format,
    string.gsub, string.match
local concat = table.concat
local floor, huge = math.floor, math.huge

local _M = {}

-- In Lua 5.3 and later, where numbers are integers or floats.
local math_type = rawget(math, "type")

local rawlen = rawget(_G, "rawlen") or function(t) -- in Lua 5.1 # is raw
    return #t
end

local SHORT_MAX = 1e14 -- whole numbers below it have 14 digits
local INDEX_MAX = 2147483647

-- lua-cjson's default limits for arrays with holes. An array whose highest index is over SAFE may
-- not have more than RATIO places per element.
local SPARSE_RATIO, SPARSE_SAFE = 2, 10

local ESCAPES = {
    ["\b"] = "\\b", ["\t"] = "\\t", ["\n"] = "\\n", ["\f"] = "\\f", ["\r"] = "\\r",
    ['"'] = '\\"', ["\\"] = "\\\\", ["/"] = "\\/", ["\127"] = "\\u007f",
}
for code = 0, 31 do
    local c = string.char(code)
    ESCAPES[c] = ESCAPES[c] or format("\\u%04x", code)
end
local LOOP_MAX = 64 -- strings up to this length are checked byte by byte
local ESCAPED = '[%z\1-\31"\\/\127]'

-- The shortest first. 17 digits give every double back.
local FORMATS = { "%.15g", "%.16g", "%.17g" }

-- -- Numbers ------------------------------------------------------------------------------

-- Replace the locale's decimal point, which may have several bytes.
local function with_point(text)
    return find(text, ".", 1, true) and text or (gsub(text, "[^%d%-+e]+", "."))
end

--- Make the JSON text of a number, with the fewest digits that give it back.
-- @tparam number n
-- @treturn string|nil nil for NaN and infinities
function _M.number(n)
    if math_type and math_type(n) == "integer" then
        return tostring(n)
    elseif n ~= n or n == huge or n == -huge then
        return nil
    elseif n % 1 == 0 and n > -1e16 and n < 1e16 then
        return (n ~= 0 or 1 / n > 0) and format("%d", n) or "-0"
    end
    local text
    for i = 1, #FORMATS do
        text = format(FORMATS[i], n)
        if tonumber(text) == n then
            break
        end
    end
    return with_point(text)
end

--- Read a number in JSON's syntax, whatever the locale's decimal point is.
-- @tparam string text
-- @treturn number|nil
function _M.read(text)
    local n = tonumber(text)
    if n or not find(text, ".", 1, true) then
        return n
    end
    local point = match(format("%.1f", 0.5), "^0(.+)5$") or "."
    return tonumber((gsub(text, "%.", point)))
end

-- What lua-cjson can write of a value.
local WHOLE, SHORT, LONG = 0, 1, 2 -- all, all if the locale's point is ".", not all

local function look_number(n)
    if n % 1 == 0 then
        return n > -SHORT_MAX and n < SHORT_MAX and WHOLE or LONG
    elseif floor(n * 1e4 + 0.5) / 1e4 == n and n > -1e10 and n < 1e10 then
        return SHORT -- a decimal of at most 14 digits gives it back
    end
    return tonumber(format("%.14g", n)) == n and SHORT or LONG
end

-- -- Looking through a value -----------------------------------------------------------------

-- Find what lua-cjson can write of a value. Tables that are too deep go to lua-cjson, which refuses
-- them.
local function look(value, depth, self)
    local kind = type(value)
    if kind == "number" then
        return look_number(value)
    elseif kind == "userdata" then -- newer versions write nothing for unknown ones
        return (value == self.null or value == self.empty_array) and WHOLE or LONG
    elseif kind ~= "table" or depth >= self.max_depth then
        return WHOLE
    end
    local worst = WHOLE
    for key, element in next, value do
        local found = type(key) == "number" and (key > INDEX_MAX and LONG or look_number(key))
            or WHOLE
        local below = look(element, depth + 1, self)
        found = below > found and below or found
        if found == LONG then
            return LONG
        end
        worst = found > worst and found or worst
    end
    return worst
end

-- -- Writing ---------------------------------------------------------------------------------

local function refuse(value, reason)
    error(format("Cannot serialise %s: %s", type(value), reason), 0)
end

local function number_text(n)
    return _M.number(n) or refuse(n, "must not be NaN or Inf")
end

-- Whether a string has bytes to escape. LuaJIT does not compile patterns: one here would end the
-- compiled code around it.
local function has_escapes(s)
    if not jit or #s > LOOP_MAX then
        return find(s, ESCAPED)
    end
    for i = 1, #s do
        local c = byte(s, i)
        if c < 32 or c == 34 or c == 47 or c == 92 or c == 127 then
            return true
        end
    end
end

local function string_text(s)
    if has_escapes(s) then
        s = gsub(s, ESCAPED, ESCAPES)
    end
    return '"' .. s .. '"'
end

local function key_text(key)
    local kind = type(key)
    if kind == "string" then
        return string_text(key)
    elseif kind == "number" then
        return '"' .. number_text(key) .. '"'
    end
    refuse(key, "table key must be a number or string")
end

-- The highest index of an array; 0 if it is empty, nil if it is an object.
local function array_length(t)
    local count, highest = 0, 0
    for key in next, t do
        if type(key) ~= "number" or key < 1 or key > INDEX_MAX or key ~= floor(key) then
            return nil
        end
        count, highest = count + 1, key > highest and key or highest
    end
    if highest > SPARSE_SAFE and highest > count * SPARSE_RATIO then
        refuse(t, "excessively sparse array")
    end
    return highest
end

-- Whether a table has this metatable. Older versions of lua-cjson don't have the metatable.
local function is_marked(t, mt)
    return mt ~= nil and rawequal(getmetatable(t), mt)
end

-- Each function below writes its pieces after out[at] and returns the last index.
local put

local function put_array(out, at, t, length, depth, self)
    at = at + 1
    out[at] = "["
    for i = 1, length do
        if i > 1 then
            at = at + 1
            out[at] = ","
        end
        at = put(out, at, rawget(t, i), depth, self)
    end
    out[at + 1] = "]"
    return at + 1
end

-- Keep the text before a value: { and the first key, or a comma and another key. Rows of a list
-- have the same keys.
local function keep(texts, before, key)
    local text = before .. key_text(key) .. ":"
    texts[key] = text
    return text
end

local function put_object(out, at, t, depth, self)
    local key, value = next(t)
    if key == nil then
        out[at + 1] = "{}"
        return at + 1
    end
    out[at + 1] = self.first[key] or keep(self.first, "{", key)
    at = put(out, at + 1, value, depth, self)
    local others = self.others
    for other, element in next, t, key do
        out[at + 1] = others[other] or keep(others, ",", other)
        at = put(out, at + 1, element, depth, self)
    end
    out[at + 1] = "}"
    return at + 1
end

local function put_table(out, at, t, depth, self)
    if depth > self.max_depth then
        error(format("Cannot serialise, excessive nesting (%d)", depth), 0)
    elseif is_marked(t, self.array_mt) then
        return put_array(out, at, t, rawlen(t), depth, self)
    end
    local length = array_length(t)
    if length and (length > 0 or is_marked(t, self.empty_array_mt)) then
        return put_array(out, at, t, length, depth, self)
    end
    return put_object(out, at, t, depth, self)
end

-- The text for a userdata: null, or an empty array.
local function userdata_text(value, self)
    return value == self.null and "null" or value == self.empty_array and "[]"
        or refuse(value, "type not supported")
end

-- Write a value that is inside of `depth` tables.
function put(out, at, value, depth, self)
    local kind, text = type(value)
    if kind == "string" then
        text = string_text(value)
    elseif kind == "number" then
        text = number_text(value)
    elseif kind == "table" then
        return put_table(out, at, value, depth + 1, self)
    elseif kind == "boolean" then
        text = value and "true" or "false"
    elseif kind == "nil" then
        text = "null"
    elseif kind == "userdata" then
        text = userdata_text(value, self)
    else
        refuse(value, "type not supported")
    end
    out[at + 1] = text
    return at + 1
end

--- Make an encode function.
-- @tparam table cjson an instance of lua-cjson, with its usual settings but max_depth
-- @tparam number max_depth how deep tables may nest
-- @treturn function (value) → text; raises with lua-cjson's messages what it can't write
function _M.encoder(cjson, max_depth)
    local encode = cjson.encode
    local self = {
        max_depth = max_depth, null = cjson.null, empty_array = cjson.empty_array,
        array_mt = cjson.array_mt, empty_array_mt = cjson.empty_array_mt,
    }
    return function(value)
        local found = look(value, 0, self)
        if found == WHOLE or found == SHORT and encode(0.5) == "0.5" then
            local ok, text = pcall(encode, value) -- else our position precedes the message
            return ok and text or error(text, 0)
        end
        local out = {}
        self.first, self.others = {}, {}
        put(out, 0, value, 0, self)
        self.first, self.others = nil, nil
        return concat(out)
    end
end

return _M
