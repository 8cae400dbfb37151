--- The client of a dirty runtime for nginx with the Lua module (OpenResty). It is pure Lua on
-- cosockets: a call makes only its own request wait.
--
-- A client holds options and no socket. It may be made anywhere and shared by all requests of a
-- worker. Each call has a connection of its own, which goes back to nginx's pool if it is clean
-- afterwards.
--
-- It works where nginx lets Lua wait: in `rewrite_by_lua*`, `server_rewrite_by_lua*`,
-- `access_by_lua*`, `content_by_lua*`, `ngx.timer.*`, `ssl_certificate_by_lua*`, and with
-- OpenResty's own nginx `ssl_client_hello_by_lua*` and `ssl_session_fetch_by_lua*`. Elsewhere
-- its methods raise and name the phase. Use a timer of delay 0 there.
--
-- A call returns the action's values, or `nil, err, info`; see dirty.client.outcome.
--
-- See also docs/openresty.md.
-- @module resty.dirty
-- @usage
-- local client = require("resty.dirty").client { socket = "/run/dirty/dirty.sock" }
-- local png, err, info = client:execute("images", "thumbnail", jpeg, { width = 200 })
-- if not png then return ngx.exit(info.http_status) end

local base = require "dirty.client.base"
local body = require "resty.dirty.body"
local connection = require "resty.dirty.connection"
local errors = require "dirty.errors"
local exchange = require "resty.dirty.exchange"
local options_of = require "dirty.client.options"
local outcome = require "dirty.client.outcome"
local messages = require "resty.dirty.messages"
local stream = require "resty.dirty.stream"
local wire = require "dirty.wire"

local clear = require "table.clear"

local get_phase, tcp = ngx.get_phase, ngx.socket.tcp
local getmetatable, pcall, select, setmetatable = getmetatable, pcall, select, setmetatable
local unpack = unpack

local _M = { _VERSION = "0.1.0" }

local DEFAULTS = options_of.DEFAULTS
-- The phases of nginx in which methods work.
local CALLS = {
    where = "it works in rewrite, access, content, timers and where certificates are chosen; "
        .. "start a timer with delay 0 from here",
    rewrite = true, server_rewrite = true, access = true, content = true, timer = true,
    ssl_cert = true, ssl_client_hello = true, ssl_session_fetch = true,
}
local BODY = {
    where = "the body of a request is available in rewrite, access and content",
    rewrite = true, server_rewrite = true, access = true, content = true,
}
-- The arguments of a call that has none. Nobody writes to it.
local NO_ARGS = {}
-- Names of calls that a client keeps encoded.
local CALLS_MAX = 1000

-- -- Checks ------------------------------------------------------------------------------

local methods, mt

-- Raise for the caller of our caller if this is not a client or the method doesn't work here.
local function check_use(self, method, phases)
    if getmetatable(self) ~= mt then
        error(base.NOT_A_CLIENT:format(method), 3)
    end
    local phase = phases and get_phase()
    if phases and not phases[phase] then
        error(messages.phase(method, phase, phases.where), 3)
    end
end

methods, mt = base.class(check_use, CALLS)

-- -- Calls -------------------------------------------------------------------------------

-- Check the names of a call that was not made before, and encode them once for all calls. Returns
-- nil for a name that the method may not call. Raises for the caller of the function that calls
-- our caller.
local function learn(self, method, app, action)
    options_of.check_names(app, action, 5)
    if options_of.is_reserved(app) and method ~= "arbiter" then
        return nil
    end
    local calls = self._calls
    if calls.count >= CALLS_MAX then -- names come from outside: start again
        clear(calls.by_app)
        clear(calls.of_arbiter)
        calls.count = 0
    end
    local call = {
        app = app, action = action, names = self._codec:encode_names(app, action),
    }
    local by_app = method == "arbiter" and calls.of_arbiter or calls.by_app
    calls.count = calls.count + 1
    by_app[app] = by_app[app] or {}
    by_app[app][action] = call
    return call
end

-- Whether Lua can wait here. A phase that is not known, of a later nginx, is tried.
local function can_wait()
    return CALLS[get_phase()] or (pcall(tcp))
end

-- Make a call and read the first frame of its answer. Returns the exchange; or nil, err, info.
-- Raises for the caller of our caller.
local function begin(self, method, app, action, args, argc)
    if getmetatable(self) ~= mt then
        error(base.NOT_A_CLIENT:format(method), 3)
    elseif not can_wait() then
        error(messages.phase(method, get_phase(), CALLS.where), 3)
    end
    local known = method == "arbiter" and self._calls.of_arbiter or self._calls.by_app
    local by_action = known[app]
    local call = by_action and by_action[action] or learn(self, method, app, action)
    if not call then
        return outcome.reserved(app, action)
    end
    local x, err, info = exchange.begin(self, call, args, argc)
    if not x and err == "BAD_VALUE" then
        error("argument " .. info, 3)
    elseif not x then
        local words = err == "TOO_LONG" and messages.too_long(info) or info
        return outcome.own(errors.codes.PROTOCOL, words, "no", call)
    end
    x.streams = method == "stream"
    local ok
    ok, err, info = exchange.run(x)
    if ok then
        return x
    end
    exchange.give_back(self, x)
    return nil, err, info
end

-- Return the values behind `x`. Gives the exchange back.
local function with_values(self, x, ...)
    exchange.give_back(self, x)
    return ...
end

-- Return the values of a call that has been answered; or nil, err, info.
local function results(self, x, app, action)
    exchange.finish(x)
    local list, count = x.values, x.count
    if count > exchange.VALUES_MAX then
        return with_values(self, x, exchange.too_many({ app = app, action = action }, count))
    end
    return with_values(self, x, unpack(list, 1, count))
end

--- Call an action and wait for its values, for at most the timeout plus 2 s. Other requests go on
-- meanwhile. Sends the request again only if the first one certainly reached nobody.
--
-- Strings are sent unchanged, byte for byte. Tables, numbers, booleans and nil are sent as
-- JSON. A nil inside a table is lost as always in Lua; `dirty.null` (`ngx.null`) is not.
-- @tparam string app name of an app; a name that starts with @ is refused (`DENIED`) and not sent
-- @tparam string action
-- @param[opt] ... arguments, may contain nil
-- @return the action's values; or nil, err, info (see dirty.client.outcome). Any code of
-- docs/protocol.md. Wrong use raises
function methods:execute(app, action, ...)
    local argc = select("#", ...)
    local x, err, info = begin(self, "execute", app, action, argc > 0 and { ... } or NO_ARGS, argc)
    if not x then
        return nil, err, info
    end
    if x.count ~= 1 then
        return results(self, x, app, action)
    end
    exchange.finish(x)
    local value = x.values[1]
    exchange.give_back(self, x)
    return value -- LuaJIT compiles this from the receive on, but no tail call
end

--- Call an action that streams, and wait for its first chunk. The timeout covers the whole
-- stream. A slow reader makes the app wait. Other calls can be made while a stream is open.
-- @tparam string app
-- @tparam string action if it doesn't stream, its values come as one chunk
-- @param[opt] ... arguments
-- @treturn table|nil a stream, see `resty.dirty.stream`; or nil, err, info as for `execute`
-- @usage
-- local s, err = client:stream("llm", "complete", prompt)
-- for token in s do ngx.print(token) end
-- if s.err then ngx.log(ngx.ERR, s.err) end
function methods:stream(app, action, ...)
    local argc = select("#", ...)
    local x, err, info = begin(self, "stream", app, action, argc > 0 and { ... } or NO_ARGS, argc)
    if not x then
        return nil, err, info
    end
    return stream.new(x)
end

--- Make a client with other options for its calls. It costs one table.
-- @tparam table options `timeout` (seconds for the whole call), `priority` (0 first to 9
-- last), `metadata` (table, reaches the app as `dirty.request.metadata`)
-- @treturn table a client; a wrong option raises
-- @usage client:with{ timeout = 0.8, priority = 0 }:execute("images", "info", jpeg)
function methods:with(options)
    check_use(self, "with")
    local settings = base.settings_with(options, self._settings, self._values)
    return setmetatable({
        _peer = self._peer,
        _codec = self._codec,
        _values = self._values,
        _calls = self._calls,
        _spare = self._spare,
        _settings = settings,
    }, mt)
end

--- Ask the runtime itself, its reserved app "@arbiter". Actions that change something are for
-- the users in the runtime's option `admin_users`, by default root and the socket's owner.
-- @tparam string action "status", "reload", … (see docs/protocol.md). Don't take it from a
-- browser: it runs with the rights of nginx
-- @param[opt] ... arguments
-- @return the action's values; or nil, err, info as for `execute`
function methods:arbiter(action, ...)
    local argc = select("#", ...)
    local args = argc > 0 and { ... } or NO_ARGS
    local x, err, info = begin(self, "arbiter", "@arbiter", action, args, argc)
    if not x then
        return nil, err, info
    end
    return results(self, x, "@arbiter", action)
end

--- Get the body of the current HTTP request, from memory or from nginx's temporary file. Waits
-- until it has arrived; other requests go on. Reading a temporary file blocks, but the file was
-- just written and is still in the system's cache. `client_body_buffer_size` decides from which
-- size on there is one.
-- @treturn string|nil "" if there is none; or nil, err, info: `info.code` is `PROTOCOL` and
-- `info.http_status` 413 for a body over `max_message`, `CONNECTION` and 500 for a body that
-- can't be read
function methods:body()
    check_use(self, "body", BODY)
    local bytes, code, message, status = body.read(self._codec.max_message)
    if not bytes then
        return outcome.failure(code, message, { phase = "client" }, {}, "no", status)
    end
    return bytes
end

--- Close the idle connections of this nginx worker to this socket. Running calls go on, and the
-- next call connects again. Calling it is not necessary: idle connections are closed after
-- `keepalive_timeout`.
function methods:close()
    check_use(self, "close", CALLS)
    connection.drain(self._peer)
end

function mt:__tostring()
    return ("resty.dirty.client(%s, timeout %g s)"):format(self._peer.path,
        self._settings.budget_ms / 1000)
end

-- -- Making clients ----------------------------------------------------------------------

-- Does not depend on the user: nginx's workers and the runtime are often different users.
local function default_socket()
    local path = os.getenv("DIRTY_SOCKET") or ""
    if path ~= "" then
        return path
    end
    local dir = os.getenv("XDG_RUNTIME_DIR") or ""
    return dir ~= "" and dir .. "/dirty.sock" or "/run/dirty/dirty.sock"
end

local function new_peer(options)
    local path = options.socket or default_socket()
    local size = options.pool_size or DEFAULTS.pool_size
    return {
        path = path,
        address = "unix:" .. path,
        size = size,
        keep_ms = math.floor((options.keepalive_timeout or DEFAULTS.keepalive_timeout) * 1000),
        -- the first client that uses a pool decides its size
        pool = { pool = ("dirty:%d:%s"):format(size, path) },
    }
end

--- Make a client. Each call connects; the call fails if no runtime is there.
-- @tparam[opt] table options
--
-- * `socket` string: path of the runtime's socket; default `$DIRTY_SOCKET` (which nginx's
--   directive `env` must let through), else `$XDG_RUNTIME_DIR/dirty.sock`, else
--   `/run/dirty/dirty.sock`
-- * `timeout` number: seconds that a call may take in all; default 30
-- * `pool_size` number: idle connections that each nginx worker keeps; default 100
-- * `keepalive_timeout` number: seconds that it keeps idle connections; default 60
-- * `max_message` number: bytes of a request or an answer; default 64 MiB
-- * `max_depth` number: how deep tables may nest; default 1000
-- * `priority` number, `metadata` table: for all calls, see `with`
-- @treturn table a client; a wrong option raises
function _M.new(options)
    options = options or {}
    local codec, settings = base.settings(options)
    return setmetatable({
        _peer = new_peer(options),
        _codec = wire.new {
            max_message = options.max_message or DEFAULTS.max_message,
            max_depth = options.max_depth,
            max_args = 65535,
        },
        _values = codec,
        _settings = settings,
        _calls = { by_app = {}, of_arbiter = {}, count = 0 },
        _spare = {},
    }, mt)
end

--- The same function under the name that `require "dirty"` gives it.
-- @function client
_M.client = _M.new

return _M
