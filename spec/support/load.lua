--- Callers of a runtime, each a process of its own, that call until they are told to stop.
--
--     local load = load.start(rt.socket, 8, function(client) return client:execute("a", "b") end)
--     … what is to be tried under load …
--     local report = load:stop()
--     assert.same({}, report.failures)
--
-- @module support.load

local cjson = require "cjson"
local process_wait = require "posix.sys.wait"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local _M = {}
local methods = {}
local mt = { __index = methods }

-- No caller outlives a spec that has forgotten it.
local SECONDS_MAX = 120

local function run_caller(self, number, call)
    local client = require("dirty").client { socket = self.socket, timeout = 30 }
    local report = { calls = 0, slowest = 0, failures = {} }
    local give_up = wait.now() + SECONDS_MAX
    repeat
        local began = wait.now()
        local value, err = call(client, number, report.calls)
        if value == nil then
            err = tostring(err)
            report.failures[err] = (report.failures[err] or 0) + 1
        end
        report.calls = report.calls + 1
        report.slowest = math.max(report.slowest, wait.now() - began)
        if report.calls == 1 then
            tempdir.write(("%s/%d.began"):format(self.dir, number), "")
        end
    until stat.lstat(self.dir .. "/stop") or wait.now() > give_up
    tempdir.write(("%s/%d.report"):format(self.dir, number), cjson.encode(report))
end

--- Start callers and wait until each has made a call.
-- @tparam string socket
-- @tparam number count
-- @tparam function call `call(client, number, n)` makes one call; `nil, err` is a failure
-- @treturn table load
function _M.start(socket, count, call)
    local self = setmetatable({ socket = socket, dir = tempdir.new(), pids = {} }, mt)
    for number = 1, count do
        local pid = assert(unistd.fork())
        if pid == 0 then
            local ok, err = pcall(run_caller, self, number, call)
            if not ok then
                io.stderr:write(err, "\n")
            end
            unistd._exit(ok and 0 or 1)
        end
        self.pids[number] = pid
    end
    wait.until_true(function()
        for number = 1, count do
            if not stat.lstat(("%s/%d.began"):format(self.dir, number)) then
                return false
            end
        end
        return true
    end, 30, "the first call of every caller")
    return self
end

local function reap(pid)
    local ok = pcall(wait.until_true, function()
        return process_wait.wait(pid, process_wait.WNOHANG) == pid
    end, 40)
    if not ok then
        signal.kill(pid, signal.SIGKILL)
        process_wait.wait(pid)
    end
    return ok
end

--- Let every caller finish its call, and sum up. A second time it tells the same.
-- @treturn table `{calls=, slowest= (seconds), failures= (count by error), hung= (callers)}`
function methods.stop(self)
    if self.sum then
        return self.sum
    end
    local sum = { calls = 0, slowest = 0, failures = {}, hung = 0 }
    self.sum = sum
    tempdir.write(self.dir .. "/stop", "")
    for number, pid in ipairs(self.pids) do
        local text = reap(pid) and tempdir.read(("%s/%d.report"):format(self.dir, number))
        if text then
            local report = cjson.decode(text)
            sum.calls = sum.calls + report.calls
            sum.slowest = math.max(sum.slowest, report.slowest)
            for err, count in pairs(report.failures) do
                sum.failures[err] = (sum.failures[err] or 0) + count
            end
        else
            sum.hung = sum.hung + 1
        end
    end
    tempdir.remove(self.dir)
    return sum
end

return _M
