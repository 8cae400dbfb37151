--- An app for the tests of what becomes of a call whose worker is stuck or killed.
local dirty = require("dirty")
local ffi = require("ffi")

ffi.cdef([[
    int stuck_getpid(void) __asm__("getpid");
    int stuck_dup(int) __asm__("dup");
    int stuck_dup2(int, int) __asm__("dup2");
    int stuck_socketpair(int, int, int, int[2]) __asm__("socketpair");
    int stuck_getsockopt(int, int, int, int *, unsigned *) __asm__("getsockopt");
    ssize_t stuck_send(int, const char *, size_t, int) __asm__("send");
    typedef struct { unsigned long now, most; } stuck_rlimit;
    int stuck_getrlimit(int, stuck_rlimit *) __asm__("getrlimit");
    int stuck_setrlimit(int, const stuck_rlimit *) __asm__("setrlimit");
]])

local C = ffi.C
local AF_UNIX, SOL_SOCKET, SO_TYPE, SOCK_SEQPACKET, MSG_DONTWAIT = 1, 1, 3, 5, 0x40
local RLIMIT_NOFILE = 7

local Stuck = dirty.app()

--- The process that serves the call.
function Stuck:pid()
    return C.stuck_getpid()
end

-- The lane's end of its channel to the arbiter, by its kind: no other socket has it.
local function find_channel()
    local kind, size = ffi.new("int[1]"), ffi.new("unsigned[1]")
    for fd = 3, 1023 do
        size[0] = 4
        if C.stuck_getsockopt(fd, SOL_SOCKET, SO_TYPE, kind, size) == 0
            and kind[0] == SOCK_SEQPACKET then
            return fd
        end
    end
    error("no channel")
end

--- Answer, and never get to say that it is done: the place of the channel is taken by a
-- socket that is full, the channel itself stays open.
function Stuck:answer_without_done(value)
    local pair = ffi.new("int[2]")
    local channel = find_channel()
    assert(C.stuck_dup(channel) >= 0)
    assert(C.stuck_socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0)
    while C.stuck_send(pair[0], "x", 1, MSG_DONTWAIT) == 1 do
        self.filled = true
    end
    assert(C.stuck_dup2(pair[0], channel) == channel)
    return value
end

--- From now on the worker can't get a descriptor, as if its apps had leaked them all.
function Stuck:starve()
    local limit = ffi.new("stuck_rlimit")
    assert(C.stuck_getrlimit(RLIMIT_NOFILE, limit) == 0)
    limit.now = 3
    assert(C.stuck_setrlimit(RLIMIT_NOFILE, limit) == 0)
    return true
end

return Stuck
