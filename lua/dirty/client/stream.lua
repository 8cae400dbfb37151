--- The answer of an action in chunks, from `client:stream` of the client for plain Lua.
--
-- A stream has a connection of its own. If the stream was read to its end, the next stream uses
-- the connection again. In every other case it is closed, by `close` or by garbage collection. The
-- runtime notices that and stops the action.
--
-- After a fork, a stream in the child returns what had arrived before the fork, then fails. `close`
-- in the child closes only its copy. The stream goes on in the parent.
-- @module dirty.client.stream

local core = require "dirty.core"
local errors = require "dirty.errors"
local json = require "dirty.json"
local outcome = require "dirty.client.outcome"

local _M = {}
local methods = {}
local mt = { __index = methods }

-- Connections that a client keeps for later streams.
local KEPT_MAX = 4

local unpack = rawget(table, "unpack") or unpack

-- -- Handles of dirty.core for streams ----------------------------------------------------

local handles = {}

--- Make the handles that the streams of a client use.
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
-- @tparam table args encoded; with their count and tags
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

-- End the stream and release its handle. libdirty has closed the connection if necessary.
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

-- The value in place of a first nil, which would end the loop. Without cjson there is no null.
local function null()
    local cjson = json.load()
    return cjson and cjson.null or false
end

-- Take what the C module returned: a chunk, nothing at the end, or false and a failure.
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

--- Get the next chunk. A generic `for` calls the stream as a function. Blocks until the chunk is
-- there.
-- @return the chunk's values, as many as the app returned at that step. A first nil comes as
-- `dirty.null`, because nil would end the loop. nil at the end and after a failure: then `err`
-- and `info` of the stream are as for `execute`
mt.__call = next_chunk

--- Close the stream. Before its end this cancels the call: the app stops at its next chunk. A
-- stream that has ended may be closed, too.
function methods:close()
    if self._stream then
        let_go(self)
    end
end

return _M
