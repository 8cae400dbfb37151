--- An answer that comes in pieces: what `client:stream` of the plain Lua client gives.
--
-- A stream has a connection to itself. The next stream uses it again when this one was read
-- to its end; in every other case it is closed, by `close` or by garbage collection. The
-- runtime sees that, and stops.
--
-- In a process that was forked meanwhile a stream gives what had come before the fork and then
-- fails, and `close` ends nothing but the copy: the stream goes on in the parent.
-- @module dirty.client.stream

local core = require "dirty.core"
local errors = require "dirty.errors"
local json = require "dirty.json"
local outcome = require "dirty.client.outcome"

local _M = {}
local methods = {}
local mt = { __index = methods }

-- Connections that are kept for later streams of a client.
local KEPT_MAX = 4

local unpack = rawget(table, "unpack") or unpack

-- -- Handles: of dirty.core, for streams -------------------------------------------------

local handles = {}

--- The handles that the streams of a client use.
function _M.handles(socket, max_message)
    return setmetatable({ _socket = socket, _max_message = max_message },
        { __index = handles })
end

function handles:take(budget_ms)
    return table.remove(self) or core.open(self._socket, budget_ms, self._max_message)
end

function handles:give_back(handle)
    if #self < KEPT_MAX then
        self[#self + 1] = handle
    else
        core.close(handle)
    end
end

function handles:clear()
    while #self > 0 do
        core.close(table.remove(self))
    end
end

-- -- Streams -----------------------------------------------------------------------------

--- Make a call and wait for the first frame of its answer.
-- @tparam table client
-- @tparam string app
-- @tparam string action
-- @tparam table args encoded, with their count and tags
-- @treturn table|nil stream; or nil, err, info
function _M.open(client, app, action, args, count, tags)
    local handle = client._handles:take(client._settings.budget_ms)
    local call = { app = app, action = action }
    local function begun(stream, ...)
        if stream then
            return setmetatable({
                _stream = stream, _handle = handle, _handles = client._handles,
                _codec = client._codec, _call = call, _args = args,
            }, mt)
        end
        client._handles:give_back(handle)
        return outcome.take(client._codec, call, false, ...)
    end
    return begun(core.stream(handle, app, action, client._settings, args, count, tags))
end

-- The stream is over: its handle is free. libdirty has closed the connection if need be.
local function let_go(self)
    core.leave(self._stream)
    self._handles:give_back(self._handle)
    self._stream, self._handle, self._args = nil, nil, nil
end

local function fail(self, _, err, info)
    let_go(self)
    self.err, self.info = err, info
    return nil
end

local next_chunk

-- What nil would end the loop in place of; without cjson there is no null either.
local function null()
    local cjson = json.load()
    return cjson and cjson.null or false
end

-- What the C module gave: a chunk, nothing at the end, or false and a failure.
local function take(self, ...)
    local count, tags = select("#", ...) - 1, (...)
    if count < 0 then
        return let_go(self)
    elseif tags == false then
        return fail(self, outcome.take(self._codec, self._call, ...))
    elseif count == 0 then
        return next_chunk(self)
    end
    local list = { select(2, ...) }
    if tags then
        local ok, err = self._codec:decode(tags, list, count)
        if not ok then
            return fail(self, outcome.own(errors.codes.PROTOCOL, "broken answer: " .. err, "yes",
                self._call))
        end
    end
    if list[1] == nil then
        list[1] = null()
    end
    return unpack(list, 1, count)
end

function next_chunk(self)
    if not self._stream then
        return nil
    end
    return take(self, core.next(self._handle, self._stream))
end

--- The next chunk; a stream is a function to Lua, so a generic `for` calls it. Blocks until
-- the chunk is there.
-- @return the chunk's values, as many as the app gave at that step; a first one that is nil
-- comes as `dirty.null` (nil would end the loop). nil at the end, and when it failed: then
-- `err` and `info` of the stream tell as `execute` does
mt.__call = next_chunk

--- Leave the stream. Before its end this cancels the call: the app is stopped at its next
-- chunk. A stream that has ended may be closed as well.
function methods:close()
    if self._stream then
        let_go(self)
    end
end

return _M
