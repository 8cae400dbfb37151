--- HTTP requests over a unix socket or to a port of this machine, any number of them at once.
-- Every wait has a deadline.
--
--     local r = http.request(nginx.socket, { uri = "/thumb", body = jpeg })
--     assert.equal(200, r.status, r.body)
--
-- @module support.http

local errno = require "posix.errno"
local fcntl = require "posix.fcntl"
local poll = require "posix.poll"
local signal = require "posix.signal"
local socket = require "posix.sys.socket"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local _M = {}
local methods = {}
local mt = { __index = methods }

local SECONDS = 20
local PIECE = 65536

local function head(o)
    local lines = { ("%s %s HTTP/1.1"):format(o.method or o.body and "POST" or "GET", o.uri),
        "Host: spec", "Connection: " .. (o.keep and "keep-alive" or "close") }
    if o.body then
        lines[#lines + 1] = "Content-Length: " .. #o.body
    end
    for name, value in pairs(o.headers or {}) do
        lines[#lines + 1] = name .. ": " .. value
    end
    return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

local function connect(to)
    local port = tonumber(to)
    local fd = assert(socket.socket(port and socket.AF_INET or socket.AF_UNIX,
        socket.SOCK_STREAM, 0))
    assert(socket.connect(fd, port and { family = socket.AF_INET, addr = "127.0.0.1", port = port }
        or { family = socket.AF_UNIX, path = to }))
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.O_NONBLOCK)
    return fd
end

--- Connect and begin to send a request; the answer is read by `step`.
-- @tparam string|number to path of the server's socket, or its port
-- @tparam table o `uri`, `method` (GET, with a body POST), `headers`, `body`; `raw` are bytes
--   that follow the head as they are
-- @treturn table exchange: `fd`; when it is done `status` (number), `headers` (by name in
--   lower case), `body`; `failed` (why) if there was no whole answer
function _M.open(to, o)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return setmetatable({
        fd = connect(to), out = head(o) .. (o.body or o.raw or ""), at = 1, pieces = {},
    }, mt)
end

local function send(self)
    while self.at <= #self.out do
        local sent, _, code = socket.send(self.fd, self.out:sub(self.at, self.at + PIECE - 1))
        if not sent then
            if code ~= errno.EAGAIN then
                self.at = #self.out + 1 -- the answer may be there all the same
            end
            return
        end
        self.at = self.at + sent
    end
end

-- The body of a chunked answer.
local function unchunk(text)
    local pieces, at = {}, 1
    while true do
        local from, to, size = text:find("^(%x+)[^\r\n]*\r\n", at)
        local len = from and tonumber(size, 16)
        if not len or #text < to + len then
            return nil
        elseif len == 0 then
            return table.concat(pieces)
        end
        pieces[#pieces + 1] = text:sub(to + 1, to + len)
        at = to + len + 3
    end
end

-- Take what has come until the server closed.
local function parse(self, text)
    local first, rest = text:match("^HTTP/1%.1 (%d+)[^\r\n]*\r\n(.*)$")
    local stop = rest and rest:find("\r\n\r\n", 1, true)
    if not stop then
        self.failed = text == "" and "no answer" or "no HTTP: " .. text:sub(1, 60)
        return
    end
    self.headers = {}
    for name, value in rest:sub(1, stop + 1):gmatch("([^:\r\n]+):%s*([^\r\n]*)\r\n") do
        self.headers[name:lower()] = value
    end
    local body = rest:sub(stop + 4)
    local len = tonumber(self.headers["content-length"])
    if self.headers["transfer-encoding"] == "chunked" then
        body = unchunk(body)
    end
    if not body or (len and len ~= #body) then
        self.failed = "the answer is cut"
    end
    self.status, self.body = tonumber(first), body
end

--- Send and receive what can be now.
-- @treturn boolean whether it is done
function methods.step(self)
    send(self)
    while self.fd do
        local bytes, _, code = socket.recv(self.fd, PIECE)
        if bytes and bytes ~= "" then
            self.pieces[#self.pieces + 1] = bytes
        elseif not bytes and code == errno.EAGAIN then
            return false
        else
            parse(self, table.concat(self.pieces))
            self:close()
        end
    end
    return true
end

--- What has come so far, head and all.
function methods.received(self)
    return table.concat(self.pieces)
end

--- Hang up.
function methods.close(self)
    if self.fd then
        unistd.close(self.fd)
        self.fd = nil
    end
end

--- Go on with many until all are done; the rest is hung up on, and `failed` says so.
-- @tparam {table,...} exchanges
-- @tparam[opt=20] number seconds
function _M.finish(exchanges, seconds)
    local deadline = wait.now() + (seconds or SECONDS) * wait.SLOW
    local fds, by_fd = {}, {}
    for _, x in ipairs(exchanges) do
        if not x:step() then
            fds[x.fd], by_fd[x.fd] = { events = { IN = true, OUT = x.at <= #x.out } }, x
        end
    end
    while next(fds) and wait.now() < deadline do
        poll.poll(fds, 100)
        for fd, entry in pairs(fds) do
            local x, now = by_fd[fd], entry.revents or {}
            if (now.IN or now.OUT or now.HUP or now.ERR) and x:step() then
                fds[fd] = nil
            else
                entry.events.OUT = x.at <= #x.out
            end
        end
    end
    for fd in pairs(fds) do
        by_fd[fd].failed = "no answer in time"
        by_fd[fd]:close()
    end
end

--- Make one request and wait for its answer.
-- @tparam string|number to
-- @tparam table|string o as for open, and `seconds` (20); a string is the uri
-- @treturn table `status`, `headers`, `body`; raises without a whole answer
function _M.request(to, o)
    o = type(o) == "string" and { uri = o } or o
    local x = _M.open(to, o)
    _M.finish({ x }, o.seconds)
    if x.failed then
        error(("%s: %s"):format(o.uri, x.failed), 2)
    end
    return x
end

return _M
