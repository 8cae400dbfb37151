--- The JSON instance of a lane: it encodes results and decodes arguments, metadata and the
-- options of apps. The host's own encoder (runtime/worker/lua_json.c) encodes; lua-cjson
-- decodes.
-- @module dirty.lane.json

-- Taken when the lane opens: apps may change the globals later.
local assert = assert

local explain = require("dirty.explain")
local fit = require("dirty.json_fit")
local host = require("dirty.host")
local json = require("dirty.json")

local _M = {}

local cjson = assert(json.cjson(host.max_depth))
local decode = cjson.decode

--- Encode a value. Raises if JSON can't hold it.
-- @function encode
-- @param value
-- @treturn string JSON text
_M.encode = host.json_encoder(cjson, host.max_depth)

--- Decode a JSON text. Raises if it is not JSON.
-- @function decode
-- @tparam string text
-- @return the value
_M.decode = decode

--- Rewrite an error message of lua-cjson in plain words; see dirty.json.
-- @function plain
_M.plain = json.plain

--- Find a number of a JSON text that Lua can't hold; see dirty.json_fit.
-- @tparam string text that was decoded
-- @param value what was decoded from it
-- @treturn string|nil a message that names the number, nil if all numbers fit
function _M.misfit(text, value)
    return (fit.check(text, value, decode))
end

--- Say why a value can't be encoded; see dirty.explain.
-- @param value
-- @tparam string name what the value is, as "result 1"
-- @tparam string|nil reason the encoder's message
-- @treturn string one line
function _M.explain(value, name, reason)
    return explain.explain(value, name, reason, { max_depth = host.max_depth, null = cjson.null })
end

return _M
