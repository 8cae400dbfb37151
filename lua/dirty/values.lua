--- Encodes Lua values for the wire and decodes them. A value on the wire is a text with a tag:
-- `b` for the bytes of a string, `j` for the JSON text of anything else. Scalars need no JSON
-- library: lua-cjson is loaded for the first table. Numbers are exact, inside tables too.
-- @module dirty.values

local exact = require "dirty.json_exact"
local fit = require "dirty.json_fit"
local flaw = require "dirty.json_flaw"
local json = require "dirty.json"

-- Taken at load: apps may change the globals and the strings' metatable later.
local ipairs, next, pcall = ipairs, next, pcall
local setmetatable = setmetatable
local tostring, type = tostring, type
local find, format, gsub, match = string.find, string.format, string.gsub, string.match
local rep, sub, concat = string.rep, string.sub, table.concat

local _M = {}
local mt = { __index = _M }

-- In Lua 5.3 and later, where numbers are integers or floats.
local math_type, to_integer = rawget(math, "type"), rawget(math, "tointeger")
local EXACT = 2 ^ 53 -- all whole numbers up to here are doubles

-- JSON words that need no library. The longest number with 17 digits has 24 bytes.
local LITERALS = {
    null = function() return nil end,
    ["true"] = function() return true end,
    ["false"] = function() return false end,
}
local SCALAR_MAX = 64
local DIGITS_FIT = 15 -- all whole numbers with that many digits are doubles

--- Make a codec.
-- @tparam[opt=1000] number max_depth how deep tables and JSON may nest
-- @treturn table
function _M.new(max_depth)
    return setmetatable({ _max_depth = max_depth }, mt)
end

--- Get the JSON instance of this codec.
-- @treturn table|nil
-- @treturn nil|string why there is none
function _M:json()
    if not self._json then
        local instance, err = json.new(self._max_depth)
        if not instance then
            return nil, err
        end
        self._json = instance
    end
    return self._json
end

local function number_text(n)
    local text = exact.number(n)
    if not text then
        return nil, "is " .. tostring(n) .. ", which JSON can't express"
    end
    return text
end

--- Make the JSON text of a value that is not a string.
-- @param value a table, number, boolean, nil or `dirty.null`
-- @treturn string|nil
-- @treturn nil|string what is wrong, to follow the value's name: "is a function, …"
function _M:to_json(value)
    local kind = type(value)
    if kind == "nil" or kind == "boolean" then
        return kind == "nil" and "null" or tostring(value)
    elseif kind == "number" then
        return number_text(value)
    elseif kind ~= "table" and kind ~= "userdata" then
        return nil, "is a " .. kind
            .. ": strings, numbers, booleans, nil and tables can be sent"
    end
    local instance, err = self:json()
    if not instance then
        return nil, "is a " .. kind .. ": " .. err
    end
    local ok, text = pcall(instance.encode, value)
    if not ok then
        return nil, "can't be sent as JSON: " .. tostring(text)
    end
    return text
end

--- Encode a list in place.
-- @tparam table list its values 1…count are replaced by their texts
-- @tparam number count number of values, including nils
-- @treturn string|nil the tags, a letter for each value; "" if all are bytes
-- @treturn nil|string what is wrong: "#2 is a function: …"
function _M:encode(list, count)
    local letters
    for i = 1, count do
        local value = list[i]
        if type(value) ~= "string" then
            local text, err = self:to_json(value)
            if not text then
                return nil, format("#%d %s", i, err)
            end
            letters = letters or { rep("b", i - 1) }
            letters[#letters + 1] = "j"
            list[i] = text
        elseif letters then
            letters[#letters + 1] = "b"
        end
    end
    return letters and concat(letters) or ""
end

-- Read a number in JSON's syntax. Lua's tonumber accepts more.
local function json_number(word)
    local rest = match(word, "^-?0(.*)$") or match(word, "^-?[1-9]%d*(.*)$")
    if not rest then
        return nil
    end
    rest = gsub(gsub(rest, "^%.%d+", ""), "^[eE][+-]?%d+", "")
    return rest == "" and exact.read(word) or nil
end

-- Check a number that stands alone. Returns true and its value, or false and what is wrong.
local function take_number(word, n)
    if word == "-0" then
        return true, exact.read("-0.0")
    elseif #word <= DIGITS_FIT and find(word, "^-?%d+$") then
        return true, n
    end
    local fits, whole = fit.fits(word)
    if not fits then
        return false, fit.words("", word), true
    end
    return true, whole or n
end

-- Find where a text that begins like a number stops being one, and what JSON expects there.
local function number_flaw(text)
    local at = match(text, "^[ \t\r\n]*-?()")
    local stop = match(text, "^0()", at) or match(text, "^%d+()", at)
    if not stop then
        return at, "a digit"
    end
    for _, part in ipairs { "^%.()", "^[eE][+-]?()" } do
        at = match(text, part, stop)
        stop = at and match(text, "^%d+()", at) or not at and stop
        if not stop then
            return at, "a digit"
        end
    end
    return match(text, "^[ \t\r\n]*()", stop), "the end"
end

-- Make whole numbers integers, in place: older versions of lua-cjson decode every number as a
-- float. -0 stays a float, because there is no integer -0.
local function with_integers(value)
    if math_type(value) == "float" then
        local is_whole = value >= -EXACT and value <= EXACT and (value ~= 0 or 1 / value > 0)
        return is_whole and to_integer(value) or value
    elseif type(value) == "table" then
        for key, element in next, value do
            value[key] = with_integers(element)
        end
    end
    return value
end

local function finish(value, null)
    if value == null then
        return nil
    elseif math_type then
        return with_integers(value)
    end
    return value
end

--- Decode a JSON text. A top-level null is nil, a nested one `dirty.null`. Refuses numbers that
-- Lua can't hold: whole numbers that are not exact as a double (in Lua 5.4 as an integer), and
-- numbers that are too large.
-- @tparam string text
-- @tparam[opt] boolean is_checked the text is known to be JSON
-- @treturn boolean true, then the value; or false, then what is wrong and where
-- @return the value, or the message; then true if it is JSON but a number does not fit
function _M:from_json(text, is_checked)
    local literal = LITERALS[text] -- the usual case, without spaces
    if literal then
        return true, literal()
    end
    local word = #text <= SCALAR_MAX and match(text, "^[ \t\r\n]*(.-)[ \t\r\n]*$")
    if word and LITERALS[word] ~= nil then
        return true, LITERALS[word]()
    end
    local number = word and json_number(word)
    if number then
        return take_number(word, number)
    elseif word and find(word, "^[-%d]") then
        return false, "it is not JSON: " .. flaw.words(text, number_flaw(text))
    end
    local instance, err = self:json()
    if not instance then
        return false, err
    end
    local ok, value = json.decode(instance, text, is_checked)
    if not ok then
        return false, "it is not JSON: " .. value
    elseif fit.is_doubtful(value) then
        err, value = fit.check(text, value, instance.decode)
        if err then
            return false, err, true
        end
    end
    return true, finish(value, instance.null)
end

--- Decode a list from libdirty, in place. libdirty has checked that the JSON texts are JSON.
-- @tparam string tags
-- @tparam table list the texts 1…count, replaced by their values
-- @tparam number count
-- @treturn boolean|nil true
-- @treturn nil|string what is wrong: "value 2: it is not JSON: …"
function _M:decode(tags, list, count)
    for i = 1, count do
        if sub(tags, i, i) == "j" then
            local ok, value = self:from_json(list[i], true)
            if not ok then
                return nil, format("value %d: %s", i, value)
            end
            list[i] = value
        end
    end
    return true
end

return _M
