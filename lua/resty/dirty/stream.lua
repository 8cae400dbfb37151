--- The answer of an action in chunks, from `client:stream`.
--
-- A stream has a connection of its own. If the stream was read to its end, the connection goes to
-- nginx's pool. In every other case it is closed: by `close`, by garbage collection of the
-- cosocket, or at the end of the request. The runtime notices that and stops the action.
--
-- One light thread reads it at a time. Another may close it.
-- @module resty.dirty.stream
-- @usage
-- local s, err, info = client:stream("llm", "complete", prompt)
-- if not s then return ngx.exit(info.http_status) end
-- for token in s do
--     ngx.print(token)
--     ngx.flush(true)
-- end
-- if s.err then ngx.log(ngx.ERR, s.err) end

local exchange = require "resty.dirty.exchange"
local messages = require "resty.dirty.messages"
local wire = require "dirty.wire.constants"

local null = ngx.null
local setmetatable, unpack = setmetatable, unpack

local _M = {}
local methods = {}
local mt = { __index = methods }

local CHUNK = wire.CHUNK

-- Release the connection if the frame that was read last, in `x`, is the last one.
local function settle(self)
    local x = self._x
    if x.kind ~= CHUNK then
        self._x = nil
        exchange.finish(x)
    end
end

--- Make a stream from a call whose first frame was read.
-- @tparam table x exchange
-- @treturn table stream
function _M.new(x)
    local self = setmetatable({
        _x = x, _call = x.route, _values = x.values, _count = x.count, _is_read = false,
    }, mt)
    settle(self)
    return self
end

local function fail(self, err, info)
    self._x, self.err, self.info = nil, err, info
end

-- Read the next frame. False at the end and after a failure, which the stream keeps.
local function read(self)
    local x = self._x
    if not x then
        return false
    end
    self._is_read = true
    local ok, err, info = exchange.read(x)
    self._is_read = false
    if self._x ~= x then -- it was closed while we waited
        ok, err, info = exchange.left(x)
    end
    if not ok then
        fail(self, err, info)
        return false
    end
    self._values, self._count = x.values, x.count
    settle(self)
    return true
end

--- Get the next chunk. A generic `for` calls the stream as a function. Waits until the chunk is
-- there.
-- @return the chunk's values, as many as the app returned at that step. A first nil comes as
-- `dirty.null`, because nil would end the loop. nil at the end and after a failure: then `err`
-- and `info` of the stream are as for `execute`. Raises while another light thread reads
function mt:__call()
    if self._is_read then
        error(messages.reader(self._call), 2)
    end
    while self._count == 0 or not self._values do
        if not read(self) then
            return nil
        end
    end
    local values, count = self._values, self._count
    self._values = nil
    if count > exchange.VALUES_MAX then
        self:close()
        local _, err, info = exchange.too_many(self._call, count)
        fail(self, err, info)
        return nil
    end
    if values[1] == nil then
        return null, unpack(values, 2, count)
    end
    return unpack(values, 1, count)
end

--- Close the stream. Before its end this cancels the call: the app stops at its next chunk. A
-- stream that has ended may be closed, too. If another light thread is reading, its read ends
-- with `CANCELLED` at the next chunk, and then the connection is closed.
function methods:close()
    local x = self._x
    self._x, self._values, self._count = nil, nil, 0
    if x and self._is_read then
        x.conn:leave()
    elseif x then
        x.conn:close()
    end
end

return _M
