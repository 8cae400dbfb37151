--- A server that breaks the rules: how is the action that it is asked for.
--
--     luajit spec/support/hostile.lua SOCKET
--
-- Each connection has a process of its own, which ends with it. At SOCKET.deaf is a listener
-- that closes what it accepts, without a look at it, and at SOCKET.mute one that keeps it and
-- reads nothing. The number of connections that all have accepted is the answer to the action
-- `count`, which ends its connection.
-- @module support.hostile

local poll = require "posix.poll"
local signal = require "posix.signal"
local socket = require "posix.sys.socket"
local time = require "posix.time"
local unistd = require "posix.unistd"
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

local function send(fd, bytes)
    local at = 1
    while at <= #bytes do
        local sent = socket.send(fd, bytes:sub(at, at + 65535))
        if not sent then
            return false
        end
        at = at + sent
    end
    return true
end

local function pause(seconds)
    time.nanosleep { tv_sec = 0, tv_nsec = seconds * 1e9 }
end

local function u32(n)
    return string.char(math.floor(n / 2 ^ 24) % 256, math.floor(n / 2 ^ 16) % 256,
        math.floor(n / 256) % 256, n % 256)
end

-- A header that may lie: the length is what is said.
local function header(kind, id, len, version)
    return "DW" .. string.char(version or 1, kind) .. u32(len) .. "\0\0\0\0" .. u32(id)
end

local function frame(kind, id, payload)
    return header(kind, id, #payload) .. payload
end

local function bytes_value(text)
    return "b" .. u32(#text) .. text
end

local function json_value(text)
    return "j" .. u32(#text) .. text
end

local function response(id, ...)
    return table.concat((codec:encode_values(codec.RESPONSE, id, { ... }, select("#", ...))))
end

local R, E, C, F = codec.RESPONSE, codec.ERROR, codec.CHUNK, codec.END

-- What is sent, or a function that sends and says whether to go on.
local ways = {}

function ways.garbled(id)
    local bytes = {}
    for i = 1, 200 do
        bytes[i] = string.char((i * 7919 + id * 104729) % 256)
    end
    return "\0" .. table.concat(bytes)
end

function ways.http() return "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" end
function ways.one_byte() return "H" end
function ways.another_version(id) return header(R, id, 0, 2) end
function ways.another_type(id) return header(9, id, 0) end
function ways.a_request(id) return frame(1, id, "") end
function ways.oversized(id) return header(R, id, 4294967295) end
function ways.oversized_error(id) return header(E, id, 400000) end
function ways.another_id(id) return response(id + 1, "not yours") end
function ways.id_zero() return response(0, "nobody's") end
function ways.no_count(id) return frame(R, id, "\0") end
function ways.empty(id) return frame(R, id, "") end
function ways.more_than_counted(id) return frame(R, id, "\0\1" .. bytes_value("a"):rep(2)) end
function ways.less_than_counted(id) return frame(R, id, "\0\3" .. bytes_value("a"):rep(2)) end
function ways.longer_than_payload(id) return frame(R, id, "\0\1b\255\255\255\255abc") end
function ways.another_tag(id) return frame(R, id, "\0\1m\0\0\0\1a") end
function ways.bad_json(id) return frame(R, id, "\0\1" .. json_value("[1,")) end
function ways.deep_json(id)
    return frame(R, id, "\0\1" .. json_value(("["):rep(5000) .. ("]"):rep(5000)))
end
function ways.code_zero(id)
    return frame(E, id, "\0\0\0\0" .. bytes_value("?") .. json_value("{}"))
end
function ways.details_no_object(id)
    return frame(E, id, "\0\3\0\0" .. bytes_value("?") .. json_value("[]"))
end
function ways.error_cut(id) return frame(E, id, "\0\3\0") end
function ways.end_with_payload(id) return frame(F, id, "x") end
function ways.a_chunk(id) return frame(C, id, "\0\1" .. bytes_value("x")) end
function ways.an_end(id) return frame(F, id, "") end
function ways.response_after_chunk(id)
    return frame(C, id, "\0\1" .. bytes_value("x")) .. response(id, "y")
end
function ways.many_values(id)
    return frame(R, id, "\255\255" .. bytes_value(""):rep(65535))
end

function ways.endless_chunks(id, fd)
    local chunk = frame(C, id, "\0\1" .. bytes_value(("x"):rep(60000)))
    repeat until not send(fd, chunk)
end

-- A stream of chunks without a value, and without an end: at once, and one in a while.
function ways.empty_chunks(id, fd)
    local chunk = frame(C, id, "\0\0")
    repeat until not send(fd, chunk:rep(1000))
end

function ways.slow_empty_chunks(id, fd)
    repeat pause(0.02) until not send(fd, frame(C, id, "\0\0"))
end

function ways.slow_chunks(id, fd)
    repeat pause(0.02) until not send(fd, frame(C, id, "\0\1" .. bytes_value("x")))
end

-- An answer, and bytes behind it for as long as they are taken.
function ways.endless_rest(id, fd)
    repeat until not send(fd, response(id, "fine") .. ("x"):rep(60000))
end

function ways.trickle(id, fd)
    local bytes = response(id, ("x"):rep(1000))
    for i = 1, #bytes do
        pause(0.02)
        if not send(fd, bytes:sub(i, i)) then
            return
        end
    end
end

-- Part of a large frame, a byte at a time.
function ways.large_trickle(id, fd)
    send(fd, header(R, id, 1000007) .. "\0\1b" .. u32(1000000))
    for _ = 1, 1000000 do
        pause(0.02)
        if not send(fd, "x") then
            return
        end
    end
end

-- Of these the last byte of the request stays unread: the end of the connection is a reset.
local RESETS = "reset_"

function ways.reset_after_chunk(id, fd)
    send(fd, frame(C, id, "\0\1" .. bytes_value("x")))
end

function ways.reset_within_chunk(id, fd)
    send(fd, frame(C, id, "\0\1" .. bytes_value("x")):sub(1, -2))
end

-- Two answers to one request: the second is late for it, or early for the next.
function ways.joined(id) return response(id, "once") .. response(id, "twice") end
function ways.joined_with_a_byte(id) return response(id, "once") .. "x" end
function ways.twice(id, fd)
    return send(fd, response(id, "once")) and send(fd, response(id, "twice"))
end

function ways.late(id, fd)
    send(fd, response(id, "once"))
    pause(0.002)
    return send(fd, response(id, "late"))
end

function ways.fine(id) return response(id, "fine") end
function ways.count(id, fd) send(fd, response(id, accepted)) end
function ways.hold(_, fd) socket.recv(fd, 1) end
function ways.close() end

function ways.half_a_header(id, fd) send(fd, response(id, "x"):sub(1, 9)) end
function ways.half_a_payload(id, fd) send(fd, response(id, ("x"):rep(100)):sub(1, 60)) end
function ways.half_of_large(id, fd)
    send(fd, response(id, ("x"):rep(1000000)):sub(1, 500000))
end

-- The answer to a request of which most is not read.
local function refuse_early(fd, id)
    send(fd, table.concat((codec:encode_error(id, 7, "too much", '{"started":"no"}'))))
    socket.shutdown(fd, socket.SHUT_WR)
    pause(0.05)
end

-- Whether the connection goes on.
local function serve(fd)
    local head = receive(fd, 16)
    if not head then
        return false
    end
    local _, len, id = assert(codec:decode_header(head))
    if len > 1000000 then
        return refuse_early(fd, id)
    end
    local payload = receive(fd, len - 1)
    local reset = payload and payload:match(RESETS .. "%l+_chunk")
    if reset then
        return ways[reset](id, fd)
    end
    payload = payload and payload .. (receive(fd, 1) or "")
    local request = payload and codec:decode_request(payload)
    local way = request and ways[request.action]
    local what = way and way(id, fd)
    return type(what) == "string" and send(fd, what) or what == true
end

local function listen(path)
    local fd = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
    assert(socket.bind(fd, { family = socket.AF_UNIX, path = path }))
    assert(socket.listen(fd, 1024))
    return fd
end

local function main(path)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    local deaf, mute, listener = listen(path .. ".deaf"), listen(path .. ".mute"), listen(path)
    local fds = {}
    for _, listening in ipairs { deaf, mute, listener } do
        fds[listening] = { events = { IN = true } }
    end
    while poll.poll(fds, -1) do
        for listening, entry in pairs(fds) do
            if entry.revents and entry.revents.IN then
                local fd = assert(socket.accept(listening))
                accepted = accepted + 1
                if listening == listener and assert(unistd.fork()) == 0 then
                    repeat until not serve(fd)
                    unistd._exit(0)
                end
                if listening ~= mute then
                    unistd.close(fd)
                end
            end
        end
    end
end

main(arg[1])
