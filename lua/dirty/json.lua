--- JSON as the wire wants it: lua-cjson, set up the same way everywhere.
-- Instances are made by `cjson.new()`, so nobody's settings change ours or ours theirs.
-- For every Lua from 5.1 on; lua-cjson is loaded when it is first needed.
-- @module dirty.json

-- Taken at load: apps may change the globals later.
local gsub, ipairs, pcall, require, tostring = string.gsub, ipairs, pcall, require, tostring

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
