--- The client of a dirty runtime for plain Lua: LuaJIT, Lua 5.1 and 5.4.
-- It blocks until the answer is there, so inside nginx it is the wrong one, and raises there:
-- `require "dirty".client` takes resty.dirty in its place.
-- Over the C module dirty.core, which is libdirty.
--
-- A call returns the action's values, or `nil, err, info`; see dirty.client.outcome.
--
-- A process that forks may go on with its clients on both sides: in the child they make
-- connections of their own. A stream that was open stays the parent's, see
-- `dirty.client.stream`.
-- @module dirty.client
-- @usage
-- local client = require "dirty".client { socket = "/run/dirty/dirty.sock" }
-- local png, err, info = client:execute("images", "thumbnail", jpeg, { width = 200 })
-- if not png then print(info.code, err) end

-- Inside nginx a call would stop all requests of the worker; while nginx reads its
-- configuration there are none yet.
local ngx = rawget(_G, "ngx")

local function check_place(level)
    if ngx and ngx.get_phase() ~= "init" then
        error("dirty.client blocks, and would stop a whole worker of nginx: use resty.dirty, "
            .. "which require \"dirty\" takes there by itself", level + 1)
    end
end
check_place(2)

local base = require "dirty.client.base"
local core = require "dirty.core"
local options_of = require "dirty.client.options"
local outcome = require "dirty.client.outcome"
local stream = require "dirty.client.stream"

local _M = { _VERSION = core.version() }

local DEFAULTS = options_of.DEFAULTS

local methods, mt

-- Raises for the caller of our caller.
local function check_self(self, method)
    if getmetatable(self) ~= mt then
        error(base.NOT_A_CLIENT:format(method), 3)
    end
end

methods, mt = base.class(check_self)

-- -- Results -----------------------------------------------------------------------------

local function finish(self, app, action, tags, ...)
    if tags == nil then
        return ...
    end
    return outcome.take(self._codec, { app = app, action = action }, tags, ...)
end

-- -- Methods -----------------------------------------------------------------------------

-- Write the arguments of a call: their tags. Raises for the caller of our caller.
local function encode(self, args, count)
    local tags, err = self._codec:encode(args, count)
    if not tags then
        error("argument " .. err, 3)
    end
    return tags
end

--- Call an action and wait for its values. Blocks until they are there, for the timeout and
-- 2 s at most. Connects if need be. Sends the request a second time only where the first
-- provably reached nobody.
--
-- Strings travel as they are, byte for byte. Tables, numbers, booleans and nil travel as
-- JSON; nil inside a table is lost as always in Lua, `dirty.null` is not.
-- @tparam string app name of an app; one that starts with @ is refused (`DENIED`), unsent
-- @tparam string action
-- @param[opt] ... arguments, nils included
-- @return the action's values; or nil, err (string), info (table, see above). Codes:
-- any of the list in docs/protocol.md; after `CONNECTION`, `PROTOCOL` and `TIMEOUT` of
-- phase `"client"` the connection is closed, and the next call makes a new one
function methods:execute(app, action, ...)
    check_self(self, "execute")
    check_place(2)
    options_of.check_names(app, action)
    if options_of.is_reserved(app) then
        return outcome.reserved(app, action)
    end
    local args, count = { ... }, select("#", ...)
    return finish(self, app, action, core.call(self._handle, app, action, self._settings, args,
        count, encode(self, args, count)))
end

--- Call an action that streams, and wait for its first chunk. The timeout covers the whole
-- stream. Whoever reads slowly makes the app wait. Other calls can be made while a stream is
-- open: it has a connection to itself, which later streams use again.
-- @tparam string app
-- @tparam string action one that doesn't stream gives its values as one chunk
-- @param[opt] ... arguments
-- @treturn table|nil a stream, see `dirty.client.stream`; or nil, err, info as for `execute`
-- @usage
-- local s, err = client:stream("llm", "complete", prompt)
-- for token in s do io.write(token) end
-- if s.err then print(s.err) end
function methods:stream(app, action, ...)
    check_self(self, "stream")
    check_place(2)
    options_of.check_names(app, action)
    if options_of.is_reserved(app) then
        return outcome.reserved(app, action)
    end
    local args, count = { ... }, select("#", ...)
    return stream.open(self, app, action, args, count, encode(self, args, count))
end

--- The same client with other options for its calls. It shares the connection, so it is as
-- cheap as a table.
-- @tparam table options `timeout` (seconds for the whole call), `priority` (0 first to 9
-- last), `metadata` (table, reaches the app as `dirty.request.metadata`)
-- @treturn table a client
-- @usage client:with{ timeout = 0.8, priority = 0 }:execute("images", "info", jpeg)
function methods:with(options)
    check_self(self, "with")
    local settings = base.settings_with(options, self._settings, self._codec)
    return setmetatable({
        _handle = self._handle,
        _handles = self._handles,
        _codec = self._codec,
        _settings = settings,
    }, mt)
end

--- Ask the runtime itself, its reserved app "@arbiter". What changes something is for those
-- whom the runtime's option `admin_users` names, by default for root and the socket's owner.
-- @tparam string action "status", "reload", … (docs/protocol.md has them); one that comes from
-- somebody else does what this process may do
-- @param[opt] ... arguments
-- @return the action's values; or nil, err, info as for `execute`
function methods:arbiter(action, ...)
    check_self(self, "arbiter")
    check_place(2)
    options_of.check_names("@arbiter", action)
    local args, count = { ... }, select("#", ...)
    return finish(self, "@arbiter", action, core.call(self._handle, nil, action, self._settings,
        args, count, encode(self, args, count)))
end

--- End the connection, for all clients made from this one by `with`, and those that streams
-- have left. The next call makes a new one. Garbage collection ends them as well.
function methods:close()
    check_self(self, "close")
    core.close(self._handle)
    self._handles:clear()
end

function mt:__tostring()
    local path = core.socket(self._handle) -- "" where $DIRTY_SOCKET is too long for one
    return ("dirty.client(%s, timeout %g s)"):format(path ~= "" and path or core.default_socket(),
        self._settings.budget_ms / 1000)
end

--- Make a client. It connects with its first call; that call tells when nobody is there.
-- @tparam[opt] table options
--
-- * `socket` string: path of the runtime's socket; default `$DIRTY_SOCKET`, else
--   `$XDG_RUNTIME_DIR/dirty.sock`, else `/run/dirty/dirty.sock` for root, else
--   `/tmp/dirty-UID/dirty.sock`
-- * `timeout` number: seconds that a call may take in all; default 30
-- * `max_message` number: bytes of a request or an answer; default 64 MiB
-- * `max_depth` number: how deep tables may nest; default 1000
-- * `priority` number, `metadata` table: for all calls, see `with`
-- * `pool_size`, `keepalive_timeout`: taken, as resty.dirty has them, and of no effect: this
--   client has one connection
-- @treturn table a client; a wrong option raises
function _M.new(options)
    check_place(2)
    options = options or {}
    local codec, settings = base.settings(options)
    local max_message = options.max_message or DEFAULTS.max_message
    return setmetatable({
        _handle = core.open(options.socket, settings.budget_ms, max_message),
        _handles = stream.handles(options.socket, max_message),
        _codec = codec,
        _settings = settings,
    }, mt)
end

return _M
