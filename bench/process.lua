--- Child processes of the bench: start, wait, stop, and what /proc tells of them.
-- Every child started here is stopped by `stop_all`, whatever happened before.
-- @module bench.process

local dirent = require "posix.dirent"
local stdlib = require "posix.stdlib"
local unistd = require "posix.unistd"
local fcntl = require "posix.fcntl"
local signal = require "posix.signal"
local time = require "posix.time"
local wait = require "posix.sys.wait"

local _M = { SIGTERM = signal.SIGTERM, SIGINT = signal.SIGINT, SIGKILL = signal.SIGKILL }

local STEP_S = 0.005
local STOP_TIMEOUT_S = 60

local running = {} -- pid → true

--- Seconds of a clock that only goes forward.
-- @treturn number
function _M.now()
    local t = time.clock_gettime(time.CLOCK_MONOTONIC)
    return t.tv_sec + t.tv_nsec / 1e9
end

--- Sleep. Blocks the process.
-- @tparam number seconds
function _M.pause(seconds)
    time.nanosleep({ tv_sec = math.floor(seconds), tv_nsec = seconds % 1 * 1e9 })
end

--- Call `condition` until it returns something true.
-- @tparam number seconds how long at most
-- @tparam function condition
-- @treturn any|nil what it returned, nil after the time
function _M.poll(seconds, condition)
    local deadline = _M.now() + seconds
    repeat
        local result = condition()
        if result then
            return result
        end
        _M.pause(STEP_S)
    until _M.now() > deadline
    return nil
end

local function redirect(path, fd)
    local flags = fcntl.O_WRONLY + fcntl.O_CREAT + fcntl.O_TRUNC
    local file = assert(fcntl.open(path, flags, 384))
    unistd.dup2(file, fd)
    unistd.close(file)
end

local function exec(argv, out, err)
    redirect(out or "/dev/null", 1)
    redirect(err or "/dev/null", 2)
    local args = {}
    for i = 2, #argv do
        args[i - 1] = argv[i]
    end
    unistd.execp(argv[1], args)
    unistd._exit(127)
end

--- Start a program.
-- @tparam {string,...} argv the program, found on PATH, and its arguments
-- @tparam[opt] string out path of the file its stdout goes to; default: nowhere
-- @tparam[opt] string err the same for its stderr
-- @treturn number its pid
function _M.start(argv, out, err)
    local pid = assert(unistd.fork())
    if pid == 0 then
        exec(argv, out, err)
    end
    running[pid] = true
    return pid
end

--- Wait for a started program.
-- @tparam number pid
-- @tparam number seconds how long at most
-- @treturn number|nil its exit status, 128 + signal if one ended it; nil after the time
function _M.wait(pid, seconds)
    return _M.poll(seconds, function()
        local found, how, status = wait.wait(pid, wait.WNOHANG)
        if found ~= pid or how == "running" then
            return nil
        end
        running[pid] = nil
        return how == "exited" and status or 128 + status
    end)
end

--- End a started program by a signal, and by SIGKILL if that does not do.
-- @tparam number pid
-- @tparam[opt=SIGTERM] number number of the signal
-- @treturn number|nil exit status as from `wait`
function _M.stop(pid, number)
    if not running[pid] then
        return nil
    end
    signal.kill(pid, number or signal.SIGTERM)
    local status = _M.wait(pid, STOP_TIMEOUT_S)
    if not status then
        signal.kill(pid, signal.SIGKILL)
        status = _M.wait(pid, STOP_TIMEOUT_S)
    end
    return status
end

--- Stop every program that still runs.
function _M.stop_all()
    local pids = {}
    for pid in pairs(running) do
        pids[#pids + 1] = pid
    end
    for _, pid in ipairs(pids) do
        _M.stop(pid)
    end
end

--- The text of a file.
-- @tparam string path
-- @treturn string|nil
function _M.read(path)
    local file = io.open(path, "rb")
    local text = file and file:read("*a")
    if file then
        file:close()
    end
    return text
end

--- Run a program to its end.
-- @tparam {string,...} argv
-- @tparam string scratch path prefix for its output
-- @tparam number seconds how long it may run
-- @treturn string|nil its stdout; nil, what it said on stderr if its status is not 0
function _M.output(argv, scratch, seconds)
    local pid = _M.start(argv, scratch .. ".out", scratch .. ".err")
    local status = _M.wait(pid, seconds)
    if not status then
        _M.stop(pid, signal.SIGKILL)
        return nil, argv[1] .. " ran longer than " .. seconds .. " s"
    elseif status ~= 0 then
        return nil, ("%s ended with status %d: %s"):format(argv[1], status,
            _M.read(scratch .. ".err") or "")
    end
    return _M.read(scratch .. ".out")
end

--- A new empty directory.
-- @treturn string its path
function _M.temp_dir()
    return assert(stdlib.mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/dirty-bench.XXXXXX"))
end

--- Whether a program is found on PATH.
-- @tparam string name
-- @treturn boolean
function _M.is_installed(name)
    for dir in (os.getenv("PATH") or ""):gmatch("[^:]+") do
        if unistd.access(dir .. "/" .. name, "x") then
            return true
        end
    end
    return false
end

--- Pids of the children of a process.
-- @tparam number pid
-- @treturn {number,...}
function _M.children(pid)
    local text = _M.read(("/proc/%d/task/%d/children"):format(pid, pid)) or ""
    local found = {}
    for child in text:gmatch("%d+") do
        found[#found + 1] = tonumber(child)
    end
    return found
end

--- Time that the threads of a process, all that live, have been on a CPU.
-- @tparam number pid
-- @treturn number seconds
function _M.cpu_seconds(pid)
    local sum, tasks = 0, ("/proc/%d/task"):format(pid)
    for task in dirent.files(tasks) do -- ".." among them has a schedstat, too
        local text = task:find("^%d") and _M.read(("%s/%s/schedstat"):format(tasks, task)) or ""
        sum = sum + (tonumber(text:match("^%d+")) or 0)
    end
    return sum / 1e9
end

--- How often a process has gone to sleep: the voluntary context switches of its first thread.
-- @tparam number pid
-- @treturn number
function _M.sleeps(pid)
    local text = assert(_M.read(("/proc/%d/status"):format(pid)))
    return tonumber(text:match("\nvoluntary_ctxt_switches:%s*(%d+)"))
end

--- Memory of a process in KiB.
-- @tparam number pid
-- @treturn table `rss` what is in memory, `pss` the same with shared pages divided among
--   those who share them, `private` what ends with the process
function _M.memory(pid)
    local text = assert(_M.read(("/proc/%d/smaps_rollup"):format(pid)))
    local function field(name)
        return tonumber(text:match("\n" .. name .. ":%s*(%d+) kB"))
    end
    return {
        rss = field("Rss"),
        pss = field("Pss"),
        private = field("Private_Clean") + field("Private_Dirty"),
    }
end

return _M
