--- A connection that sends any bytes, for specs of the protocol itself. Every wait has a
-- deadline.
-- @module support.raw

local poll = require "posix.poll"
local signal = require "posix.signal"
local socket = require "posix.sys.socket"
local unistd = require "posix.unistd"
local wait = require "support.wait"
local wire = require "dirty.wire"
local checks = require "support.wire_checks"

local fcntl = require "posix.fcntl"
local errno = require "posix.errno"

local _M = {}
local methods = {}
local mt = { __index = methods }

local SECONDS = 10
local codec = wire.new()

--- Connect to a runtime's socket.
-- @treturn table connection
function _M.connect(path)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    local fd = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
    assert(socket.connect(fd, { family = socket.AF_UNIX, path = path }))
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.O_NONBLOCK)
    return setmetatable({ fd = fd, bytes = "" }, mt)
end

local function left_ms(deadline)
    return math.max(0, math.ceil((deadline - wait.now()) * 1000))
end

local function await(self, event, deadline)
    local ready = poll.poll({ [self.fd] = { events = { [event] = true } } }, left_ms(deadline))
    return ready and ready > 0
end

--- Send bytes.
-- @treturn boolean|nil true when all are sent; nil and "closed" or "timeout"
function methods:send(bytes, seconds)
    local deadline = wait.now() + (seconds or SECONDS) * wait.SLOW
    local at = 1
    while at <= #bytes do
        local sent, _, code = socket.send(self.fd, bytes:sub(at, at + 65535))
        if sent then
            at = at + sent
        elseif code ~= errno.EAGAIN then
            return nil, "closed"
        elseif not await(self, "OUT", deadline) then
            return nil, "timeout"
        end
    end
    return true
end

-- Have at least `count` bytes; nil, "closed" or "timeout".
local function fill(self, count, deadline)
    while #self.bytes < count do
        local more, _, code = socket.recv(self.fd, 65536)
        if more and #more > 0 then
            self.bytes = self.bytes .. more
        elseif more or code ~= errno.EAGAIN then
            return nil, "closed"
        elseif not await(self, "IN", deadline) then
            return nil, "timeout"
        end
    end
    return true
end

--- Read one frame.
-- @treturn number|nil its type; nil and "closed", "timeout" or a fault
-- @treturn number|string id
-- @return what it says, see support.wire_checks.decode
function methods:frame(seconds)
    local deadline = wait.now() + (seconds or SECONDS) * wait.SLOW
    local ok, err = fill(self, 16, deadline)
    if not ok then
        return nil, #self.bytes > 0 and "cut" or err
    end
    local kind, len, text = codec:decode_header(self.bytes:sub(1, 16))
    if not kind then
        return nil, len, text
    end
    ok, err = fill(self, 16 + len, deadline)
    if not ok then
        return nil, err == "closed" and "cut" or err
    end
    local frame = self.bytes:sub(1, 16 + len)
    self.bytes = self.bytes:sub(17 + len)
    return checks.decode(codec, frame, "client")
end

--- Whether the server ends the connection, without another byte.
-- @treturn boolean
function methods:ends(seconds)
    local ok, err = fill(self, #self.bytes + 1, wait.now() + (seconds or SECONDS) * wait.SLOW)
    return not ok and err == "closed" and self.bytes == ""
end

--- Shut our sending side down.
function methods:half_close()
    socket.shutdown(self.fd, socket.SHUT_WR)
end

function methods:close()
    if self.fd then
        unistd.close(self.fd)
        self.fd = nil
    end
end

return _M
