--- How calls fail, in words and as a table: what `nil, err, info` of a client is made of.
-- @module dirty.client.outcome

local _M = {}

local STARTED = { no = true, yes = true, unknown = true }

--- A failure.
-- @tparam string code
-- @tparam string message
-- @tparam table info what else is known; the fields that a client vouches for are set here
-- @tparam table call `app` and `action`, where info has none
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

--- A failure that the client itself has found, phase "client".
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

--- Whether the app of a failed call may have run: as the details say, else as the code says.
-- @param told `started` of an ERROR's details, of any type
-- @tparam table entry of `dirty.errors`
-- @treturn string "no", "yes" or "unknown"
function _M.started(told, entry)
    if STARTED[told] then
        return told
    end
    return STARTED[entry.started] and entry.started or "unknown"
end

return _M
