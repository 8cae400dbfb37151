--- Reads frames in steps. In each step it asks for exactly the bytes that it can use next. So a
-- socket returns each large value as one string, and nothing is cut out of a larger string. It
-- never asks for more than a limit allows.
-- @module dirty.wire.reader
-- @usage
-- local reader = codec:reader()
-- local want, fault, text = reader:start()
-- while want and want > 0 do
--     want, fault, text = reader:take(assert(sock:receive(want)))
-- end
-- if want then print(reader.kind, reader.id, reader.values, reader.count) end

local constants = require "dirty.wire.constants"

local _M = {}
local methods = {}
local mt = { __index = methods }

local fault = constants.fault
local REQUEST, ERROR, END = constants.REQUEST, constants.ERROR, constants.END
local HEADER_LEN, VALUE_HEAD_LEN = constants.HEADER_LEN, constants.VALUE_HEAD_LEN
-- Read payloads up to this size as one string: cutting values out costs less than reading twice.
local WHOLE_MAX = 16384

-- The states of a reader. Each is a function: `take` in that state.
local on_header, on_payload, on_count, on_value_head, on_value

--- Make a reader of answers. It can read any number of frames, one after the other.
-- @tparam table codec its limits apply
-- @treturn table a reader; after a frame its fields are `kind` (the type), `id`, and for a
-- RESPONSE or CHUNK `values` (1…`count`) and `count`, for an ERROR `error` (see
-- `decode_error`)
function _M.new(codec)
    return setmetatable({ _codec = codec }, mt)
end

--- Begin a frame.
-- @treturn number how many bytes it wants
function methods:start()
    self.kind, self.id, self.values, self.count, self.error = nil, nil, nil, nil, nil
    self._take = on_header
    return HEADER_LEN
end

--- Take the wanted bytes, exactly as many.
-- @tparam string bytes
-- @treturn number|nil how many bytes it wants next, 0 when the frame is complete; nil, fault,
-- text if the frame is invalid: the connection can't be used any more
function methods:take(bytes)
    return self:_take(bytes)
end

function on_header(self, bytes)
    local kind, len, id = self._codec:decode_header(bytes)
    if not kind then
        return nil, len, id
    elseif kind == REQUEST then
        return fault("BAD_TYPE", "got 1 from a server")
    end
    self.kind, self.id, self._left = kind, id, len
    if kind == END then
        return 0
    elseif kind == ERROR or len <= WHOLE_MAX then
        self._take = on_payload
        if len == 0 then
            return on_payload(self, "")
        end
        return len
    end
    self._take = on_count
    return 2
end

function on_payload(self, bytes)
    local why, text
    if self.kind == ERROR then
        self.error, why, text = self._codec:decode_error(bytes)
        if not self.error then
            return nil, why, text
        end
        return 0
    end
    self.values, self.count, text = self._codec:decode_values(bytes)
    if not self.values then
        return nil, self.count, text
    end
    return 0
end

-- Go on to the head of the next value, or to the end. The payload must end there, too.
local function next_value(self)
    if self._got == self.count then
        if self._left > 0 then
            return fault("BAD_COUNT")
        end
        return 0
    elseif self._left == 0 then
        return fault("BAD_COUNT")
    end
    self._take = on_value_head
    -- read the tag even if the head is cut: a wrong tag is the first fault
    return math.min(VALUE_HEAD_LEN, self._left)
end

function on_count(self, bytes)
    local count, why, text = self._codec:decode_count(bytes)
    if not count then
        return nil, why, text
    end
    self.values, self.count, self._got, self._left = {}, count, 0, self._left - 2
    return next_value(self)
end

function on_value_head(self, bytes)
    local is_json, len, text = self._codec:decode_value_head(bytes)
    if is_json == nil then
        return nil, len, text
    end
    self._left = self._left - VALUE_HEAD_LEN
    if len > self._left then
        return fault("TRUNCATED")
    end
    self._is_json, self._left = is_json, self._left - len
    if len == 0 then
        return on_value(self, "")
    end
    self._take = on_value
    return len
end

function on_value(self, bytes)
    self._got = self._got + 1
    if self._is_json then
        local ok, value, text = self._codec:decode_json(bytes)
        if not ok then
            return nil, value, ("value %d: %s"):format(self._got, text)
        end
        bytes = value
    end
    self.values[self._got] = bytes
    return next_value(self)
end

return _M
