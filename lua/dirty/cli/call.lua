--- `dirty call`: call an action of an app and print what it returns.
-- @module dirty.cli.call

local exit = require "dirty.cli.exit"
local json = require "dirty.json"
local output = require "dirty.cli.output"
local say = require "dirty.cli.say"
local socket = require "dirty.cli.socket"
local spec = require "dirty.config.spec"
local types = require "dirty.config.types"
local operator = require "dirty.cli.operator"

local _M = {}

local cjson = assert(json.new(10000)) -- the runtime checks the real limit

local function read_all(path)
    local file, err = io.stdin, nil
    if path ~= "-" then
        file, err = io.open(path, "rb")
    end
    local bytes
    if file then
        bytes, err = file:read("*a")
    end
    if not bytes then
        return nil, ("@%s: %s"):format(path, (err or "can't be read"):gsub("^.*: ", ""))
    end
    if path ~= "-" then
        file:close()
    end
    return bytes
end

-- Make a value of the wire from an ARG: {tag, data}.
local function to_value(arg, as_string)
    if arg:sub(1, 1) == "@" then
        local bytes, err = read_all(arg:sub(2))
        return bytes and { "b", bytes }, err
    elseif as_string or not json.decode(cjson, arg) then
        return { "b", arg }
    end
    return { "j", arg }
end

local function to_values(parsed)
    local values, stdin_taken = {}, false
    for i, arg in ipairs(parsed.args) do
        if arg == "@-" then
            if stdin_taken then
                return nil, "@- can be given once: stdin is read to its end"
            end
            stdin_taken = true
        end
        local value, err = to_value(arg, parsed.string)
        if not value then
            return nil, err
        end
        values[i] = value
    end
    return values
end

local priority = types.count(0, 9)

local function check(parsed)
    if parsed.app:sub(1, 1) == "@" then
        return nil, ("the app %q: names that start with @ belong to the runtime; use its commands: "
            .. "%s"):format(parsed.app, table.concat(operator.NAMES, ", "))
    end
    for _, what in ipairs { "app", "action" } do
        local fault = spec.name_fault(parsed[what])
        if fault then
            return nil, ("the %s %q: the name must be %s"):format(what, parsed[what], fault)
        end
    end
    if parsed.metadata and not json.decode(cjson, parsed.metadata) then
        return nil, ("--metadata %q: must be a JSON value, for example '{\"trace\":\"17\"}'")
            :format(parsed.metadata)
    elseif parsed.priority and not priority.check(tonumber(parsed.priority)) then
        return nil, ("--priority %q: must be a whole number from 0 (first) to 9 (last)"):format(
            parsed.priority)
    end
    return true
end

local function usage(err)
    say.err("dirty call: %s\n", err)
    return exit.USAGE
end

-- Report a failure. libdirty's message for an action that streams is advice for code, so the
-- command has its own.
local function report(info)
    local what = info.code == "PROTOCOL" and info.started == "yes"
        and info.message:match("^(.- streams its result): use stream")
    if what then
        info.message = what .. ", which `dirty call --stream` prints; this call has run, and was "
            .. "stopped"
    end
    return socket.report(info)
end

local function call(request, place)
    local values, info = socket.call(request)
    if not values then
        return report(info)
    end
    return output.write(values, place)
end

local function call_stream(request, place)
    local next_piece, info = socket.stream(request)
    local status = exit.OK
    while next_piece and status == exit.OK do
        local values, failure = next_piece()
        if not values then
            info = failure
            break
        end
        status = output.write_piece(values, place)
    end
    return info and report(info) or status
end

--- Make the call.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local ok, err = check(parsed)
    local request, args
    if ok then
        request, err = socket.request(parsed, 30)
    end
    if request then
        args, err = to_values(parsed)
    end
    if not args then
        return usage(err)
    end
    request.app, request.action, request.args = parsed.app, parsed.action, args
    request.priority = parsed.priority and tonumber(parsed.priority)
    request.metadata = parsed.metadata
    local place = output.open(parsed.output)
    if not place then
        return exit.USAGE
    end
    return output.close(place, (parsed.stream and call_stream or call)(request, place))
end

return _M
