--- One call of resty.dirty: sends the request and reads the answer, on a connection of its own. An
-- exchange is a table that belongs to one call at a time. After a good end the next call uses it
-- again.
-- @module resty.dirty.exchange

local connection = require "resty.dirty.connection"
local errors = require "dirty.errors"
local outcome = require "dirty.client.outcome"
local messages = require "resty.dirty.messages"
local wire = require "dirty.wire.constants"

local clear = require "table.clear"

local ceil, sub = math.ceil, string.sub
local now_ms, update_time = connection.now_ms, ngx.update_time
local machine_ns = connection.machine_ns

local _M = {}

--- Lua can't return more values than this.
_M.VALUES_MAX = 7900

local RESPONSE, ERROR, CHUNK, END = wire.RESPONSE, wire.ERROR, wire.CHUNK, wire.END
local HEADER_LEN = wire.HEADER_LEN
local MARGIN_MS = connection.MARGIN_MS
-- The server reads a request of at most this size, with its frame, before it does anything. It may
-- answer a longer one early (OVERLOADED, say) and leave some of it unread. Then it closes the
-- connection.
local SURELY_READ_LEN = 4096
-- A stream that is read after its time gets this long, once, for what has arrived already, above
-- all the server's own message.
local GRACE_MS = 50
-- Chunks after which nginx must update its clock: it stands still while no chunk is waited for.
local CLOCK_EVERY = 64
local IDS = 2 ^ 53
-- Exchanges that a client keeps for later calls, and the pieces and values that such an exchange
-- may have.
local SPARE_MAX, FEW = 64, 32
-- The errors of a send to a peer that is gone. What it sent before may still be readable.
local GONE = {
    ["broken pipe"] = true,
    ["connection reset by peer"] = true,
    ["transport endpoint is not connected"] = true,
    ["closed"] = true,
}

-- Ids are unique in this nginx worker, so that a late frame is never taken for another call's.
local last_id = 0

local function next_id()
    last_id = last_id + 1
    if last_id >= IDS then
        last_id = 1
    end
    return last_id
end

-- -- Failures ----------------------------------------------------------------------------

local function fail(x, code, message)
    x.conn:close()
    return outcome.own(errors.codes[code], message, x.started, x.route, now_ms() - x.start_ms)
end

local function fail_protocol(x, why)
    return fail(x, "PROTOCOL", ("broken answer from %s: %s"):format(x.peer.path, why))
end

local function fail_timeout(x)
    local words = x.kind == CHUNK and messages.no_end or messages.no_answer
    return fail(x, "TIMEOUT", words(x.route, x.peer.path, x.budget_ms, MARGIN_MS))
end

-- Fail the exchange: a read failed after `have` of the `want` bytes of a frame. Sets `retry` if the
-- request can't have run.
local function fail_read(x, err, have, want)
    if err == "timeout" then
        return fail_timeout(x)
    end
    local why = err == "closed" and "closed by the server" or err
    if have > 0 then
        return fail(x, "CONNECTION", ("the connection to %s was lost in the middle of the answer, "
            .. "after %d of %d bytes: %s"):format(x.peer.path, have, want, why))
    end
    -- A part of a request never runs. A reset: the kernel dropped bytes of ours that nobody had
    -- read, so no lane has the request. After the end of input alone nobody knows.
    if x.first_frame and (x.send_failed or err == "connection reset by peer") then
        x.retry, x.started = true, "no"
    end
    return fail(x, "CONNECTION", ("the connection to %s was lost before an answer arrived: %s")
        :format(x.peer.path, why))
end

-- -- Sending the request -----------------------------------------------------------------

-- Encode the request. Returns true; or nil and the codec's message for a wrong argument or a
-- message over a limit.
local function encode(x, budget_ms)
    x.id = next_id()
    x.route.budget_ms = budget_ms
    local pieces, len, text = x.codec:encode_request(x.id, x.route, x.args, x.argc, x.pieces)
    if not pieces then
        return nil, len, text
    end
    x.len = len
    return true
end

-- Send the request, as far as the peer takes it. True: read the answer, which is often there even
-- if not all could be sent.
local function send(x, now)
    local budget_ms = ceil(x.deadline_ms - now)
    if budget_ms <= 0 then
        return fail(x, "TIMEOUT", ("the budget of %d ms ended before the request was sent")
            :format(x.budget_ms))
    elseif budget_ms ~= x.route.budget_ms then
        encode(x, budget_ms) -- its length stays the same
    end
    local ok, err = x.conn:send(x.pieces, x.len, x.until_ms)
    if ok then
        x.sent_whole, x.started = true, "unknown"
        return true
    elseif err == "timeout" then
        return fail_timeout(x)
    elseif not GONE[err] then
        return fail(x, "CONNECTION", ("can't send to %s: %s"):format(x.peer.path, err))
    end
    x.send_failed = true
    return true
end

-- -- Reading the answer ------------------------------------------------------------------

-- Check the id of a frame. With another id the connection can't be used any more. No request has
-- id 0: the server uses it for errors of the connection.
local function check_header(x, kind, id)
    if id ~= x.id and not (id == 0 and kind == ERROR) then
        return fail_protocol(x, ("its id is %s, the request's is %.0f"):format(
            type(id) == "number" and ("%.0f"):format(id) or "unknown", x.id))
    elseif kind == ERROR then
        return true
    elseif kind == wire.REQUEST then
        return fail_protocol(x, "it is a REQUEST")
    end
    x.started = "yes"
    if kind ~= RESPONSE and not x.streams then
        return fail(x, "PROTOCOL", messages.streams(x.route))
    elseif kind == RESPONSE and x.kind == CHUNK then
        return fail_protocol(x, "a RESPONSE after a CHUNK")
    end
    return true
end

-- Whether the server reads on after an error.
local function is_good_after(x, error, started)
    return x.sent_whole and x.frame_id ~= 0 and error.code ~= errors.codes.PROTOCOL.number
        and (x.len <= SURELY_READ_LEN or started == "yes")
end

local function take_error(x, error)
    local entry, info = errors.of(error.code), error.details
    if error.code == 0 then
        return fail_protocol(x, "its error code is 0, which is not an error")
    end
    local started = outcome.started(info.started, entry)
    if is_good_after(x, error, started) then
        x.conn:keep()
    else
        x.conn:close()
    end
    return outcome.failure(entry.code, error.message, info, x.route, started, entry.http_status)
end

-- Decode the payload of a frame that has arrived completely.
local function take_payload(x, kind, frame)
    if kind == ERROR then
        local error, _, text = x.codec:decode_error(sub(frame, HEADER_LEN + 1))
        if not error then
            return fail_protocol(x, text)
        end
        return take_error(x, error)
    elseif kind == END then
        x.values, x.count = false, 0
        return true
    end
    local values, count, why = x.codec:decode_values(frame, x.list, HEADER_LEN + 1)
    if not values then
        return fail_protocol(x, why)
    end
    x.values, x.count = values, count
    return true
end

-- Read a payload that has not arrived completely. Large values come as strings of their own.
local function read_payload(x, kind, header, len)
    local reader = x.codec:reader()
    reader:start()
    local want, _, text = reader:take(header)
    local got = 0
    while want and want > 0 do
        local bytes, err, have = x.conn:receive(want, x.until_ms)
        if not bytes then
            return fail_read(x, err, HEADER_LEN + got + have, HEADER_LEN + len)
        end
        got = got + want
        want, _, text = reader:take(bytes)
    end
    if not want then
        return fail_protocol(x, text)
    elseif kind == ERROR then
        return take_error(x, reader.error)
    end
    x.values, x.count = reader.values, reader.count
    return true
end

-- Read at least a header. Its first byte is enough to detect garbage.
local function read_header(x)
    local bytes, err = x.conn:receive_some(x.until_ms)
    if not bytes then
        return nil, fail_read(x, err, 0, HEADER_LEN)
    end
    while #bytes < HEADER_LEN do
        local _, fault, text = x.codec:decode_header(bytes)
        if fault ~= "MORE" then
            return nil, fail_protocol(x, text)
        end
        local more
        more, err = x.conn:receive_some(x.until_ms)
        if not more then
            return nil, fail_read(x, err, #bytes, HEADER_LEN)
        end
        bytes = bytes .. more
    end
    return bytes
end

-- Whether there is time for another frame of a stream. The first late read sets the end for all
-- later ones. Otherwise endless chunks would extend it for ever.
local function has_time(x)
    x.chunks = x.chunks + 1
    if x.chunks % CLOCK_EVERY == 0 then
        update_time()
    end
    local now = now_ms()
    if not x.is_late and now + GRACE_MS > x.until_ms then
        x.is_late, x.until_ms = true, now + GRACE_MS
    end
    return now < x.until_ms
end

--- Read the next frame of the answer.
-- @tparam table x exchange; afterwards `kind` (RESPONSE, CHUNK, END), `values`, `count`
-- @treturn boolean|nil true; nil, err, info, and then the connection is closed
function _M.read(x)
    if x.kind == CHUNK and not has_time(x) then
        return fail_timeout(x)
    end
    local bytes, _, err, info = read_header(x)
    if not bytes then
        return nil, err, info
    end
    local kind, len, id = x.codec:decode_header(bytes)
    if not kind then
        return fail_protocol(x, id)
    end
    local ok
    ok, err, info = check_header(x, kind, id)
    if not ok then
        return nil, err, info
    end
    x.kind, x.frame_id, x.first_frame = kind, id, false
    local stop = HEADER_LEN + len
    if #bytes < stop then
        x.conn:put_back(sub(bytes, HEADER_LEN + 1))
        return read_payload(x, kind, sub(bytes, 1, HEADER_LEN), len)
    elseif #bytes > stop then
        x.conn:put_back(sub(bytes, stop + 1))
        bytes = sub(bytes, 1, stop)
    end
    return take_payload(x, kind, bytes)
end

-- -- The call ----------------------------------------------------------------------------

local function try(x, now, fresh)
    x.sent_whole, x.send_failed, x.retry, x.first_frame = false, false, false, true
    x.started, x.kind = "no", false
    local opened, err = x.conn:open(x.peer, now, x.deadline_ms, x.until_ms, fresh)
    if not opened then
        return fail(x, messages.connect(x.peer.path, err, x.budget_ms))
    end
    local ok, why, info = send(x, opened)
    if not ok then
        return nil, why, info
    end
    return _M.read(x)
end

local function new()
    return {
        peer = false, codec = false, route = { names = false, app = false, action = false,
            budget_ms = 0, priority = 0, metadata = nil, deadline_ns = nil }, args = false,
        argc = 0, pieces = {},
        len = 0, conn = connection.new(), id = 0, streams = false, budget_ms = 0, start_ms = 0,
        deadline_ms = 0, until_ms = 0, started = "no", sent_whole = false, retry = false,
        send_failed = false, first_frame = false, kind = false, frame_id = 0,
        list = {}, values = false, count = 0, chunks = 0, is_late = false,
    }
end

--- Begin a call: encode its request before anything is opened.
-- @tparam table client
-- @tparam table call `names`, `app`, `action`
-- @tparam table args
-- @tparam number argc
-- @treturn table|nil exchange; nil, fault, text as `encode_request` returns them
function _M.begin(client, call, args, argc)
    local spare, settings = client._spare, client._settings
    local count = #spare
    local x = spare[count] or new()
    spare[count] = nil
    local now, budget_ms, route = now_ms(), settings.budget_ms, x.route
    x.peer, x.codec, x.args, x.argc, x.streams = client._peer, client._codec, args, argc, false
    route.names, route.app, route.action = call.names, call.app, call.action
    route.priority, route.metadata = settings.priority, settings.metadata
    x.budget_ms, x.start_ms, x.deadline_ms = budget_ms, now, now + budget_ms
    local begun_ns = machine_ns()
    route.deadline_ns = begun_ns and begun_ns + budget_ms * 1e6
    x.until_ms = now + budget_ms + MARGIN_MS
    x.count, x.chunks, x.is_late = 0, 0, false
    local ok, fault, text = encode(x, budget_ms)
    if not ok then
        return nil, fault, text
    end
    return x
end

--- Make the call and read the first frame of its answer. Sends the request again if the first one
-- reached nobody.
-- @tparam table x exchange
-- @treturn boolean|nil true; nil, err, info
function _M.run(x)
    local ok, err, info = try(x, x.start_ms, false)
    if not ok and x.retry then
        ok, err, info = try(x, now_ms(), true)
    end
    return ok, err, info
end

--- End an answer that was read to its last byte. The connection is free for the next call if the
-- server has taken the whole request.
function _M.finish(x)
    if x.sent_whole then
        x.conn:keep()
    else
        x.conn:close()
    end
end

--- Give the exchange back for later calls. Its connection was released before, and nobody may
-- hold it any more. Clears its contents.
function _M.give_back(client, x)
    local spare, pieces = client._spare, x.pieces
    local count = #spare
    if count < SPARE_MAX and #pieces <= FEW and x.count <= FEW then
        clear(pieces)
        clear(x.list)
        x.args, x.values, x.route.metadata = false, false, nil
        spare[count + 1] = x
    end
end

--- Make the result for a stream that was closed while it was read. Closes its connection.
-- @return nil, err, info
function _M.left(x)
    return fail(x, "CANCELLED", messages.left(x.route))
end

--- Make the result for a frame with more than VALUES_MAX values.
-- @return nil, err, info
function _M.too_many(route, count)
    return outcome.own(errors.codes.PROTOCOL, ("the reply has %d values, more than Lua's stack "
        .. "can hold"):format(count), "yes", route)
end

return _M
