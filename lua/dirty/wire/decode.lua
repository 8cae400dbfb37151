--- Decodes messages of the dirty protocol. The functions are methods of a codec (`dirty.wire`).
-- They accept any bytes: invalid ones make them return `nil, fault, text`. No length is used
-- before it was checked.
-- @module dirty.wire.decode

local constants = require "dirty.wire.constants"

local byte, sub = string.byte, string.sub

local _M = {}

local fault = constants.fault
local REQUEST, ERROR, END = constants.REQUEST, constants.ERROR, constants.END
local TAG_BYTES, TAG_JSON = constants.TAG_BYTES, constants.TAG_JSON
local VALUE_HEAD_LEN = constants.VALUE_HEAD_LEN
local MAGIC_1, MAGIC_2, VERSION = 0x44, 0x57, constants.PROTOCOL_VERSION
local ROUTE_FIXED_LEN = 10
local U32 = 4294967296
local DEADLINE_MAX = 2 ^ 63
local ID_NUMBER_HIGH = 2097152 -- 2^53 / 2^32: larger ids are strings

local function u32(a, b, c, d)
    return ((a * 256 + b) * 256 + c) * 256 + d
end

-- Return the fault of fewer than 16 bytes, or of bad ones.
local function partial_header(bytes)
    local m1, m2, version, kind = byte(bytes, 1, 4)
    if (m1 and m1 ~= MAGIC_1) or (m2 and m2 ~= MAGIC_2) then
        return fault("BAD_MAGIC")
    elseif version and version ~= VERSION then
        return fault("BAD_VERSION", "got " .. version)
    elseif kind and (kind < REQUEST or kind > END) then
        return fault("BAD_TYPE", "got " .. kind)
    end
    return nil, "MORE", "more bytes are needed"
end

--- Decode a header.
-- @tparam string bytes from its first byte on; fewer than 16 give "MORE", or a fault if they
-- are already invalid
-- @treturn number|nil type; nil, fault, text
-- @treturn number bytes of the payload, within the limit
-- @treturn number|string id
function _M:decode_header(bytes)
    local m1, m2, version, kind, l1, l2, l3, l4, h1, h2, h3, h4, i1, i2, i3, i4 =
        byte(bytes, 1, 16)
    if not i4 or m1 ~= MAGIC_1 or m2 ~= MAGIC_2 or version ~= VERSION
        or kind < REQUEST or kind > END then
        return partial_header(bytes)
    end
    local len, high = u32(l1, l2, l3, l4), u32(h1, h2, h3, h4)
    local limit = kind == ERROR and constants.ERROR_PAYLOAD_MAX or self.max_message
    if len > limit then
        return fault("TOO_LONG", ("%.0f bytes, the limit is %.0f"):format(len, limit))
    elseif kind == END and len > 0 then
        return fault("BAD_LENGTH")
    elseif high < ID_NUMBER_HIGH then
        return kind, len, high * U32 + u32(i1, i2, i3, i4)
    end
    return kind, len, sub(bytes, 9, 16)
end

--- Decode the head of a value.
-- @tparam string bytes
-- @tparam[opt=1] number at where it starts
-- @treturn boolean|nil true: JSON, false: raw bytes; nil, fault, text
-- @treturn number bytes of the value that follow; not checked against a limit
function _M:decode_value_head(bytes, at)
    at = at or 1
    local tag, a, b, c, d = byte(bytes, at, at + 4)
    if not tag then
        return fault("BAD_COUNT")
    elseif tag ~= TAG_BYTES and tag ~= TAG_JSON then
        return fault("BAD_TAG", ("got 0x%02x"):format(tag))
    elseif not d then
        return fault("TRUNCATED")
    end
    return tag == TAG_JSON, u32(a, b, c, d)
end

--- Decode a JSON text; null is nil.
-- @tparam string text
-- @treturn boolean|nil true; nil, fault, text
-- @return the value
function _M:decode_json(text)
    local ok, value, is_json = self._values:from_json(text)
    if is_json then
        return nil, "BAD_JSON", value
    elseif not ok then
        return fault("BAD_JSON", value)
    end
    return true, value
end

-- Decode the value at `at`. Returns where the next one starts, its text, and whether it is JSON.
local function take(self, payload, at)
    local is_json, len, text = self:decode_value_head(payload, at)
    if is_json == nil then
        return nil, len, text
    end
    local from = at + VALUE_HEAD_LEN
    if len > #payload - from + 1 then
        return fault("TRUNCATED")
    end
    return from + len, sub(payload, from, from + len - 1), is_json
end

-- Decode `count` values from `at` to the payload's end, into `out`.
local function take_all(self, payload, at, count, out)
    for i = 1, count do
        local value, is_json
        at, value, is_json = take(self, payload, at)
        if not at then
            return nil, value, is_json
        end
        if is_json then
            local ok, decoded, text = self:decode_json(value)
            if not ok then
                return nil, decoded, ("value %d: %s"):format(i, text)
            end
            value = decoded
        end
        out[i] = value
    end
    if at ~= #payload + 1 then
        return fault("BAD_COUNT")
    end
    return out, count
end

local function check_count(self, count)
    if count > self.max_args then
        return fault("TOO_MANY", ("%d, max_args is %d"):format(count, self.max_args))
    end
    return count
end

--- Decode the count at the start of a RESPONSE or CHUNK.
-- @tparam string payload its first two bytes, or more
-- @tparam[opt=1] number at where it starts
-- @treturn number|nil within the limit; nil, fault, text
function _M:decode_count(payload, at)
    at = at or 1
    local a, b = byte(payload, at, at + 1)
    if not b then
        return fault("TRUNCATED")
    end
    return check_count(self, a * 256 + b)
end

--- Decode the payload of a RESPONSE or CHUNK.
-- @tparam string payload all of it, with nothing behind it
-- @tparam[opt] table out an array to use again; its elements behind `count` stay
-- @tparam[opt=1] number at where it starts, if the header is still in front of it
-- @treturn table|nil the values 1…count, null as nil; nil, fault, text
-- @treturn number count
function _M:decode_values(payload, out, at)
    at = at or 1
    local count, why, text = self:decode_count(payload, at)
    if not count then
        return nil, why, text
    end
    return take_all(self, payload, at + 2, count, out or {})
end

--- Decode the payload of an ERROR.
-- @tparam string payload all of it
-- @treturn table|nil `code` (number), `message` (string), `details` (table, see the
-- protocol); nil, fault, text
function _M:decode_error(payload)
    local c1, c2, _, reserved = byte(payload, 1, 4)
    if not reserved then
        return fault("TRUNCATED")
    end
    local at, message, is_json = take(self, payload, 5)
    if not at then
        return nil, message, is_json
    end
    local stop, details, details_json = take(self, payload, at)
    if not stop then
        return nil, details, details_json
    elseif is_json or not details_json then
        return fault("BAD_TAG")
    elseif stop ~= #payload + 1 then
        return fault("BAD_COUNT")
    end
    local ok, object, text = self:decode_json(details)
    if not ok then
        return nil, object, text
    elseif not details:find("^[ \t\r\n]*{") then
        return fault("BAD_JSON", "details are an object")
    end
    return { code = c1 * 256 + c2, message = message, details = object }
end

-- Decode a deadline to a number, a double in every Lua.
local function take_deadline(payload, at)
    local h1, h2, h3, h4, l1, l2, l3, l4 = byte(payload, at, at + 7)
    local ns = u32(h1, h2, h3, h4) * (U32 + 0.0) + u32(l1, l2, l3, l4)
    return ns < DEADLINE_MAX and ns or DEADLINE_MAX
end

-- Decode the entries from `at` to `stop`. Skips unknown types.
local function take_entries(payload, at, stop, request)
    while at <= stop do
        local kind, n1, n2 = byte(payload, at, at + 2)
        local value = at + 3
        local past = value + (n1 and n2 and n1 * 256 + n2 or 0)
        if value > stop + 1 or past > stop + 1 then
            return fault("BAD_EXTENSION")
        elseif kind == constants.EXTENSION_DEADLINE then
            if past - value ~= 8 or request.deadline_ns then
                return fault("BAD_EXTENSION")
            end
            request.deadline_ns = take_deadline(payload, value)
        end
        at = past
    end
    return at
end

-- Decode the block of extensions behind the names. Returns where the values start.
local function take_extensions(payload, at, request)
    local n1, n2 = byte(payload, at, at + 1)
    local len = n1 * 256 + n2
    if at + 1 + len > #payload then
        return fault("TRUNCATED")
    elseif len > constants.EXTENSION_MAX then
        return fault("BAD_EXTENSION", len .. " bytes")
    end
    return take_entries(payload, at + 2, at + 1 + len, request)
end

-- Decode the fixed part of a route and its names. Also returns where the block of extensions or
-- the values start.
local function take_names(payload)
    local b1, b2, b3, b4, priority, flags, n1, n2, app_len, action_len =
        byte(payload, 1, ROUTE_FIXED_LEN)
    if not action_len then
        return fault("TRUNCATED")
    elseif priority > constants.PRIORITY_LAST then
        return fault("BAD_PRIORITY", "got " .. priority)
    elseif flags > constants.FLAG_METADATA + constants.FLAG_EXTENSION then
        return fault("BAD_FLAGS", ("got 0x%02x"):format(flags))
    elseif app_len == 0 or action_len == 0 then
        return fault("BAD_NAME")
    end
    local has_extensions = flags >= constants.FLAG_EXTENSION
    local stop = ROUTE_FIXED_LEN + app_len + action_len
    if stop + (has_extensions and 2 or 0) > #payload then
        return fault("TRUNCATED")
    end
    local names = sub(payload, ROUTE_FIXED_LEN + 1, stop)
    if names:find("[^\33-\126]") then
        return fault("BAD_NAME")
    end
    return {
        budget_ms = u32(b1, b2, b3, b4), priority = priority, argc = n1 * 256 + n2,
        app = sub(names, 1, app_len), action = sub(names, app_len + 1),
        has_metadata = flags % 2 == 1, has_extensions = has_extensions,
    }, stop + 1
end

-- Decode the route. Also returns where the values start.
local function take_route(payload)
    local request, at, text = take_names(payload)
    if request and request.has_extensions then
        local why
        at, why, text = take_extensions(payload, at, request)
        if not at then
            return nil, why, text
        end
    end
    return request, at, text
end

--- Decode the payload of a REQUEST.
-- @tparam string payload all of it
-- @treturn table|nil `app`, `action`, `budget_ms`, `priority`, `argc`, `args` (1…argc),
-- `has_metadata`, `metadata`, `deadline_ns` if the request has one; nil, fault, text
function _M:decode_request(payload)
    local request, at, text = take_route(payload)
    if not request then
        return nil, at, text
    end
    local ok, why
    ok, why, text = check_count(self, request.argc)
    if not ok then
        return nil, why, text
    end
    if request.has_metadata then
        local metadata, is_json
        at, metadata, is_json = take(self, payload, at)
        if not at then
            return nil, metadata, is_json
        elseif not is_json then
            return fault("BAD_TAG")
        end
        ok, request.metadata, text = self:decode_json(metadata)
        if not ok then
            return nil, request.metadata, text
        end
    end
    request.args, why, text = take_all(self, payload, at, request.argc, {})
    if not request.args then
        return nil, why, text
    end
    return request
end

return _M
