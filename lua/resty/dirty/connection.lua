--- The connection of a call of resty.dirty: a cosocket, and bytes that were received early. The
-- table may serve one call after the other. Its cosocket belongs to the call that opened it. Only
-- an idle cosocket goes to nginx's pool.
--
-- Times are milliseconds on nginx's monotonic clock. It stands still while Lua runs and moves on
-- when nginx waits.
-- @module resty.dirty.connection

local concat, sub, min = table.concat, string.sub, math.min
local sleep, tcp = ngx.sleep, ngx.socket.tcp
local pcall, setmetatable = pcall, setmetatable

local _M = {}
local methods = {}
local mt = { __index = methods }

--- A call waits this much longer than its budget, so that the server's own answer, which says
-- what happened, comes first.
_M.MARGIN_MS = 2000

-- nginx stores timeouts in 31 bits.
local WAIT_MAX_MS = 2147483647
-- Pauses between tries while the listen queue is full, doubling, in seconds.
local PAUSE_FIRST, PAUSE_LAST = 0.001, 0.032
local QUEUE_FULL = "resource temporarily unavailable" -- connect(2): EAGAIN
-- Bytes of one receive. nginx returns at most lua_socket_buffer_size anyway.
local RECEIVE_MAX = 65536
-- Long strings are sent in pieces of this size. Each piece has a deadline of its own, and nginx
-- copies what it sends.
local PIECE_MAX = 262144
-- After receiving this many bytes, pause once, so that nginx serves others although more has
-- arrived. The pause is the shortest that all versions accept without complaint.
local TURN_LEN, TURN_PAUSE = 1048576, 0.001
-- A pool that stays empty: connections from it are always new.
local FRESH = { pool = "dirty:fresh" }

local has_clock, clock = pcall(require, "resty.core.time")

--- Milliseconds on nginx's monotonic clock.
_M.now_ms = has_clock and clock.monotonic_msec or function()
    return ngx.now() * 1000
end
local now_ms = _M.now_ms

-- Get the machine's clock, which the runtime reads, too. nginx's clock stands still while Lua runs
-- and may start at another value.
local function machine_clock()
    local ffi = require "ffi"
    ffi.cdef 'int dirty_clock_gettime(int, long *) __asm__("clock_gettime");'
    local MONOTONIC, C, time, tonumber = 1, ffi.C, ffi.new "long[2]", tonumber
    local function now_ns()
        C.dirty_clock_gettime(MONOTONIC, time)
        return tonumber(time[0]) * 1e9 + tonumber(time[1])
    end
    return now_ns() > 0 and now_ns
end

local has_machine_clock, machine_ns = pcall(machine_clock)

--- Nanoseconds of CLOCK_MONOTONIC, for deadlines that the runtime reads. nil if LuaJIT was built
-- without FFI.
_M.machine_ns = has_machine_clock and machine_ns or function() end

local function wait_ms(till_ms, now)
    local left = till_ms - now
    return left < 1 and 1 or min(left, WAIT_MAX_MS)
end

-- -- Opening and closing -----------------------------------------------------------------

--- Make a connection that is not open.
-- @treturn table connection
function _M.new()
    return setmetatable({
        _sock = false, _peer = false, _fresh = false, _early = "", _set_ms = 0, _turn = 0,
        _left = false,
    }, mt)
end

-- Connect a cosocket. Returns it; or nil, err.
local function connect(peer, now, deadline_ms, until_ms, fresh)
    local sock, wait = tcp(), wait_ms(until_ms, now)
    sock:settimeouts(wait_ms(deadline_ms, now), wait, wait)
    local ok, err = sock:connect(peer.address, fresh and FRESH or peer.pool)
    if not ok then
        return nil, err
    end
    return sock
end

-- Connect again until the listen queue is no longer full. Also returns the time then. This loop is
-- not in `connect`, because LuaJIT would then compile nothing of a call.
local function connect_again(peer, deadline_ms, until_ms, fresh)
    local pause = PAUSE_FIRST
    while true do
        local left = (deadline_ms - now_ms()) / 1000
        if left <= 0 then
            return nil, QUEUE_FULL
        end
        sleep(min(pause, left))
        local now = now_ms()
        local sock, err = connect(peer, now, deadline_ms, until_ms, fresh)
        if sock or err ~= QUEUE_FULL then
            return sock, err, now
        end
        pause = min(pause * 2, PAUSE_LAST)
    end
end

--- Open it, from the pool if the pool has one.
-- @tparam table peer `address` ("unix:PATH"), `pool` (options of `connect`)
-- @tparam number now
-- @tparam number deadline_ms stop trying at this time if the listen queue is full
-- @tparam number until_ms when its call gives up
-- @tparam boolean fresh it must be new; then it does not go to the pool
-- @treturn number|nil the time afterwards; nil, err (nginx's message)
function methods:open(peer, now, deadline_ms, until_ms, fresh)
    local sock, err = connect(peer, now, deadline_ms, until_ms, fresh)
    if not sock and err == QUEUE_FULL then
        sock, err, now = connect_again(peer, deadline_ms, until_ms, fresh)
    end
    if not sock then
        return nil, err
    end
    self._sock, self._peer, self._fresh = sock, peer, fresh
    self._early, self._set_ms, self._turn, self._left = "", now, 0, false
    return now
end

--- Close it.
function methods:close()
    local sock = self._sock
    if sock then
        self._sock, self._early = false, ""
        sock:close()
    end
end

--- Make the light thread that receives from it close it at its next wake-up. While a light thread
-- waits for a cosocket, nginx lets no other close it.
function methods:leave()
    self._left = true
end

--- Put it into the pool for the next call, if no byte is left behind the answer.
function methods:keep()
    local sock, peer, early = self._sock, self._peer, self._early
    self._sock, self._early = false, ""
    if self._fresh or early ~= "" or not sock:setkeepalive(peer.keep_ms, peer.size) then
        sock:close()
    end
end

--- Close the idle connections of a pool.
function _M.drain(peer)
    for _ = 1, peer.size do
        local sock = tcp()
        -- a pooled connection is returned without a look at the address; this address is invalid
        if not sock:connect("unix:", peer.pool) then
            return
        end
        sock:close()
    end
end

-- -- Sending -----------------------------------------------------------------------------

local function send_string(self, bytes, until_ms)
    for at = 1, #bytes, PIECE_MAX do
        local wait = wait_ms(until_ms, now_ms())
        self._sock:settimeouts(wait, wait, wait)
        local ok, err = self._sock:send(sub(bytes, at, at + PIECE_MAX - 1))
        if not ok then
            return nil, err
        end
    end
    return true
end

--- Send the first frame. `open` has set the time.
-- @tparam {string,...} pieces
-- @tparam number len bytes in all
-- @tparam number until_ms when to give up
-- @treturn boolean|nil true
-- @treturn nil|string "timeout", or nginx's message
function methods:send(pieces, len, until_ms)
    if len <= PIECE_MAX then
        -- nginx takes a string more quickly than an array
        return self._sock:send(#pieces == 1 and pieces[1] or pieces)
    end
    for i = 1, #pieces do
        local ok, err = send_string(self, pieces[i], until_ms)
        if not ok then
            return nil, err
        end
    end
    return true
end

-- -- Receiving ---------------------------------------------------------------------------

-- Receive some bytes, at most `max`. Every receive waits only for the rest of the deadline, so a
-- peer that sends byte by byte can't extend it.
local function receive(self, max, until_ms)
    local now = now_ms()
    if now ~= self._set_ms then -- nginx's clock has moved
        local left = until_ms - now
        if left <= 0 then
            return nil, "timeout"
        end
        self._set_ms, self._turn = now, 0
        self._sock:settimeout(min(left, WAIT_MAX_MS))
    end
    local bytes, err = self._sock:receiveany(max)
    if not bytes then
        return nil, err
    end
    self._turn = self._turn + #bytes
    if self._turn >= TURN_LEN then
        self._turn = 0
        sleep(TURN_PAUSE)
    end
    if self._left then
        return nil, "left"
    end
    return bytes
end

--- Receive the bytes that are there, at least 1.
-- @tparam number until_ms when to give up
-- @treturn string|nil
-- @treturn nil|string "timeout", "closed", "left", or nginx's message
function methods:receive_some(until_ms)
    local early = self._early
    if early ~= "" then
        self._early = ""
        return early
    end
    return receive(self, RECEIVE_MAX, until_ms)
end

--- Receive exactly this many bytes.
-- @tparam number want at least 1
-- @tparam number until_ms when to give up
-- @treturn string|nil
-- @treturn nil|string as for receive_some
-- @treturn nil|number how many have arrived
function methods:receive(want, until_ms)
    local early = self._early
    local have = #early
    if have >= want then
        self._early = sub(early, want + 1)
        return have == want and early or sub(early, 1, want)
    end
    local pieces, count = { early }, 1
    self._early = ""
    while have < want do
        local bytes, err = receive(self, min(want - have, RECEIVE_MAX), until_ms)
        if not bytes then
            return nil, err, have
        end
        count, have = count + 1, have + #bytes
        pieces[count] = bytes
    end
    return concat(pieces)
end

--- Put back bytes that were received too early.
-- @tparam string bytes
function methods:put_back(bytes)
    self._early = bytes .. self._early
end

return _M
