--- Exit statuses of the commands, and the status for each error code of a call.
-- @module dirty.cli.exit

local _M = {
    OK = 0, -- done; `call`: the app returned values
    OTHER = 1, -- everything else
    USAGE = 2, -- a wrong flag, argument or configuration
    APP = 3, -- `call`: the app failed, or there is no such app or action
    SOCKET = 3, -- `serve`: the socket can't be bound
    TIMEOUT = 4, -- `call`: the deadline passed
    BOOT = 4, -- `serve`, `check`: an app failed to load or init
    CONNECTION = 5, -- no runtime answers at the socket
    RESOURCES = 5, -- `serve`: out of memory, descriptors or processes
    FAILED = 6, -- `reload --wait`: it failed or is partial; `status --ready`: not ready
    INTERNAL = 70, -- an error of the command itself
}

local BY_CODE = {
    APP = _M.APP,
    APP_NOT_FOUND = _M.APP,
    ACTION_NOT_FOUND = _M.APP,
    MEMORY = _M.APP,
    TIMEOUT = _M.TIMEOUT,
    CONNECTION = _M.CONNECTION,
}

--- The exit status for a failed call.
-- @tparam string code "TIMEOUT", "APP", …
-- @treturn number
function _M.of_code(code)
    return BY_CODE[code] or _M.OTHER
end

return _M
