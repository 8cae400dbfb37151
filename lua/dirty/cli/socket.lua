--- How the commands that call a running runtime reach it.
-- @module dirty.cli.socket

local cjson = require "cjson"
local exit = require "dirty.cli.exit"
local kinds = require "dirty.config.kinds"
local socket_path = require "dirty.socket_path"
local sys = require "dirty.sys"

local _M = {}

-- An answer may be as large as the runtime is set to make it; it is the server's business.
local MESSAGE_MAX = 0xffffffff - 65536

local seconds = kinds.seconds()

local function timeout_of(parsed, default)
    if not parsed.timeout then
        return default
    end
    local value, must = seconds.check(seconds.from_text(parsed.timeout))
    return value, must and ("--timeout %q: must be %s"):format(parsed.timeout, must)
end

--- Begin a call (dirty.sys.call) from a command's flags --socket and --timeout.
-- @tparam table parsed the command line
-- @tparam number default_timeout seconds
-- @treturn table|nil `{socket=, timeout_ms=, max_message=}`
-- @treturn nil|string what is wrong with the flags
function _M.request(parsed, default_timeout)
    local path = parsed.socket or (socket_path.default(sys))
    local fault = socket_path.fault(path)
    if fault then
        return nil, ("socket %q: %s"):format(path, fault)
    end
    local timeout, err = timeout_of(parsed, default_timeout)
    if err then
        return nil, err
    end
    return { socket = path, timeout_ms = math.ceil(timeout * 1000), max_message = MESSAGE_MAX }
end

--- Make a call.
-- @tparam table request of `request`, with app, action, args and the like set
-- @treturn {{string,string},...}|nil values, pairs of tag and data
-- @treturn nil|table `{code=, message=, details= (a table), started=}`
function _M.call(request)
    local values, info = sys.call(request)
    if not values then
        local ok, details = pcall(cjson.decode, info.details)
        info.details = ok and type(details) == "table" and details or {}
    end
    return values, info
end

--- Tell a failed call on stderr: code, message, what is known of it, traceback.
-- @tparam table info of `call`
-- @treturn number exit status
function _M.report(info)
    local message = info.message:gsub("^" .. info.code .. ": ", "")
    io.stderr:write(("dirty: %s: %s\n"):format(info.code, message))
    local traceback = info.details.traceback
    if type(traceback) == "string" then
        if traceback:sub(1, #message) == message then
            traceback = traceback:sub(#message + 1)
        end
        io.stderr:write((traceback:gsub("^\n+", ""):gsub("\n*$", "\n")))
    end
    return exit.of_code(info.code)
end

--- Call an action of `@arbiter` that answers one value; what goes wrong is told on stderr.
-- @tparam table parsed the command line
-- @tparam string action
-- @treturn string|nil the value's data
-- @treturn nil|number exit status
function _M.ask_arbiter(parsed, action)
    local request, err = _M.request(parsed, 5)
    if not request then
        io.stderr:write(("dirty %s: %s\n"):format(parsed.command, err))
        return nil, exit.USAGE
    end
    request.app, request.action, request.args = "@arbiter", action, {}
    local values, info = _M.call(request)
    if not values then
        return nil, _M.report(info)
    end
    return values[1] and values[1][2] or "null"
end

return _M
