--- Child processes of the specs: started with files for their output, ended by pid, never
-- outliving a deadline.
-- @module support.process

local errno = require "posix.errno"
local fcntl = require "posix.fcntl"
local signal = require "posix.signal"
local stdlib = require "posix.stdlib"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"
local sys_wait = require "posix.sys.wait"

local ffi = require "ffi"

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

-- A fork of this process costs more than most programs: the kernel copies each page that either
-- of the two writes to next. posix_spawn shares them until the program runs.
ffi.cdef [[
    typedef struct { char room[1024]; } spec_spawn_actions;
    int spec_spawn(int *, const char *, const spec_spawn_actions *, const void *,
        const char *const *, const char *const *) __asm__("posix_spawn");
    int spec_spawn_init(spec_spawn_actions *) __asm__("posix_spawn_file_actions_init");
    int spec_spawn_destroy(spec_spawn_actions *) __asm__("posix_spawn_file_actions_destroy");
    int spec_spawn_open(spec_spawn_actions *, int, const char *, int, unsigned)
        __asm__("posix_spawn_file_actions_addopen");
    int spec_spawn_dup(spec_spawn_actions *, int, int)
        __asm__("posix_spawn_file_actions_adddup2");
    int spec_spawn_close_from(spec_spawn_actions *, int)
        __asm__("posix_spawn_file_actions_addclosefrom_np");
    int spec_spawn_chdir(spec_spawn_actions *, const char *)
        __asm__("posix_spawn_file_actions_addchdir_np");
]]
local C = ffi.C

-- Strings as C takes a list of them, and what keeps them from the collector.
local function strings(list)
    local array, kept = ffi.new("const char *[?]", #list + 1), {}
    for i, word in ipairs(list) do
        local text = tostring(word)
        kept[i] = ffi.new("char[?]", #text + 1, text)
        array[i - 1] = kept[i]
    end
    return array, kept
end

local function environment(changed)
    local list = {}
    for name, value in pairs(stdlib.getenv()) do
        if changed[name] == nil then
            list[#list + 1] = name .. "=" .. value
        end
    end
    for name, value in pairs(changed) do
        list[#list + 1] = value and name .. "=" .. value or nil
    end
    return list
end

-- A program by the PATH that it is given, as a shell finds it.
local function find(program, path)
    if not program:find("/", 1, true) then
        for dir in (path or os.getenv "PATH"):gmatch "[^:]+" do
            if unistd.access(dir .. "/" .. program, "x") == 0 then
                return dir .. "/" .. program
            end
        end
    end
    return program
end

local function spawn(argv, o, out_path, err_path)
    local actions, pid = ffi.new("spec_spawn_actions"), ffi.new("int[1]")
    assert(C.spec_spawn_init(actions) == 0)
    -- what other specs have open is not for the new process: some are given few descriptors
    if o.pass then
        C.spec_spawn_dup(actions, o.pass, 3)
    end
    C.spec_spawn_close_from(actions, o.pass and 4 or 3)
    C.spec_spawn_open(actions, 0, o.stdin_path or "/dev/null", fcntl.O_RDONLY, 0)
    C.spec_spawn_open(actions, 1, o.stdout_path or out_path,
        fcntl.O_WRONLY + fcntl.O_CREAT + fcntl.O_TRUNC, 384) -- 0600
    C.spec_spawn_open(actions, 2, o.stderr_path or err_path,
        fcntl.O_WRONLY + fcntl.O_CREAT + fcntl.O_APPEND, 384)
    if o.cwd then
        C.spec_spawn_chdir(actions, o.cwd)
    end
    local env = o.env or {}
    local args, kept_args = strings(argv)
    local vars, kept_vars = strings(environment(env))
    local code = C.spec_spawn(pid, find(argv[1], env.PATH), actions, nil, args, vars)
    C.spec_spawn_destroy(actions)
    return code == 0 and pid[0] or nil, code, kept_args, kept_vars
end

--- Start a process.
-- @tparam {string,...} argv program and arguments
-- @tparam[opt] table o `stdin` (bytes), `stdin_path`, `stdout_path`, `stderr_path`, `cwd`,
--   `env` (by name; false unsets), `pass` (a descriptor, which becomes 3)
-- @treturn table process: `pid`, and the methods below
function _M.start(argv, o)
    o = o or {}
    local dir = tempdir.new()
    if o.stdin then
        o.stdin_path = tempdir.write(dir .. "/in", o.stdin)
    end
    local self = setmetatable({ dir = dir, out_path = dir .. "/out", err_path = dir .. "/err",
        argv = argv }, mt)
    local code
    self.pid, code = spawn(argv, o, self.out_path, self.err_path)
    if not self.pid then -- as a shell tells it
        tempdir.write(self.err_path, argv[1] .. ": " .. errno.errno(code) .. "\n")
        self.status = { exit = 127 }
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
