--- An answer that comes in pieces: what `client:stream` gives.
--
-- A stream has a connection to itself. It goes to nginx's pool when the stream was read to
-- its end, and is closed in every other case: by `close`, by garbage collection (the
-- cosocket's own), and with the end of the request. The runtime sees that, and stops.
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

-- The frame that was read last is in `x`: let the connection go if it is the last one.
local function settle(self)
    local x = self._x
    if x.kind ~= CHUNK then
        self._x = nil
        exchange.finish(x)
    end
end

--- Make a stream of a call whose first frame was read.
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

-- Read the next frame. False at the end and after a failure, which is kept.
local function read(self)
    local x = self._x
    if not x then
        return false
    end
    self._is_read = true
    local ok, err, info = exchange.read(x)
    self._is_read = false
    if self._x ~= x then -- it was closed meanwhile
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

--- The next chunk; a stream is a function to Lua, so a generic `for` calls it. Waits until
-- the chunk is there.
-- @return the chunk's values, as many as the app gave at that step; a first one that is nil
-- comes as `dirty.null` (nil would end the loop). nil at the end, and when it failed: then
-- `err` and `info` of the stream tell as `execute` does. Raises while another light thread
-- reads
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

--- Leave the stream. Before its end this cancels the call: the app is stopped at its next
-- chunk. A stream that has ended may be closed as well. Where another light thread is reading,
-- that one ends with `CANCELLED` at the next chunk, and the connection then.
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
