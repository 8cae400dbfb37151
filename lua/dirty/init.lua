--- The module for dirty apps and for their callers.
--
--     local dirty = require "dirty"
--     local Image = dirty.app { workers = 2, timeout = 5 }
--     function Image:init(options) self.max = options.max_pixels end
--     function Image:thumbnail(bytes, size) … return png, { width = w } end
--     return Image
--
-- Inside a worker `request`, `remaining`, `check` and `log` refer to the running request. `app`
-- and `client` work everywhere. Outside of a worker `log` writes to stderr.
-- @module dirty

-- Taken at load: apps may change the globals and the strings' metatable later.
local error, pairs, rawset, require, setmetatable = error, pairs, rawset, require, setmetatable
local tostring, type = tostring, type
local find, format, gsub = string.find, string.format, string.gsub
local concat, sort, floor, huge = table.concat, table.sort, math.floor, math.huge

local fault = require("dirty.fault")
local outside = require("dirty.outside")
local suggest = require("dirty.suggest")

-- Only the lanes of a worker have dirty.host.
local host = package.loaded["dirty.host"] or outside

local _M = { _VERSION = "0.1.0" }

-- -- Declarations -----------------------------------------------------------------------

local function whole_number(least, most)
    return function(value)
        return type(value) == "number" and value >= least and value == floor(value)
            and value <= most, format("a whole number from %d to %d", least, most)
    end
end

local function seconds(value)
    return type(value) == "number" and (value == 0 or value >= 0.001 and value <= 2147483),
        "a number of seconds from 0.001 to 2147483, or 0 for no limit"
end

local function boolean(value)
    return type(value) == "boolean", "true or false"
end

-- The options of dirty.app, the same as in an app's table in the configuration. For each: a
-- check of its value, and what the value must be.
local DECLARATIONS = {
    workers = whole_number(1, 4096),
    timeout = seconds,
    max_queue = whole_number(1, 1000000),
    interruptible = boolean,
    cancel_on_disconnect = boolean,
    exclusive = boolean,
    isolated = boolean,
}

local DECLARATION_NAMES = { "cancel_on_disconnect", "exclusive", "interruptible", "isolated",
    "max_queue", "timeout", "workers" }

-- What each app has declared, by the app's table. The table itself stays free of it.
local declared = setmetatable({}, { __mode = "k" })

--- Make an app: a table for actions. Values in the configuration take precedence over these.
-- @tparam[opt] table options `workers` (how many workers host it; default all), `timeout`
--   (seconds of a call, 0 for none; default the server's), `max_queue` (requests that may
--   wait for it; default the server's), `interruptible` (a late call can be ended without
--   ending its worker; default the server's), `cancel_on_disconnect` (a call is ended when its
--   client has disconnected; default false), `exclusive` (never in more workers than its
--   limit, not even while workers are being replaced; default false), `isolated` (its workers
--   never hold connections of other calls: every call goes through the arbiter; default
--   false). Raises for any other key.
-- @treturn table the app
function _M.app(options)
    if options ~= nil and type(options) ~= "table" then
        error(format("dirty.app takes a table of options, not a %s", type(options)), 2)
    end
    local kept = {}
    for key, value in pairs(options or {}) do
        local check = DECLARATIONS[key]
        if not check then
            error(format("dirty.app has no option '%s'%s", tostring(key),
                suggest.hint(tostring(key), DECLARATION_NAMES)), 2)
        end
        local ok, wanted = check(value)
        if not ok then
            error(format("dirty.app: %s must be %s, not %s", key, wanted, tostring(value)), 2)
        end
        kept[key] = value
    end
    local app = {}
    declared[app] = kept
    return app
end

--- Get what an app has declared by `dirty.app`.
-- @tparam table app
-- @treturn table a copy of its options; empty for a plain table
function _M.declared(app)
    local copy = {}
    for key, value in pairs(declared[app] or {}) do
        copy[key] = value
    end
    return copy
end

-- -- Log --------------------------------------------------------------------------------

local function quoted(value)
    local text = tostring(value)
    if text ~= "" and not find(text, "[%s%c\"=\\]") then
        return outside.tame(text)
    end
    return '"' .. outside.tame(outside.escaped(gsub(text, "[\\\"]", "\\%0"))) .. '"'
end

-- Format fields as logfmt, sorted by name.
local function logfmt(fields)
    local words = {}
    for key, value in pairs(fields or {}) do
        words[#words + 1] = gsub(tostring(key), "[%s%c\"=]", "_") .. "=" .. quoted(value)
    end
    sort(words)
    return concat(words, " ")
end

local function log_at(level)
    return function(msg, fields)
        host.log(level, tostring(msg), logfmt(fields))
    end
end

--- Log to the runtime's log. Each function takes a message and a table of fields (name → value,
-- written as `name=value`). In a worker the line has the app's name.
-- @usage dirty.log.info("model loaded", { path = path, seconds = 1.5 })
_M.log = {
    debug = log_at("debug"),
    info = log_at("info"),
    warn = log_at("warn"),
    error = log_at("error"),
}

-- -- The running request ------------------------------------------------------------------

--- The running request, read-only: `id` (number, chosen by the client), `app`, `action`,
-- `metadata` (sent by the client, nil if none), `deadline` (on the clock of os.time(), with
-- fractions; nil if there is none), `pid` and `uid` of the client. Every field is nil while no
-- request runs. Any other name raises.
_M.request = setmetatable({}, {
    __index = host ~= outside and host.request or function(_, name)
        return outside.request(nil, name)
    end,
    __newindex = function()
        error("dirty.request is read-only", 2)
    end,
})

--- Get the seconds until the deadline of the running request.
-- @treturn number negative when it has passed, math.huge without a deadline
function _M.remaining()
    return host.remaining() or huge
end

--- Raise if the result is no longer wanted: the deadline has passed (`TIMEOUT`), or the client
-- has closed its connection (`CANCELLED`). For long loops. It costs a system call, so call it
-- some hundred times a second, not a million times.
function _M.check()
    if _M.remaining() <= 0 then
        fault.raise("TIMEOUT", "the deadline passed while the request ran", { phase = "run" })
    end
    if host.caller_is_gone() then
        fault.raise("CANCELLED", "the caller has closed its connection", { phase = "run" })
    end
end

-- -- Loaded on first use --------------------------------------------------------------------

--- The null of JSON inside tables: the same value as `cjson.null` (and `ngx.null`).
-- @field null

--- Make a client: the function `new` of resty.dirty inside nginx, else that of dirty.client.
-- @function client
local LAZY = {
    null = function()
        return require("cjson").null
    end,
    client = function()
        return require(rawget(_G, "ngx") and "resty.dirty" or "dirty.client").new
    end,
}

local shared_client

--- Get the client of this process. The first call makes it. In nginx it holds no socket, so all
-- requests share it, and it may be made in `init_by_lua*`. Elsewhere it has one connection.
-- After a fork the child uses the same client with connections of its own.
-- @tparam[opt] table options of `client`, for the first call; a later call with options raises
-- @treturn table a client
-- @usage local png = dirty.get_client():execute("images", "thumbnail", jpeg)
function _M.get_client(options)
    if shared_client and options then
        error("the client of this process exists already: give its options to the first "
            .. "get_client, or create another one with dirty.client", 2)
    end
    shared_client = shared_client or _M.client(options)
    return shared_client
end

return setmetatable(_M, {
    __index = function(self, key)
        local load = LAZY[key]
        if not load then
            return nil
        end
        local value = load()
        rawset(self, key, value)
        return value
    end,
})
