--- The error codes of the protocol, for clients in Lua, by name and by number. The C header
-- runtime/include/dirty_errors.h has the same list.
-- @module dirty.errors

local _M = {}

-- name, number, HTTP status, started, retry, text
local LIST = {
    { "TIMEOUT", 1, 504, "varies", "depends", "the deadline passed" },
    { "CONNECTION", 2, 502, "unknown", "depends", "the connection failed or was lost" },
    { "APP", 3, 500, "yes", "no", "the app raised an error or returned nil, err" },
    { "APP_NOT_FOUND", 4, 404, "no", "no", "no app of this name is served" },
    { "ACTION_NOT_FOUND", 5, 404, "no", "no", "the app has no action of this name" },
    { "NO_WORKERS", 6, 503, "no", "yes", "no worker that hosts the app is available" },
    { "OVERLOADED", 7, 503, "no", "yes", "a queue or a limit is full" },
    { "WORKER_LOST", 8, 502, "varies", "depends", "the worker died before it answered" },
    { "CANCELLED", 9, 499, "varies", "depends", "the call was cancelled" },
    { "SHUTDOWN", 10, 503, "varies", "depends", "the runtime or worker had to end" },
    { "PROTOCOL", 11, 502, "no", "no", "the peer broke the wire protocol or a limit" },
    { "DENIED", 12, 403, "no", "no", "the caller is not allowed to do this" },
    { "MEMORY", 13, 500, "yes", "no", "the call went over the memory limit of its lane" },
}

--- All codes by name and by number: `code`, `number`, `http_status`, `started` ("no", "yes",
-- "unknown", "varies"), `retry` ("yes", "no", "depends"), `text`.
_M.codes = {}

for _, row in ipairs(LIST) do
    local entry = {
        code = row[1], number = row[2], http_status = row[3],
        started = row[4], retry = row[5], text = row[6],
    }
    _M.codes[entry.code] = entry
    _M.codes[entry.number] = entry
end

--- Get the entry of a number that came over the wire.
-- @tparam number number
-- @treturn table as in `codes`; for an unknown number the code is "UNKNOWN", the status 500 and
-- started "unknown"
function _M.of(number)
    return _M.codes[number] or {
        code = "UNKNOWN", number = number, http_status = 500,
        started = "unknown", retry = "depends", text = "an unknown error code",
    }
end

return _M
