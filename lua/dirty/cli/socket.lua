--- Calls to a running runtime, for the commands.
-- @module dirty.cli.socket

local cjson = require "cjson"
local exit = require "dirty.cli.exit"
local find_socket = require "dirty.cli.find_socket"
local types = require "dirty.config.types"
local say = require "dirty.cli.say"
local sys = require "dirty.sys"

local _M = {}

-- Accept answers of any size: the runtime limits them.
local MESSAGE_MAX = 0xffffffff - 65536

local seconds = types.seconds()

local function timeout_of(parsed, default)
    if not parsed.timeout then
        return default
    end
    local value, must = seconds.check(seconds.from_text(parsed.timeout))
    return value, must and ("--timeout %q: must be %s"):format(parsed.timeout, must)
end

--- Make a request for dirty.sys.call from the flags --socket, --config and --timeout.
-- @tparam table parsed the command line
-- @tparam number default_timeout seconds
-- @treturn table|nil `{socket=, timeout_ms=, max_message=}`; the caller adds `action`, and `app`
--   unless the runtime itself is called
-- @treturn nil|string what is wrong with the flags
function _M.request(parsed, default_timeout)
    local timeout, err = timeout_of(parsed, default_timeout)
    if err then
        return nil, err
    end
    local path
    path, err = find_socket.find(parsed)
    if not path then
        return nil, err
    end
    return { socket = path, timeout_ms = math.ceil(timeout * 1000), max_message = MESSAGE_MAX }
end

local function decode_details(found, info)
    if info then
        local ok, details = pcall(cjson.decode, info.details)
        info.details = ok and type(details) == "table" and details or {}
    end
    return found, info
end

--- Make a call.
-- @tparam table request of `request`, with app, action, args and the like set
-- @treturn {{string,string},...}|nil values, pairs of tag and data
-- @treturn nil|table `{code=, message=, details= (a table), started=}`
function _M.call(request)
    return decode_details(sys.call(request))
end

--- Make a call whose result comes in chunks.
-- @tparam table request as for `call`
-- @treturn function|nil returns the values of the next chunk, as `call` does; nothing at the end;
--   nil and a table as of `call` after a failure
-- @treturn nil|table as of `call`
function _M.stream(request)
    local stream, info = decode_details(sys.stream(request))
    return stream and function()
        return decode_details(sys.next_chunk(stream))
    end, info
end

-- What the user can do about DENIED.
local function denied_remedy(info)
    if info.message:find("admin_users", 1, true) then
        return "run it as a user that the option admin_users names, or send a signal to the "
            .. "supervisor: TERM stops, HUP reloads"
    end
    local owner = info.message:match("owner %(uid (%d+)%)")
    return owner and owner ~= "0"
        and ("run it as that user (sudo -u '#%s' dirty ...) or as root"):format(owner)
        or "run it as root (sudo dirty ...)"
end

--- Report a failed call on stderr: code, message, details, traceback.
-- @tparam table info of `call`
-- @treturn number exit status
function _M.report(info)
    local message = info.message:gsub("^" .. info.code .. ": ", "")
    say.err("dirty: %s: %s\n", info.code, message)
    if info.code == "DENIED" then
        say.err("%s\n", denied_remedy(info))
    end
    local traceback = info.details.traceback
    if type(traceback) == "string" then
        if traceback:sub(1, #message) == message then
            traceback = traceback:sub(#message + 1)
        end
        say.err("    %s\n", (traceback:gsub("^\n+", "")))
    end
    return exit.of_code(info.code)
end

--- Report a wrong command line on stderr.
-- @tparam table parsed the command line
-- @tparam string text
-- @treturn number exit status
function _M.usage(parsed, text)
    say.err("dirty %s: %s\n", parsed.command, text)
    return exit.USAGE
end

--- Get the time limit of a command.
-- @tparam table parsed the command line
-- @tparam number default seconds
-- @treturn number|nil seconds
-- @treturn nil|number exit status, if the flag is wrong; the error is reported
function _M.timeout(parsed, default)
    local seconds_given, err = timeout_of(parsed, default)
    if err then
        return nil, _M.usage(parsed, err)
    end
    return seconds_given
end

-- Call an action of `@arbiter`. Returns the data of the first value; or nil and the info of the
-- call; or nil, nil and a message if the flags are wrong.
local function ask(parsed, action, args)
    local request, err = _M.request(parsed, 5)
    if not request then
        return nil, nil, err
    end
    request.action, request.args = action, {}
    for i, arg in ipairs(args or {}) do
        request.args[i] = { "b", arg }
    end
    local values, info = _M.call(request)
    if not values then
        return nil, info
    end
    return values[1] and values[1][2] or "null"
end

--- Call an action of `@arbiter` that returns one value. Reports errors on stderr.
-- @tparam table parsed the command line
-- @tparam string action
-- @tparam[opt] {string,...} args
-- @treturn string|nil the value's data
-- @treturn nil|number exit status
function _M.ask_arbiter(parsed, action, args)
    local answer, info, err = ask(parsed, action, args)
    if answer then
        return answer
    end
    return nil, info and _M.report(info) or _M.usage(parsed, err)
end

local function decode(parsed, answer)
    local ok, value = pcall(cjson.decode, answer)
    if not ok then
        say.err("dirty %s: the answer is not JSON: %s\n", parsed.command, answer:sub(1, 200))
        return nil, exit.OTHER
    end
    return value
end

--- The same for an answer in JSON that is used here.
-- @treturn any the value, decoded
-- @treturn nil|number exit status; the value is nil then
function _M.ask_arbiter_json(parsed, action, args)
    local answer, status = _M.ask_arbiter(parsed, action, args)
    if not answer then
        return nil, status
    end
    return decode(parsed, answer)
end

--- The same as ask_arbiter_json, but asks again while no arbiter answers: the supervisor soon
-- replaces an arbiter that has died.
-- @tparam table parsed the command line
-- @tparam string action one that changes nothing
-- @tparam number patience seconds
-- @tparam[opt] {string,...} args
-- @treturn any the value, decoded
-- @treturn nil|number exit status; the value is nil then
function _M.ask_next_arbiter(parsed, action, patience, args)
    local give_up = sys.now() + patience
    while true do
        local answer, info, err = ask(parsed, action, args)
        if answer then
            return decode(parsed, answer)
        elseif not info then
            return nil, _M.usage(parsed, err)
        elseif info.code ~= "CONNECTION" or sys.now() > give_up then
            return nil, _M.report(info)
        end
        sys.sleep(0.05)
    end
end

return _M
