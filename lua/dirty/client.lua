--- The client of a dirty runtime for plain Lua: LuaJIT, Lua 5.1 and 5.4.
-- It blocks until the answer is there, so inside nginx it is the wrong one.
-- Over the C module dirty.core, which is libdirty.
--
-- A call gives the action's values, or `nil, err, info`: `err` is a string that starts with
-- the code (`"TIMEOUT: images.thumbnail ran 800 ms"`), `info` a table with
--
-- * `code` string, `message` string, `http_status` number,
-- * `started` string: `"no"`, `"yes"` or `"unknown"`, whether the app may have run,
-- * `app`, `action` string, `phase` string (`"receive"`, `"queue"`, `"run"`, `"client"`),
-- * and what else the error carries: `traceback`, `elapsed_ms`, `retry_after_ms`, …
--
-- An action that fails by `return nil, err` is an error too, so nil followed by a non-nil
-- value always means failure.
-- @module dirty.client
-- @usage
-- local client = require "dirty".client { socket = "/run/dirty/dirty.sock" }
-- local png, err, info = client:execute("images", "thumbnail", jpeg, { width = 200 })
-- if not png then print(info.code, err) end

local core = require "dirty.core"
local nearest = require "dirty.nearest"
local values = require "dirty.values"

local _M = { _VERSION = core.version() }

local methods = {}
local mt = { __index = methods }

local unpack = rawget(table, "unpack") or unpack

local OPTIONS = { "socket", "timeout", "max_message", "max_depth", "priority", "metadata" }
local CALL_OPTIONS = { "timeout", "priority", "metadata" }
local DEFAULTS = {
    timeout = 30,
    max_message = 64 * 1024 * 1024,
    priority = 5,
}
local U32_MAX = 4294967295
local DEPTH_MAX = 10000
local PRIORITY_LAST = 9

-- -- Options -----------------------------------------------------------------------------

local function is_number(value, low, high)
    return type(value) == "number" and value >= low and value <= high
end

local function is_whole(value, low, high)
    return is_number(value, low, high) and value % 1 == 0
end

-- What each option must be; false: it is not.
local CHECKS = {
    socket = { "a path without NULs", function(v)
        return type(v) == "string" and not v:find("\0", 1, true)
    end },
    timeout = { "a number of seconds from 0.001 to 4294967", function(v)
        return is_number(v, 0.001, math.floor(U32_MAX / 1000))
    end },
    max_message = { "a whole number of bytes from 1 to 4294967295", function(v)
        return is_whole(v, 1, U32_MAX)
    end },
    max_depth = { "a whole number from 1 to 10000", function(v)
        return is_whole(v, 1, DEPTH_MAX)
    end },
    priority = { "a whole number from 0 (first) to 9 (last)", function(v)
        return is_whole(v, 0, PRIORITY_LAST)
    end },
    metadata = { "a table", function(v)
        return type(v) == "table"
    end },
}

-- Raises for the caller of our caller.
local function check_options(options, known)
    if type(options) ~= "table" then
        error("options are a table, not a " .. type(options), 3)
    end
    local allowed = {}
    for _, name in ipairs(known) do
        allowed[name] = true
    end
    for name, value in pairs(options) do
        if not allowed[name] then
            local word = tostring(name)
            error(("unknown option '%s'%s"):format(word, nearest.hint(word, known)), 3)
        end
        local what, check = unpack(CHECKS[name])
        if not check(value) then
            error(("option %s is %s, not %s"):format(name, what, tostring(value)), 3)
        end
    end
end

-- What dirty.core wants of the options of a call; nil, err if the metadata is no JSON.
local function settings_of(options, inherited, codec)
    local settings = {
        budget_ms = inherited.budget_ms,
        priority = options.priority or inherited.priority,
        metadata = inherited.metadata,
    }
    if options.timeout then
        settings.budget_ms = math.floor(options.timeout * 1000 + 0.5)
    end
    if options.metadata then
        local text, err = codec:to_json(options.metadata)
        if not text then
            return nil, "metadata " .. err
        end
        settings.metadata = text
    end
    return settings
end

-- -- Results -----------------------------------------------------------------------------

-- The client's own words for an answer that it can't make values of.
local function fail(code, message, started, http_status, call)
    local info = {
        code = code,
        message = message,
        started = started,
        http_status = http_status,
        phase = "client",
        app = call.app,
        action = call.action,
    }
    return nil, code .. ": " .. message, info
end

local function failure(self, call, code, message, details, started, http_status)
    local ok, info = self._codec:from_json(details)
    if not ok or type(info) ~= "table" then
        info = {} -- without lua-cjson, or from a server that broke the rules
    end
    info.app = info.app or call.app
    info.action = info.action or call.action
    info.code = code
    info.message = message
    info.started = started
    info.http_status = http_status
    return nil, code .. ": " .. message, info
end

local function finish(self, app, action, tags, ...)
    if tags == nil then
        return ...
    end
    local call = { app = app, action = action }
    if tags == false then
        return failure(self, call, ...)
    end
    local list, count = { ... }, select("#", ...)
    local ok, err = self._codec:decode(tags, list, count)
    if not ok then
        return fail("PROTOCOL", "broken answer: " .. err, "yes", 502, call)
    end
    return unpack(list, 1, count)
end

-- -- Methods -----------------------------------------------------------------------------

local function check_self(self, method)
    if getmetatable(self) ~= mt then
        error(("call it with a colon: client:%s(…)"):format(method), 3)
    end
end

local function check_name(what, name)
    if type(name) ~= "string" then
        error(("%s is a string, not a %s"):format(what, type(name)), 3)
    elseif #name == 0 or #name > 255 or name:find("[^\33-\126]") then
        error(("%s is 1 to 255 bytes of printable ASCII without spaces, not %q"):format(
            what, name), 3)
    end
end

--- Call an action and wait for its values. Blocks until they are there, for the timeout and
-- 2 s at most. Connects if need be. Sends the request a second time only where the first
-- provably reached nobody.
--
-- Strings travel as they are, byte for byte. Tables, numbers, booleans and nil travel as
-- JSON; nil inside a table is lost as always in Lua, `dirty.null` is not.
-- @tparam string app name of an app, or a service such as "@arbiter"
-- @tparam string action
-- @param[opt] ... arguments, nils included
-- @return the action's values; or nil, err (string), info (table, see above). Codes:
-- any of the list in docs/protocol.md; after `CONNECTION`, `PROTOCOL` and `TIMEOUT` of
-- phase `"client"` the connection is closed, and the next call makes a new one
function methods:execute(app, action, ...)
    check_self(self, "execute")
    check_name("app", app)
    check_name("action", action)
    local args, count = { ... }, select("#", ...)
    local tags, err = self._codec:encode(args, count)
    if not tags then
        error("argument " .. err, 2)
    end
    return finish(self, app, action,
        core.call(self._handle, app, action, self._settings, args, count, tags))
end

--- The same client with other options for its calls. It shares the connection, so it is as
-- cheap as a table.
-- @tparam table options `timeout` (seconds for the whole call), `priority` (0 first to 9
-- last), `metadata` (table, reaches the app as `dirty.request.metadata`)
-- @treturn table a client
-- @usage client:with{ timeout = 0.8, priority = 0 }:execute("images", "info", jpeg)
function methods:with(options)
    check_self(self, "with")
    check_options(options, CALL_OPTIONS)
    local settings, err = settings_of(options, self._settings, self._codec)
    if not settings then
        error(err, 2)
    end
    return setmetatable({
        _handle = self._handle,
        _codec = self._codec,
        _settings = settings,
    }, mt)
end

--- The state of the runtime.
-- @treturn table|nil as `dirty status --json` prints it; or nil, err, info as for `execute`
function methods:status()
    check_self(self, "status")
    return self:execute("@arbiter", "status")
end

--- End the connection, for all clients made from this one by `with`. The next call makes
-- a new one. Garbage collection ends it as well.
function methods:close()
    check_self(self, "close")
    core.close(self._handle)
end

function mt:__tostring()
    return ("dirty.client(%s, timeout %g s)"):format(core.socket(self._handle),
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
-- @treturn table a client; a wrong option raises
function _M.new(options)
    options = options or {}
    check_options(options, OPTIONS)
    local codec = values.new(options.max_depth)
    local defaults = { budget_ms = DEFAULTS.timeout * 1000, priority = DEFAULTS.priority }
    local settings, err = settings_of(options, defaults, codec)
    if not settings then
        error(err, 2)
    end
    local handle = core.open(options.socket, settings.budget_ms,
        options.max_message or DEFAULTS.max_message)
    return setmetatable({ _handle = handle, _codec = codec, _settings = settings }, mt)
end

return _M
