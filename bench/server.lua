--- The servers that are measured: the three floors and the runtime itself.
-- A server is a table with `name`, `socket`, `pid` and the methods below.
-- @module bench.server

local cjson = require "cjson"
local process = require "bench.process"

local _M = {}

local BOOT_TIMEOUT_S = 90
local LOAD_TIMEOUT_S = 300

local Server = {}
Server.__index = Server

local started = 0

-- Start argv, under the words of `wrap` (valgrind, taskset, …) if there are any.
local function start(env, name, wrap, argv)
    started = started + 1
    local self = setmetatable({ env = env, name = name }, Server)
    self.scratch = ("%s/%d-%s"):format(env.dir, started, name)
    self.socket = self.scratch .. ".sock"
    local words = {}
    for _, word in ipairs(wrap or {}) do
        words[#words + 1] = word
    end
    for _, word in ipairs(argv) do
        words[#words + 1] = word == "SOCKET" and self.socket or word
    end
    self.log = self.scratch .. ".log"
    self.pid = process.start(words, nil, self.log)
    self:await()
    return self
end

--- Start one process that answers.
-- @tparam table env `build`, `dir`
-- @tparam[opt] {string,...} wrap words before the command
-- @treturn Server
function _M.floor_one(env, wrap)
    return start(env, "one", wrap, { env.build .. "/bench/floor", "one", "SOCKET" })
end

--- Start the dispatcher with workers, in bare C.
-- @tparam table env
-- @tparam[opt] {string,...} wrap
-- @treturn Server
function _M.floor_pass(env, wrap)
    return start(env, "pass", wrap, { env.build .. "/bench/floor", "pass", "2", "SOCKET" })
end

--- Start workers that take ready connections from the kernel, in bare C.
-- @tparam table env
-- @tparam[opt] {string,...} wrap
-- @tparam[opt=2] number workers
-- @treturn Server
function _M.floor_ready(env, wrap, workers)
    return start(env, "ready", wrap, { env.build .. "/bench/floor", "ready",
        tostring(workers or 2), "SOCKET" })
end

-- The runtime with the app `apps.echo`.
local function start_dirty(env, wrap, workers, fast_path)
    local path = ("%s/dirty-%d-%s.conf.lua"):format(env.dir, workers, tostring(fast_path))
    local file = assert(io.open(path, "w"))
    file:write(("workers = %d\nfast_path = %s\napps = { 'apps.echo' }\n"):format(workers,
        tostring(fast_path)))
    file:close()
    return start(env, "dirty", wrap, { env.build .. "/dirty", "serve", "--config", path,
        "--socket", "SOCKET" })
end

--- Start the runtime.
-- @tparam table env
-- @tparam[opt] {string,...} wrap
-- @tparam[opt=2] number workers
-- @treturn Server
function _M.dirty(env, wrap, workers)
    return start_dirty(env, wrap, workers or 2, true)
end

--- Start the runtime with `fast_path = false`, so that all calls go through the arbiter.
-- @tparam table env
-- @tparam[opt] {string,...} wrap
-- @treturn Server
function _M.general(env, wrap)
    return start_dirty(env, wrap, 2, false)
end

--- Wait until the server answers; raises if it does not come up.
function Server:await()
    local answered = process.poll(BOOT_TIMEOUT_S, function()
        if process.wait(self.pid, 0) then
            error(("%s ended at its start: %s"):format(self.name, process.read(self.log)))
        end
        return (process.read("/proc/net/unix") or ""):find(self.socket, 1, true)
            and self:try_load({ "--requests", "1" })
    end)
    if not answered then
        error(("%s does not answer after %d s"):format(self.name, BOOT_TIMEOUT_S))
    end
end

local function load_argv(self, args)
    local argv = { self.env.build .. "/bench/load", "--socket", self.socket }
    if self.env.load_wrap then
        for i = #self.env.load_wrap, 1, -1 do
            table.insert(argv, 1, self.env.load_wrap[i])
        end
    end
    for _, arg in ipairs(args) do
        argv[#argv + 1] = tostring(arg)
    end
    return argv
end

--- Run the load generator to its end.
-- @tparam table args its arguments but for --socket
-- @treturn table|nil its report; nil, text if it failed
function Server:try_load(args)
    local text, err = process.output(load_argv(self, args), self.scratch .. ".load",
        LOAD_TIMEOUT_S)
    if not text then
        return nil, err
    end
    return cjson.decode(text:match("[^\n]+\n?$"))
end

--- The same, but a failure raises.
-- @tparam table args
-- @treturn table
function Server:load(args)
    local report, err = self:try_load(args)
    if not report then
        error(("load of %s: %s\n%s"):format(self.name, err, process.read(self.log) or ""), 0)
    end
    return report
end

--- Start the load generator and leave it running.
-- @tparam table args
-- @treturn number pid, for `process.wait`
-- @treturn string path of the file its reports go to, for `report_of`
function Server:start_load(args)
    local out = ("%s.load-%d"):format(self.scratch, started)
    started = started + 1
    return process.start(load_argv(self, args), out, out .. ".err"), out
end

--- The report of a load that was started before and has ended; raises if it has failed.
-- @tparam string out of `start_load`
-- @treturn table
function Server:report_of(out)
    local line = (process.read(out) or ""):match("([^\n]+)\n?$")
    if not line then
        error(("load of %s: %s"):format(self.name, process.read(out .. ".err") or ""), 0)
    end
    return cjson.decode(line)
end

--- What `dirty status --json` tells of the runtime.
-- @treturn table
function Server:status()
    local argv = { self.env.build .. "/dirty", "status", "--json", "--socket", self.socket }
    local text, err = process.output(argv, self.scratch .. ".status", LOAD_TIMEOUT_S)
    if not text then
        error(err, 0)
    end
    return cjson.decode(text)
end

--- Who does the work.
-- @treturn number pid of the dispatcher, or of the one process
-- @treturn {number,...} pids of the workers
function Server:pids()
    if self.name ~= "dirty" then
        return self.pid, process.children(self.pid)
    end
    local status = self:status()
    local workers = {}
    for i, worker in ipairs(status.workers) do
        workers[i] = worker.pid
    end
    return status.arbiter.pid, workers
end

--- CPU time of all its processes so far.
-- @treturn number seconds
function Server:cpu_seconds()
    if not self.processes then
        local first, rest = self:pids()
        self.processes = { first, unpack(rest) }
    end
    local sum = 0
    for _, pid in ipairs(self.processes) do
        sum = sum + process.cpu_seconds(pid)
    end
    return sum
end

--- Stop the server in good order.
function Server:stop()
    process.stop(self.pid)
end

return _M
