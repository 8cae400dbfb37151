--- The result of a call, the same for all clients. A call returns the action's values, or
-- `nil, err, info`: `err` is a string that starts with the code
-- (`"TIMEOUT: images.thumbnail ran 800 ms"`), and `info` is a table with
--
-- * `code` string, `message` string, `http_status` number,
-- * `started` string: `"no"`, `"yes"` or `"unknown"`, whether the app may have run,
-- * `app`, `action` string, `phase` string (`"receive"`, `"queue"`, `"run"`, `"client"`),
-- * further members of the error: `traceback`, `elapsed_ms`, `retry_after_ms`, …
--
-- An action that fails by `return nil, err` is an error too. So nil followed by a non-nil
-- value always means failure.
-- @module dirty.client.outcome

local errors = require "dirty.errors"

local _M = {}

local unpack = rawget(table, "unpack") or unpack

local STARTED = { no = true, yes = true, unknown = true }

--- Make the result of a failed call.
-- @tparam string code
-- @tparam string message
-- @tparam table info further members; the fields that every client sets are set here
-- @tparam table call its `app` and `action` are used if info has none
-- @tparam string started
-- @tparam number http_status
-- @treturn nil
-- @treturn string err: code and message
-- @treturn table info
function _M.failure(code, message, info, call, started, http_status)
    info.app = info.app or call.app
    info.action = info.action or call.action
    info.code = code
    info.message = message
    info.started = started
    info.http_status = http_status
    return nil, code .. ": " .. message, info
end

--- Make the result of a failure that the client itself has found, phase "client".
-- @tparam table entry of `dirty.errors`
-- @tparam string message
-- @tparam string started
-- @tparam table call `app`, `action`
-- @tparam[opt] number elapsed_ms since the call began
-- @return nil, err, info
function _M.own(entry, message, started, call, elapsed_ms)
    return _M.failure(entry.code, message, { phase = "client", elapsed_ms = elapsed_ms }, call,
        started, entry.http_status)
end

--- Make the result for a reserved name, which is not called.
-- @tparam string app
-- @tparam string action
-- @return nil, err, info
function _M.reserved(app, action)
    return _M.own(errors.codes.DENIED, ("%s.%s was not called: names that start with @ belong to "
        .. "the runtime: use client:arbiter(action, …)"):format(app, action), "no",
        { app = app, action = action })
end

--- Whether the app of a failed call may have run: from the details, else from the code.
-- @param told `started` in an ERROR's details, of any type
-- @tparam table entry of `dirty.errors`
-- @treturn string "no", "yes" or "unknown"
function _M.started(told, entry)
    if STARTED[told] then
        return told
    end
    return STARTED[entry.started] and entry.started or "unknown"
end

-- Make the result of an ERROR from the server or of a failure of libdirty.
local function refused(codec, call, code, message, details, started, http_status)
    local ok, info = codec:from_json(details)
    if not ok or type(info) ~= "table" then
        info = {} -- no lua-cjson, or the server sent invalid details
    end
    return _M.failure(code, message, info, call, started, http_status)
end

--- Make Lua values from what the C module dirty.core returned for a call.
-- @tparam table codec a `dirty.values`
-- @tparam table call `app`, `action`
-- @tparam string|nil|false tags of the values; nil if all are bytes; false for a failure
-- @param ... values, or the parts of the failure
-- @return the values; or nil, err, info
function _M.take(codec, call, tags, ...)
    if tags == nil then
        return ...
    elseif tags == false then
        return refused(codec, call, ...)
    end
    local list, count = { ... }, select("#", ...)
    local ok, err = codec:decode(tags, list, count)
    if not ok then
        return _M.own(errors.codes.PROTOCOL, "broken answer: " .. err, "yes", call)
    end
    return unpack(list, 1, count)
end

return _M
