--- The client of a dirty runtime for plain Lua: LuaJIT, Lua 5.1 and 5.4. It uses the C module
-- dirty.core, which is libdirty. It blocks until the answer is there. So it raises inside nginx,
-- where `require "dirty".client` takes resty.dirty instead.
--
-- A call returns the action's values, or `nil, err, info`; see dirty.client.outcome.
--
-- After a fork both processes can use the client: in the child it makes connections of its own.
-- An open stream stays with the parent, see `dirty.client.stream`.
-- @module dirty.client
-- @usage
-- local client = require "dirty".client { socket = "/run/dirty/dirty.sock" }
-- local png, err, info = client:execute("images", "thumbnail", jpeg, { width = 200 })
-- if not png then print(info.code, err) end

-- Inside nginx a call would stop all requests of the worker. While nginx reads its configuration
-- there are no requests yet.
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

-- Encode the arguments of a call. Returns their tags. Raises for the caller of our caller.
local function encode(self, args, count)
    local tags, err = self._codec:encode(args, count)
    if not tags then
        error("argument " .. err, 3)
    end
    return tags
end

--- Call an action and wait for its values. Blocks for at most the timeout plus 2 s. Connects if
-- necessary. Sends the request again only if the first one certainly reached nobody.
--
-- Strings are sent unchanged, byte for byte. Tables, numbers, booleans and nil are sent as
-- JSON. A nil inside a table is lost as always in Lua; `dirty.null` is not.
-- @tparam string app name of an app; a name that starts with @ is refused (`DENIED`) and not sent
-- @tparam string action
-- @param[opt] ... arguments, may contain nil
-- @return the action's values; or nil, err, info (see dirty.client.outcome). Any code of
-- docs/protocol.md. `CONNECTION`, `PROTOCOL` and `TIMEOUT` of phase `"client"` close the
-- connection; the next call makes a new one
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
-- stream. A slow reader makes the app wait. Other calls can be made while a stream is open: it
-- has a connection of its own, which later streams use again.
-- @tparam string app
-- @tparam string action if it doesn't stream, its values come as one chunk
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

--- Make a client with other options for its calls. It shares the connection and costs one table.
-- @tparam table options `timeout` (seconds for the whole call), `priority` (0 first to 9
-- last), `metadata` (table, reaches the app as `dirty.request.metadata`)
-- @treturn table a client; a wrong option raises
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

--- Ask the runtime itself, its reserved app "@arbiter". Actions that change something are for
-- the users in the runtime's option `admin_users`, by default root and the socket's owner.
-- @tparam string action "status", "reload", … (see docs/protocol.md). Don't take it from others:
-- it runs with the rights of this process
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

--- Close the connection of this client and of all clients made from it by `with`, and the kept
-- connections of streams. The next call makes a new one. Garbage collection closes them, too.
function methods:close()
    check_self(self, "close")
    core.close(self._handle)
    self._handles:clear()
end

function mt:__tostring()
    local path = core.socket(self._handle) -- "" if $DIRTY_SOCKET is too long
    return ("dirty.client(%s, timeout %g s)"):format(path ~= "" and path or core.default_socket(),
        self._settings.budget_ms / 1000)
end

--- Make a client. Its first call connects; that call fails if no runtime is there.
-- @tparam[opt] table options
--
-- * `socket` string: path of the runtime's socket; default `$DIRTY_SOCKET`, else
--   `$XDG_RUNTIME_DIR/dirty.sock`, else `/run/dirty/dirty.sock` for root, else
--   `/tmp/dirty-UID/dirty.sock`
-- * `timeout` number: seconds that a call may take in all; default 30
-- * `max_message` number: bytes of a request or an answer; default 64 MiB
-- * `max_depth` number: how deep tables may nest; default 1000
-- * `priority` number, `metadata` table: for all calls, see `with`
-- * `pool_size`, `keepalive_timeout`: accepted for resty.dirty's sake, without effect: this
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
