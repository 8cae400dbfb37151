--- JSON as the wire wants it, RFC 8259: lua-cjson, set up the same way everywhere, and a look
-- for what it takes beyond that. The C runtime has its own (runtime/wire/json.h); both refuse the
-- same texts.
-- Instances are made by `cjson.new()`, so nobody's settings change ours or ours theirs.
-- For every Lua from 5.1 on; lua-cjson is loaded when it is first needed.
-- @module dirty.json

-- Taken at load: apps may change the globals later.
local ipairs, pcall, require, tostring = ipairs, pcall, require, tostring
local byte, find, format, gsub = string.byte, string.find, string.format, string.gsub
local match, sub, concat = string.match, string.sub, table.concat

local _M = {}

--- The default limit of nesting.
_M.MAX_DEPTH = 1000

-- The most digits first: OpenResty's branch of lua-cjson takes 16, others 14.
local PRECISIONS = { 17, 16, 14 }

-- What lua-cjson calls what it has found.
local TOKENS = {
    T_OBJ_BEGIN = "'{'", T_OBJ_END = "'}'", T_ARR_BEGIN = "'['", T_ARR_END = "']'",
    T_STRING = "a string", T_NUMBER = "a number", T_BOOLEAN = "true or false",
    T_NULL = "null", T_COLON = "':'", T_COMMA = "','", T_END = "the end",
    T_WHITESPACE = "a space", T_ERROR = "an error", T_UNKNOWN = "something else",
}

--- An error of lua-cjson's decode in plain words.
-- @param err what it raised
-- @treturn string
function _M.plain(err)
    return (gsub(tostring(err), "T_[A-Z_]+", TOKENS))
end

--- Load lua-cjson.
-- @treturn table|nil the module
-- @treturn nil|string what is missing and what helps
function _M.load()
    local ok, cjson = pcall(require, "cjson")
    if not ok then
        return nil, "tables travel as JSON, and the Lua module cjson can't be loaded "
            .. "(install lua-cjson)"
    end
    return cjson
end

-- -- What lua-cjson takes beyond JSON -------------------------------------------------------

local QUOTE, BACKSLASH, DELETE, MINUS, ZERO, NINE = 34, 92, 127, 45, 48, 57

local function is_digit(c)
    return c ~= nil and c >= ZERO and c <= NINE
end

-- Where a digit is missing beside the point at `dot`, if it is a number's.
local function missing_digit(text, dot)
    local before, behind = byte(text, dot - 1), byte(text, dot + 1)
    if before == MINUS then
        return dot
    elseif is_digit(before) and not is_digit(behind) then
        return dot + 1
    end
end

-- Whether there is anything to look for: a control character, or a point that no number has so.
-- Texts that our own side has written have none, so this is all that most of them cost.
local function is_suspicious(text)
    if match(text, "^%C*()") <= #text then
        return true
    end
    local dot = find(text, ".", 1, true)
    while dot do
        if missing_digit(text, dot) then
            return true
        end
        dot = find(text, ".", dot + 1, true)
    end
    return false
end

-- From behind the opening quote: behind the closing one; or nil and where a control character is.
local function skip_string(text, at)
    while true do
        local stop = find(text, '["\\%c]', at)
        local c = byte(text, stop)
        if c == QUOTE then
            return stop + 1
        elseif c ~= BACKSLASH and c ~= DELETE then
            return nil, stop
        end
        at = stop + (c == BACKSLASH and 2 or 1)
    end
end

-- The first byte that JSON does not have there, in a text that lua-cjson takes; and what it has.
local function find_flaw(text)
    local at, dot = 1, find(text, ".", 1, true)
    while true do
        local quote = find(text, '"', at, true)
        while dot and dot < (quote or dot + 1) do
            local place = dot >= at and missing_digit(text, dot)
            if place then
                return place, "a digit"
            end
            dot = find(text, ".", dot + 1, true)
        end
        if not quote then
            return nil
        end
        local control
        at, control = skip_string(text, quote + 1)
        if not at then
            return control, "the rest of a string"
        end
    end
end

-- In the words that the C side has, too.
local function flaw_words(text, at, expected)
    local c = byte(text, at)
    local found = "the end"
    if c == QUOTE then
        found = "a string"
    elseif is_digit(c) or c == MINUS then
        found = "a number"
    elseif c then
        found = format(c > 32 and c < DELETE and "'%c'" or "the byte 0x%02x", c)
    end
    return format("Expected %s but found %s at character %d", expected, found, at)
end
_M.flaw_words = flaw_words

-- -- Halves of surrogate pairs, which lua-cjson does not take --------------------------------

local HIGH, LOW, ANY = "^\\u[dD][89aAbB]%x%x", "^\\u[dD][c-fC-F]%x%x", "^\\u[dD][89a-fA-F]%x%x"

-- The text with the replacement character in the place of each \ud800 that is alone.
local function mended(text)
    local pieces, from = {}, 1
    local at = find(text, "\\", 1, true)
    while at do
        local step = 2
        if find(text, HIGH, at) and find(text, LOW, at + 6) then
            step = 12
        elseif find(text, ANY, at) then
            pieces[#pieces + 1] = sub(text, from, at - 1) .. "\\ufffd"
            from, step = at + 6, 6
        end
        at = find(text, "\\", at + step, true)
    end
    return from > 1 and concat(pieces) .. sub(text, from) or text
end

--- Read a JSON text: what RFC 8259 has, and nothing else.
-- @tparam table instance of `new`
-- @tparam string text
-- @tparam[opt] boolean is_checked whether somebody has told already that it is JSON
-- @treturn boolean true, then the value; or false, then what is wrong and where
function _M.decode(instance, text, is_checked)
    local nul = find(text, "\0", 1, true) -- where lua-cjson would just stop
    if nul then
        return false, flaw_words(text, nul, "JSON")
    end
    local ok, value = pcall(instance.decode, text)
    local fixed = not ok and mended(text) or text
    if fixed ~= text then
        ok, value = pcall(instance.decode, fixed)
    end
    if not ok then
        return false, _M.plain(value)
    elseif not is_checked and is_suspicious(text) then
        local at, expected = find_flaw(text)
        if at then
            return false, flaw_words(text, at, expected)
        end
    end
    return true, value
end

-- -- Instances --------------------------------------------------------------------------------

--- Make an instance: NaN and infinities are refused both ways, a table is an array only if
-- it is dense from 1 on, an empty table is `{}`, and numbers in it get the most digits the
-- installed lua-cjson has. Bytes that are no UTF-8 pass as they are.
-- @tparam[opt=1000] number max_depth how deep tables and JSON may nest
-- @treturn table|nil a cjson instance, its `encode` and `decode` raise
-- @treturn nil|string why there is none
function _M.new(max_depth)
    local cjson, err = _M.load()
    if not cjson then
        return nil, err
    end
    local json = cjson.new()
    json.encode_max_depth(max_depth or _M.MAX_DEPTH)
    json.decode_max_depth(max_depth or _M.MAX_DEPTH)
    json.encode_invalid_numbers(false)
    json.decode_invalid_numbers(false)
    for _, digits in ipairs(PRECISIONS) do
        if pcall(json.encode_number_precision, digits) then
            break
        end
    end
    return json
end

return _M
