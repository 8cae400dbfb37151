--- A datagram socket that stands in for the service manager's $NOTIFY_SOCKET.
-- @module support.notify_socket

local ffi = require "ffi"
local wait = require "support.wait"

ffi.cdef [[
    typedef struct { uint16_t family; char path[108]; } dirty_spec_address;
    int socket(int, int, int);
    int bind(int, const dirty_spec_address *, uint32_t);
    int connect(int, const dirty_spec_address *, uint32_t);
    ssize_t recv(int, void *, size_t, int);
    ssize_t send(int, const void *, size_t, int);
    int close(int);
]]

local AF_UNIX, SOCK_DGRAM, MSG_DONTWAIT = 1, 2, 0x40

local _M = {}
local methods = {}
local mt = { __index = methods }

--- Open it.
-- @tparam string name a path, or @ and an abstract name
-- @treturn table socket: `messages` (texts so far), and the methods below
function _M.open(name)
    local address = ffi.new "dirty_spec_address"
    address.family = AF_UNIX
    ffi.copy(address.path, (name:gsub("^@", "\0")))
    local fd = ffi.C.socket(AF_UNIX, SOCK_DGRAM, 0)
    assert(fd >= 0 and ffi.C.bind(fd, address, 2 + #name) == 0, "bind " .. name)
    return setmetatable({ fd = fd, address = address, address_len = 2 + #name, messages = {},
        times = {} }, mt)
end

--- Send to it until it takes no more, as if it had not been read for long.
-- @treturn number how many messages that were
function methods.fill(self)
    local fd, count = ffi.C.socket(AF_UNIX, SOCK_DGRAM, 0), 0
    assert(fd >= 0 and ffi.C.connect(fd, self.address, self.address_len) == 0, "connect")
    while ffi.C.send(fd, "FILLER", 6, MSG_DONTWAIT) == 6 do
        count = count + 1
    end
    ffi.C.close(fd)
    return count
end

--- Take what has come.
function methods.take(self)
    local room = ffi.new "char[4096]"
    repeat
        local n = tonumber(ffi.C.recv(self.fd, room, 4096, MSG_DONTWAIT))
        if n > 0 then
            self.messages[#self.messages + 1] = ffi.string(room, n)
            self.times[#self.times + 1] = wait.now()
        end
    until n <= 0
    return self.messages
end

--- Wait for a message that a pattern finds.
-- @tparam string pattern
-- @tparam[opt=1] number from number of the first message to look at
-- @treturn string the message
-- @treturn number its number
function methods.wait(self, pattern, from)
    local message, number
    wait.until_true(function()
        self:take()
        for i = from or 1, #self.messages do
            if self.messages[i]:find(pattern) then
                message, number = self.messages[i], i
                return true
            end
        end
    end, 20, function()
        return ("a message with %q in:\n%s"):format(pattern, table.concat(self.messages, "\n--\n"))
    end)
    return message, number
end

--- Close it.
function methods.close(self)
    ffi.C.close(self.fd)
end

return _M
