--- Encodes messages of the dirty protocol. The functions are methods of a codec (`dirty.wire`).
-- Each returns an array of strings that together are the frame, for `sock:send`, and their total
-- length. Large strings are not copied.
-- @module dirty.wire.encode

local constants = require "dirty.wire.constants"
local pack = require "dirty.wire.pack"

local byte, char = string.byte, string.char
local type = type

local _M = {}

local fault = constants.fault
local u16_bytes, u32_bytes = pack.u16_bytes, pack.u32_bytes
local ERROR, END = constants.ERROR, constants.END
local TAG_BYTES, TAG_JSON = constants.TAG_BYTES, constants.TAG_JSON
local HEADER_LEN, VALUE_HEAD_LEN = constants.HEADER_LEN, constants.VALUE_HEAD_LEN
local NAME_MAX = constants.NAME_MAX
local PRIORITY_LAST, PRIORITY_DEFAULT = constants.PRIORITY_LAST, constants.PRIORITY_DEFAULT
local FLAG_METADATA, FLAG_EXTENSION = constants.FLAG_METADATA, constants.FLAG_EXTENSION
local MAGIC_1, MAGIC_2, VERSION = 0x44, 0x57, constants.PROTOCOL_VERSION
local U32 = 4294967296
local ROUTE_HEAD_LEN = 8 -- the lengths of the names go with the names

local function header(kind, len, id)
    local l1, l2, l3, l4 = u32_bytes(len)
    if type(id) == "string" then
        return char(MAGIC_1, MAGIC_2, VERSION, kind, l1, l2, l3, l4) .. id
    end
    local low = id % U32
    local h1, h2, h3, h4 = u32_bytes((id - low) / U32)
    local i1, i2, i3, i4 = u32_bytes(low)
    return char(MAGIC_1, MAGIC_2, VERSION, kind, l1, l2, l3, l4, h1, h2, h3, h4, i1, i2, i3, i4)
end

-- Add a value after pieces[at]. Returns the last index and the number of bytes added.
local function add_text(pieces, at, tag, text)
    local len = #text
    local a, b, c, d = u32_bytes(len)
    pieces[at + 1] = char(tag, a, b, c, d)
    if len == 0 then
        return at + 1, VALUE_HEAD_LEN
    end
    pieces[at + 2] = text
    return at + 2, VALUE_HEAD_LEN + len
end

-- Add list[1…count] after pieces[at]. Returns the last index and the number of bytes added.
local function add_values(self, pieces, at, list, count)
    local total = 0
    for i = 1, count do
        local value, tag = list[i], TAG_BYTES
        if type(value) ~= "string" then
            local text, err = self._values:to_json(value)
            if not text then
                return nil, "BAD_VALUE", ("#%d %s"):format(i, err)
            end
            value, tag = text, TAG_JSON
        end
        local last, added = add_text(pieces, at, tag, value)
        at, total = last, total + added
    end
    return at, total
end

local function check_count(self, count)
    if count > self.max_args then
        return fault("TOO_MANY", ("%d, max_args is %d"):format(count, self.max_args))
    end
    return true
end

local function check_len(self, len)
    if len > self.max_message then
        return fault("TOO_LONG", ("%.0f bytes, max_message is %.0f"):format(len,
            self.max_message))
    end
    return true
end

-- Remove the pieces of a longer message behind the last piece.
local function trim(pieces, last)
    for i = #pieces, last + 1, -1 do
        pieces[i] = nil
    end
end

local function name_is_valid(name)
    local len = #name
    for i = 1, len do -- string.find is not compiled by LuaJIT
        local c = byte(name, i)
        if c < 33 or c > 126 then
            return false
        end
    end
    return len > 0 and len <= NAME_MAX
end

--- Encode the names of a call, for any number of requests.
-- @tparam string app
-- @tparam string action
-- @treturn string|nil bytes, for `names` of `encode_request`; nil, fault (BAD_NAME), text
function _M:encode_names(app, action)
    if not name_is_valid(app) or not name_is_valid(action) then
        return fault("BAD_NAME", ("%q, %q"):format(app, action))
    end
    return char(#app, #action) .. app .. action
end

-- Check the parts of a call. Returns its encoded names if all are valid.
local function check_call(self, call, argc)
    local priority, deadline_ns = call.priority or PRIORITY_DEFAULT, call.deadline_ns
    if argc > self.max_args then
        return check_count(self, argc)
    elseif priority < 0 or priority > PRIORITY_LAST or priority % 1 ~= 0 then
        return fault("BAD_PRIORITY", tostring(priority))
    elseif deadline_ns and (deadline_ns < 0 or deadline_ns ~= deadline_ns) then
        return fault("BAD_EXTENSION", "a deadline of " .. tostring(deadline_ns))
    end
    local names = call.names
    if names then
        return names
    end
    return self:encode_names(call.app, call.action)
end

--- Encode a REQUEST.
-- @tparam number|string id
-- @tparam table call `app`, `action` (strings) or `names` (of `encode_names`), `budget_ms`
-- (whole, default 0: the server's timeout), `priority` (0 first to 9 last, default 5),
-- `metadata` (JSON text, see `json`), `deadline_ns` (a number from 0 up: when the client gives
-- up, on CLOCK_MONOTONIC in nanoseconds; this module can't read that clock)
-- @tparam table args the arguments 1…argc: strings are sent as bytes, everything else as JSON
-- @tparam number argc number of arguments, including nils
-- @tparam[opt] table pieces an array to use again
-- @treturn table|nil pieces; nil, fault, text if it may not be sent: BAD_NAME,
-- BAD_PRIORITY, BAD_EXTENSION, TOO_MANY, TOO_LONG, BAD_VALUE (the text begins with the
-- argument's number: "#2 is a function")
-- @treturn number bytes in all
function _M:encode_request(id, call, args, argc, pieces)
    local names, fault_name, text = check_call(self, call, argc)
    if not names then
        return nil, fault_name, text
    end
    pieces = pieces or {}
    local at, metadata_len = 1, 0
    if call.metadata then
        at, metadata_len = add_text(pieces, at, TAG_JSON, call.metadata)
    end
    local last, args_len, why = add_values(self, pieces, at, args, argc)
    if not last then
        return nil, args_len, why
    end
    local deadline_ns = call.deadline_ns
    local len = ROUTE_HEAD_LEN + #names + (deadline_ns and pack.DEADLINE_LEN or 0) + metadata_len
        + args_len
    local ok
    ok, fault_name, text = check_len(self, len)
    if not ok then
        return nil, fault_name, text
    end
    local flags = (call.metadata and FLAG_METADATA or 0) + (deadline_ns and FLAG_EXTENSION or 0)
    pieces[1] = pack.request(id, len, call.budget_ms or 0, call.priority or PRIORITY_DEFAULT,
        flags, argc, names, deadline_ns)
    trim(pieces, last)
    return pieces, HEADER_LEN + len
end

--- Encode a RESPONSE or a CHUNK.
-- @tparam number kind `RESPONSE` or `CHUNK`
-- @tparam number|string id
-- @tparam table list the results 1…count
-- @tparam number count
-- @treturn table|nil pieces; nil, fault, text: TOO_MANY, TOO_LONG, BAD_VALUE
-- @treturn number bytes in all
function _M:encode_values(kind, id, list, count)
    local ok, fault_name, text = check_count(self, count)
    if not ok then
        return nil, fault_name, text
    end
    local pieces = {}
    local last, values_len, why = add_values(self, pieces, 1, list, count)
    if not last then
        return nil, values_len, why
    end
    local len = 2 + values_len
    ok, fault_name, text = check_len(self, len)
    if not ok then
        return nil, fault_name, text
    end
    pieces[1] = header(kind, len, id) .. char(u16_bytes(count))
    return pieces, HEADER_LEN + len
end

--- Encode an ERROR.
-- @tparam number|string id
-- @tparam number code
-- @tparam string message is cut if it is longer than the protocol allows
-- @tparam string details the text of a JSON object
-- @treturn table pieces
-- @treturn number bytes in all
function _M:encode_error(id, code, message, details)
    local pieces = {}
    local at, first = add_text(pieces, 1, TAG_BYTES, message:sub(1, constants.ERROR_MESSAGE_MAX))
    local _, second = add_text(pieces, at, TAG_JSON, details)
    local len = 4 + first + second
    local c1, c2 = u16_bytes(code)
    pieces[1] = header(ERROR, len, id) .. char(c1, c2, 0, 0)
    return pieces, HEADER_LEN + len
end

--- Encode an END.
-- @treturn table pieces
-- @treturn number bytes in all
function _M:encode_end(id)
    return { header(END, 0, id) }, HEADER_LEN
end

--- Make the JSON text of a value that is not a string, for `metadata`.
-- @treturn string|nil; nil, fault (BAD_VALUE), text
function _M:json(value)
    local text, err = self._values:to_json(value)
    if not text then
        return nil, "BAD_VALUE", err
    end
    return text
end

return _M
