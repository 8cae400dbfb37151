--- A private runtime for a spec: `dirty serve` on a socket in a directory of its own.
--
--     local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "2" } }
--     finally(function() rt:close() end)
--     assert.equal(5, rt:call("apps.echo", "length", "hello"))
--
-- @module support.runtime

local process = require "support.process"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local wait = require "support.wait"

local _M = {}
local methods = {}
local mt = { __index = methods }

local function arguments(o, self)
    local args = { "serve", "--socket", self.socket }
    if o.config then
        args[#args + 1] = "--config"
        args[#args + 1] = tempdir.write(self.dir .. "/dirty.conf.lua", o.config)
    end
    for _, app in ipairs(o.apps or {}) do
        args[#args + 1] = "--app"
        args[#args + 1] = app
    end
    for _, arg in ipairs(o.args or {}) do
        args[#args + 1] = arg
    end
    return args
end

--- Start `dirty serve` without waiting for anything.
-- @tparam table o `apps` (specs), `args` (further flags), `config` (text of a
--   configuration file), `files` (text by name, written to the runtime's directory `dir`,
--   which --lua-path then names), `env`, `cwd` (the repository's root), `stdout_path`,
--   `stderr_path`, `program` (instead of the built `dirty`), `wrap` (words before the command: a
--   program that becomes it, as setsid does)
-- @treturn table runtime: `dir`, `socket`, `pid` (the supervisor's)
function _M.launch(o)
    local self = setmetatable({ dir = tempdir.new() }, mt)
    self.socket = self.dir .. "/dirty.sock"
    for name, text in pairs(o.files or {}) do
        tempdir.write(self.dir .. "/" .. name, text)
    end
    local args = arguments(o, self)
    if o.files then
        args[#args + 1] = "--lua-path"
        args[#args + 1] = self.dir .. "/?.lua"
    end
    table.insert(args, 1, o.program or process.dirty())
    for i, word in ipairs(o.wrap or {}) do
        table.insert(args, i, word)
    end
    self.process = process.start(args, { env = o.env, cwd = o.cwd, stdout_path = o.stdout_path,
        pass = o.pass, stderr_path = o.stderr_path })
    self.pid = self.process.pid
    return self
end

--- Start `dirty serve` and wait until it is ready.
-- @tparam table o as for launch, and `seconds` to wait (20)
-- @treturn table runtime; raises with the log if it ends or is not ready in time
function _M.start(o)
    local self = _M.launch(o)
    local ok, err = pcall(wait.until_true, function()
        return self:is_ready() or self.process:ended()
    end, o.seconds or 20, function() return "ready\n" .. self:log() end)
    if not ok or self.process:ended() then
        local log = self:log()
        self:close()
        error(ok and "dirty serve ended:\n" .. log or err, 2)
    end
    return self
end

--- Whether every worker has booted: a line of the log (or of another text) has the word
-- "ready" and the socket's path.
-- @tparam[opt] string log
function methods.is_ready(self, log)
    for line in (log or self:log()):gmatch("[^\n]+") do
        if line:find("%f[%a]ready%f[%A]") and line:find(self.socket, 1, true) then
            return true
        end
    end
    return false
end

--- What it has logged so far (and written to stderr).
function methods.log(self)
    return self.process:stderr()
end

--- A client of this runtime.
-- @tparam[opt] table o options of dirty.client
function methods.client(self, o)
    local opts = { socket = self.socket }
    for name, value in pairs(o or {}) do
        opts[name] = value
    end
    return require("dirty").client(opts)
end

--- Call an action over a connection of its own; of "@arbiter" by the method made for it.
-- @return as client:execute
function methods.call(self, app, action, ...)
    if app == "@arbiter" then
        return self:client():arbiter(action, ...)
    end
    return self:client():execute(app, action, ...)
end

--- The status as `@arbiter` answers it, a table.
function methods.status(self)
    return assert(self:call("@arbiter", "status"))
end

--- The processes of the whole tree, as support.tree sees them.
function methods.tree(self)
    return tree.below(self.pid)
end

--- Start a call in a process of its own.
-- @treturn table support.process; `dirty call` with its exit statuses
function methods.start_call(self, ...)
    return process.start { process.dirty(), "call", "--socket", self.socket, ... }
end

--- Run a command of `dirty` on this socket (call, status, stop).
-- @tparam string command
-- @tparam[opt] {string,...} args
-- @tparam[opt] table o as for support.process.run
-- @treturn table `{exit=, signal=, stdout=, stderr=}`
function methods.command(self, command, args, o)
    local all = { command, "--socket", self.socket }
    for _, arg in ipairs(args or {}) do
        all[#all + 1] = arg
    end
    return process.run_dirty(all, o)
end

--- Send it a signal.
-- @tparam number number
function methods.signal(self, number)
    self.process:signal(number)
end

--- Wait until it has ended.
-- @tparam[opt=10] number seconds
-- @treturn table `{exit=N}` or `{signal=N}`
function methods.wait(self, seconds)
    return self.process:wait(seconds)
end

--- Stop it with TERM and wait for its end.
-- @tparam[opt=10] number seconds
-- @treturn table `{exit=N}` or `{signal=N}`
function methods.stop(self, seconds)
    self:signal(signal.SIGTERM)
    return self:wait(seconds)
end

--- End it whatever it does, and remove its directory. To be called by every spec.
function methods.close(self)
    self:signal(signal.SIGTERM)
    pcall(self.process.wait, self.process, 5)
    self.process:close()
    tempdir.remove(self.dir)
end

return _M
