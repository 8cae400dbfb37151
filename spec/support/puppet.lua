--- A server that answers as it is told: what to do is the action, with its arguments.
--
--     luajit spec/support/puppet.lua SOCKET
--
-- It serves any number of connections until its stdin ends or it is killed. Actions:
--
-- * `echo` gives its arguments back; `request` gives app, budget_ms, priority and metadata
--   of the request in a table, in how many milliseconds its deadline is, and how many
--   connections there have been
-- * `fail` (code number, message, details) gives that ERROR
-- * `json` gives each argument back as if its bytes were JSON text
-- * `raw` sends its argument as it is, with the request's id at bytes 9 to 16
-- * `stream` sends a CHUNK; `hold` nothing; `close` ends the connection
-- * `steps` sends what each argument, an array, says: `{"chunk", value…}`, `{"end"}`,
--   `{"answer", value…}`, `{"fail", code number, message}`, `{"junk", bytes}`; and `{"close"}`,
--   the last one, ends the connection
--
-- @module support.puppet

local poll = require "posix.poll"
local socket = require "posix.sys.socket"
local unistd = require "posix.unistd"
local wait = require "support.wait"
local wire = require "dirty.wire"

local codec = wire.new { max_args = 65535 }
local accepted = 0

local function receive(fd, len)
    local pieces, left = {}, len
    while left > 0 do
        local bytes = socket.recv(fd, math.min(left, 65536))
        if not bytes or bytes == "" then
            return nil
        end
        pieces[#pieces + 1] = bytes
        left = left - #bytes
    end
    return table.concat(pieces)
end

-- A frame whose payload nobody looks at.
local function frame(kind, id, payload)
    local function u32(n)
        return string.char(math.floor(n / 2 ^ 24), math.floor(n / 2 ^ 16) % 256,
            math.floor(n / 256) % 256, n % 256)
    end
    return "DW\1" .. string.char(kind) .. u32(#payload) .. "\0\0\0\0" .. u32(id) .. payload
end

local actions = {}

function actions.echo(id, request)
    return codec:encode_values(codec.RESPONSE, id, request.args, request.argc)
end

function actions.request(id, request)
    return codec:encode_values(codec.RESPONSE, id, { {
        app = request.app,
        budget_ms = request.budget_ms,
        priority = request.priority,
        metadata = request.metadata,
        deadline_in_ms = request.deadline_ns and request.deadline_ns / 1e6 - wait.now() * 1000,
        accepted = accepted,
    } }, 1)
end

function actions.fail(id, request)
    local code, message, details = unpack(request.args, 1, 3)
    return codec:encode_error(id, code, message, codec:json(details))
end

function actions.json(id, request)
    local payload = { string.char(0, request.argc) }
    for i = 1, request.argc do
        local text = request.args[i]
        payload[i + 1] = "j\0\0" .. string.char(math.floor(#text / 256), #text % 256) .. text
    end
    return { frame(codec.RESPONSE, id, table.concat(payload)) }
end

function actions.raw(id, request)
    local bytes = request.args[1]
    return { bytes:sub(1, 8), frame(1, id, ""):sub(9, 16), bytes:sub(17) }
end

function actions.stream(id)
    return codec:encode_values(codec.CHUNK, id, { "piece" }, 1)
end

local steps = {
    chunk = function(id, ...)
        return codec:encode_values(codec.CHUNK, id, { ... }, select("#", ...))
    end,
    answer = function(id, ...)
        return codec:encode_values(codec.RESPONSE, id, { ... }, select("#", ...))
    end,
    fail = function(id, code, message)
        return codec:encode_error(id, code, message, "{}")
    end,
    junk = function(_, bytes)
        return { bytes }
    end,
}
steps["end"] = function(id)
    return codec:encode_end(id)
end

function actions.steps(id, request)
    local all, closes = {}, false
    for _, step in ipairs(request.args) do
        if step[1] == "close" then
            closes = true
        else
            local pieces = assert(steps[step[1]](id, unpack(step, 2)))
            all[#all + 1] = table.concat(pieces)
        end
    end
    return all, closes
end

function actions.hold()
    return {}
end

-- Whether the connection goes on.
local function serve(fd)
    local header = receive(fd, 16)
    if not header then
        return false
    end
    local _, len, id = assert(codec:decode_header(header))
    local payload = receive(fd, len)
    local request = payload and assert(codec:decode_request(payload))
    local action = request and actions[request.action]
    if not action then
        return false
    end
    local pieces, closes = action(id, request)
    local bytes = table.concat((assert(pieces, closes)))
    local at = 1
    while at <= #bytes do
        local sent = socket.send(fd, bytes:sub(at, at + 65535))
        if not sent then
            return false
        end
        at = at + sent
    end
    return closes ~= true
end

local function main(path)
    local listener = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
    assert(socket.bind(listener, { family = socket.AF_UNIX, path = path }))
    assert(socket.listen(listener, 64))
    local fds = { [listener] = { events = { IN = true } } }
    while poll.poll(fds, -1) do
        local ready = {}
        for fd, entry in pairs(fds) do
            local now = entry.revents or {}
            ready[#ready + 1] = (now.IN or now.HUP or now.ERR) and fd or nil
        end
        for _, fd in ipairs(ready) do
            if fd == listener then
                accepted = accepted + 1
                fds[assert(socket.accept(listener))] = { events = { IN = true } }
            elseif not serve(fd) then
                fds[fd] = nil
                unistd.close(fd)
            end
        end
    end
end

main(arg[1])
