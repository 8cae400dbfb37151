--- JSON of the wire, RFC 8259. lua-cjson reads it, with the same settings everywhere, and this
-- module refuses what lua-cjson accepts beyond the RFC. The C runtime has its own check
-- (runtime/wire/json.h); both refuse the same texts.
--
-- Instances come from `cjson.new()`, so settings of other code don't affect ours, nor ours theirs.
-- dirty.json_exact writes what lua-cjson can't write exactly. For every Lua from 5.1 on.
-- lua-cjson is loaded on first use.
-- @module dirty.json

local exact = require "dirty.json_exact"
local flaw = require "dirty.json_flaw"

-- Taken at load: apps may change the globals later.
local error, pcall, require, tostring = error, pcall, require, tostring
local find, gsub, sub, concat = string.find, string.gsub, string.sub, table.concat

local _M = {}

--- The default limit of nesting.
_M.MAX_DEPTH = 1000

-- lua-cjson's names of tokens, in plain words.
local TOKENS = {
    T_OBJ_BEGIN = "'{'", T_OBJ_END = "'}'", T_ARR_BEGIN = "'['", T_ARR_END = "']'",
    T_STRING = "a string", T_NUMBER = "a number", T_BOOLEAN = "true or false",
    T_NULL = "null", T_COLON = "':'", T_COMMA = "','", T_END = "the end",
    T_WHITESPACE = "a space", T_ERROR = "an error", T_UNKNOWN = "something else",
}

--- Rewrite an error message of lua-cjson's decode in plain words.
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
        return nil, "tables are sent as JSON, but the Lua module cjson can't be loaded "
            .. "(OpenResty has it; Debian: lua-cjson; else the rock lua-cjson, which is C)"
    end
    return cjson
end

-- -- Lone surrogates, which lua-cjson refuses ------------------------------------------------

local HIGH, LOW, ANY = "^\\u[dD][89aAbB]%x%x", "^\\u[dD][c-fC-F]%x%x", "^\\u[dD][89a-fA-F]%x%x"

-- Replace each lone surrogate, as \ud800, by the replacement character.
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

--- Decode a JSON text. Accepts RFC 8259 and nothing else.
-- @tparam table instance of `new`
-- @tparam string text
-- @tparam[opt] boolean is_checked the text is known to be JSON
-- @treturn boolean true, then the value; or false, then what is wrong and where
function _M.decode(instance, text, is_checked)
    local nul = find(text, "\0", 1, true) -- lua-cjson would stop there without an error
    if nul then
        return false, flaw.words(text, nul, "JSON")
    end
    local ok, value = pcall(instance.decode, text)
    local fixed = not ok and mended(text) or text
    if fixed ~= text then
        ok, value = pcall(instance.decode, fixed)
    end
    if not ok then
        return false, _M.plain(value)
    end
    local place, expected
    if not is_checked then
        place, expected = flaw.find(text)
    end
    if place then
        return false, flaw.words(text, place, expected)
    end
    return true, value
end

-- -- Instances --------------------------------------------------------------------------------

--- Make an instance of lua-cjson with our settings. It refuses NaN and infinities both ways. A
-- table is an array only if it is dense from 1 on. An empty table is `{}`. Numbers have 14
-- digits. Bytes that are not UTF-8 pass unchanged.
-- @tparam[opt=1000] number max_depth how deep tables and JSON may nest
-- @treturn table|nil a cjson instance, its `encode` and `decode` raise
-- @treturn nil|string why there is none
function _M.cjson(max_depth)
    local cjson, err = _M.load()
    if not cjson then
        return nil, err
    end
    local json = cjson.new()
    json.encode_max_depth(max_depth or _M.MAX_DEPTH)
    json.decode_max_depth(max_depth or _M.MAX_DEPTH)
    json.encode_invalid_numbers(false)
    json.decode_invalid_numbers(false)
    return json
end

-- lua-cjson reads the locale's decimal point when an instance is made. If the program sets another
-- locale later, numbers with a point fail. Then make a new instance.
local function decoder(cjson, max_depth)
    local decode = cjson.decode
    return function(text)
        local ok, value = pcall(decode, text)
        if not ok and not pcall(decode, "0.5") and #cjson.encode(0.5) == #"0.5" then
            cjson = _M.cjson(max_depth)
            decode = cjson.decode
            ok, value = pcall(decode, text)
        end
        if not ok then
            error(value, 0)
        end
        return value
    end
end

--- Make an encoder and a decoder that keep every number as it is.
-- @tparam[opt=1000] number max_depth how deep tables and JSON may nest
-- @treturn table|nil `encode` (value → text) and `decode` (text → value), which raise errors, and
-- `null`, the null inside tables
-- @treturn nil|string why there is none
function _M.new(max_depth)
    max_depth = max_depth or _M.MAX_DEPTH
    local cjson, err = _M.cjson(max_depth)
    if not cjson then
        return nil, err
    end
    return {
        encode = exact.encoder(cjson, max_depth),
        decode = decoder(cjson, max_depth),
        null = cjson.null,
    }
end

return _M
