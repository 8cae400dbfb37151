--- A runtime one of whose processes waits for somebody, for the specs that see the others go on.
-- A spec calls `after_each(blocked.undo)`.
-- @module support.blocked

local fcntl = require "posix.fcntl"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local _M = {}

-- What a test has to undo, the last first, however it ends.
local undone = {}

--- Have something done when the test has ended.
function _M.defer(undo)
    undone[#undone + 1] = undo
end

--- Do all that has been deferred.
function _M.undo()
    while #undone > 0 do
        pcall(table.remove(undone))
    end
end

--- Start a runtime for one test.
-- @tparam table o as for support.runtime.start
function _M.start(o)
    local rt = runtime.start(o)
    _M.defer(function() rt:close() end)
    return rt
end

--- Kill an arbiter and wait until another one answers.
-- @tparam table rt
-- @tparam number pid
-- @tparam[opt=5] number seconds
function _M.replace_arbiter(rt, pid, seconds)
    assert(signal.kill(pid, signal.SIGKILL))
    wait.until_true(function()
        local status = rt:call("@arbiter", "status")
        return status and status.arbiter.pid ~= pid
    end, seconds or 5, "another arbiter")
end

--- A pipe that nobody reads and that is full: what is written to its path waits for ever.
-- @treturn string path
function _M.full_pipe()
    local dir = tempdir.new()
    local path = dir .. "/pipe"
    assert(stat.mkfifo(path, 384))
    local reader = assert(fcntl.open(path, fcntl.O_RDONLY + fcntl.O_NONBLOCK))
    local writer = assert(fcntl.open(path, fcntl.O_WRONLY + fcntl.O_NONBLOCK))
    for _, piece in ipairs { ("x"):rep(4096), "x" } do
        while unistd.write(writer, piece) do end
    end
    unistd.close(writer)
    _M.defer(function()
        unistd.close(reader)
        tempdir.remove(dir)
    end)
    return path
end

--- The slowest of calls over so many seconds; each must be answered.
function _M.slowest_call(rt, seconds)
    local worst, ends = 0, wait.now() + seconds
    repeat
        local at = wait.now()
        assert(rt:client { timeout = 20 }:execute("apps.echo", "echo", "x") == "x")
        worst = math.max(worst, wait.now() - at)
        wait.moment()
    until wait.now() > ends
    return worst
end

return _M
