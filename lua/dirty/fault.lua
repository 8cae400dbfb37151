--- Errors with a code. The runtime's own functions raise them inside a call, and a lane answers
-- with that code. An app that catches one gets a table with `code` and `message`; tostring
-- gives both.
-- @module dirty.fault

-- Taken when the lane opens: apps may change the globals later.
local error, getmetatable, pairs, setmetatable = error, getmetatable, pairs, setmetatable
local tostring, type = tostring, type

local _M = {}

local mt = {
    __tostring = function(self)
        return self.code .. ": " .. self.message
    end,
    __concat = function(a, b) -- "failed: " .. err, as with errors that are strings
        return tostring(a) .. tostring(b)
    end,
}

--- Make an error with a code.
-- @tparam string code one of the codes of the protocol, such as "TIMEOUT"
-- @tparam string message for people
-- @tparam[opt] table more further fields: `started` ("no"), `phase`, `members` (JSON text
--   of further members of the details)
-- @treturn table the error
function _M.new(code, message, more)
    local fault = { code = code, message = message }
    for key, value in pairs(more or {}) do
        fault[key] = value
    end
    return setmetatable(fault, mt)
end

--- Raise an error with a code. Takes what `new` takes.
function _M.raise(code, message, more)
    error(_M.new(code, message, more), 0)
end

--- Whether `x` was raised by `raise`.
function _M.is(x)
    return type(x) == "table" and getmetatable(x) == mt
end

return _M
