--- Child processes of the specs: started with files for their output, ended by pid, never
-- outliving a deadline.
-- @module support.process

local dirent = require "posix.dirent"
local fcntl = require "posix.fcntl"
local signal = require "posix.signal"
local stdlib = require "posix.stdlib"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"
local sys_wait = require "posix.sys.wait"

local _M = {}
local methods = {}
local mt = { __index = methods }

--- The directory of the build's outputs: $DIRTY_BUILD, else build.
_M.BUILD = os.getenv("DIRTY_BUILD") or "build"

--- LuaJIT's own command, which the specs run in too: $LUA, else luajit.
_M.LUAJIT = os.getenv("LUA") or "luajit"

--- The absolute path of the command `dirty`.
function _M.dirty()
    local build = _M.BUILD
    return (build:sub(1, 1) == "/" and build or unistd.getcwd() .. "/" .. build) .. "/dirty"
end

local function redirect(path, flags, fd)
    local from = assert(fcntl.open(path, flags, 384)) -- 0600
    assert(unistd.dup2(from, fd))
    if from ~= fd then
        unistd.close(from)
    end
end

-- What other specs have open is not for the new process: some are given few descriptors.
local function close_inherited()
    local inherited = {}
    for name in dirent.files("/proc/self/fd") do
        inherited[#inherited + 1] = tonumber(name)
    end
    for _, fd in ipairs(inherited) do
        if fd > 2 then
            unistd.close(fd)
        end
    end
end

local function become(argv, o, out_path, err_path)
    close_inherited()
    redirect(o.stdin_path or "/dev/null", fcntl.O_RDONLY, 0)
    redirect(o.stdout_path or out_path, fcntl.O_WRONLY + fcntl.O_CREAT + fcntl.O_TRUNC, 1)
    redirect(o.stderr_path or err_path, fcntl.O_WRONLY + fcntl.O_CREAT + fcntl.O_APPEND, 2)
    if o.cwd then
        assert(unistd.chdir(o.cwd))
    end
    for name, value in pairs(o.env or {}) do
        stdlib.setenv(name, value or nil)
    end
    local args = {}
    for i = 2, #argv do
        args[i - 1] = argv[i]
    end
    local _, err = unistd.execp(argv[1], args)
    io.stderr:write(argv[1] .. ": " .. tostring(err) .. "\n")
end

--- Start a process.
-- @tparam {string,...} argv program and arguments
-- @tparam[opt] table o `stdin` (bytes), `stdin_path`, `stdout_path`, `stderr_path`, `cwd`,
--   `env` (by name; false unsets)
-- @treturn table process: `pid`, and the methods below
function _M.start(argv, o)
    o = o or {}
    local dir = tempdir.new()
    if o.stdin then
        o.stdin_path = tempdir.write(dir .. "/in", o.stdin)
    end
    local self = setmetatable({ dir = dir, out_path = dir .. "/out", err_path = dir .. "/err",
        argv = argv }, mt)
    self.pid = assert(unistd.fork())
    if self.pid == 0 then
        pcall(become, argv, o, self.out_path, self.err_path)
        unistd._exit(127)
    end
    return self
end

--- What it has written to stdout so far.
function methods.stdout(self)
    return tempdir.read(self.out_path) or ""
end

--- What it has written to stderr so far.
function methods.stderr(self)
    return tempdir.read(self.err_path) or ""
end

--- Whether it has ended; then `self.status` is `{exit=N}` or `{signal=N}`.
function methods.ended(self)
    if not self.status then
        local pid, how, code = sys_wait.wait(self.pid, sys_wait.WNOHANG)
        if pid == self.pid and how ~= "running" then
            self.status = how == "exited" and { exit = code } or { signal = code }
        end
    end
    return self.status ~= nil
end

--- Send a signal, if it still runs.
-- @tparam number number
function methods.signal(self, number)
    if not self:ended() then
        signal.kill(self.pid, number)
    end
end

--- Wait for its end.
-- @tparam[opt=10] number seconds
-- @treturn table `{exit=N}` or `{signal=N}`; raises after the deadline, the process killed
function methods.wait(self, seconds)
    local ok, err = pcall(wait.until_true, function() return self:ended() end, seconds or 10,
        function() return table.concat(self.argv, " ") .. " ended\n" .. self:stderr() end)
    if not ok then
        self:kill()
        error(err, 2)
    end
    return self.status
end

--- Kill it and wait until it is gone.
function methods.kill(self)
    self:signal(signal.SIGKILL)
    wait.until_true(function() return self:ended() end, 10, "a killed process ended")
end

--- Kill it if need be, and remove its files.
function methods.close(self)
    self:kill()
    tempdir.remove(self.dir)
end

--- Run a program to its end.
-- @tparam {string,...} argv
-- @tparam[opt] table o as for start, and `seconds` it may take (10)
-- @treturn table `{exit=N|nil, signal=N|nil, stdout=, stderr=}`
function _M.run(argv, o)
    local process = _M.start(argv, o)
    local ok, status = pcall(process.wait, process, o and o.seconds)
    if not ok then
        process:close()
        error(status, 2)
    end
    local result = { exit = status.exit, signal = status.signal, stdout = process:stdout(),
        stderr = process:stderr() }
    process:close()
    return result
end

--- Run the command `dirty`.
-- @tparam {string,...} args
-- @tparam[opt] table o as for run
-- @treturn table as run
function _M.run_dirty(args, o)
    local argv = { _M.dirty() }
    for i, arg in ipairs(args) do
        argv[i + 1] = arg
    end
    return _M.run(argv, o)
end

return _M
