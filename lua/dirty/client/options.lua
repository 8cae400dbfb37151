--- Options of clients: checks them and the names of calls, and makes the settings of calls. Both
-- transports, dirty.client and resty.dirty, use these functions, so they raise the same messages.
-- @module dirty.client.options

local suggest = require "dirty.suggest"

local _M = {}

local unpack = rawget(table, "unpack") or unpack

--- The values of options that are not given.
_M.DEFAULTS = {
    timeout = 30,
    max_message = 64 * 1024 * 1024,
    priority = 5,
    pool_size = 100,
    keepalive_timeout = 60,
}

--- The options of a client, the same in both transports.
_M.OF_CLIENTS = { "socket", "timeout", "max_message", "max_depth", "priority", "metadata",
    "pool_size", "keepalive_timeout" }

--- The options of `client:with`.
_M.OF_CALLS = { "timeout", "priority", "metadata" }

local U32_MAX = 4294967295
local DEPTH_MAX = 2000
local PRIORITY_LAST = 9
local PATH_MAX = 107 -- bytes in a unix socket's address
local POOL_MAX = 65535
local KEEPALIVE_MAX = 2147483 -- seconds; nginx keeps milliseconds in 31 bits

local function is_number(value, low, high)
    return type(value) == "number" and value >= low and value <= high
end

local function is_whole(value, low, high)
    return is_number(value, low, high) and value % 1 == 0
end

-- What each option must be, and its check.
local CHECKS = {
    socket = { "a path of 1 to 107 bytes without NULs", function(v)
        return type(v) == "string" and v ~= "" and #v <= PATH_MAX and not v:find("\0", 1, true)
    end },
    timeout = { "a number of seconds from 0.001 to 4294967", function(v)
        return is_number(v, 0.001, math.floor(U32_MAX / 1000))
    end },
    max_message = { "a whole number of bytes from 1 to 4294967295", function(v)
        return is_whole(v, 1, U32_MAX)
    end },
    max_depth = { "a whole number from 1 to 2000", function(v)
        return is_whole(v, 1, DEPTH_MAX)
    end },
    priority = { "a whole number from 0 (first) to 9 (last)", function(v)
        return is_whole(v, 0, PRIORITY_LAST)
    end },
    metadata = { "a table", function(v)
        return type(v) == "table"
    end },
    pool_size = { "a whole number of connections from 1 to 65535", function(v)
        return is_whole(v, 1, POOL_MAX)
    end },
    keepalive_timeout = { "a number of seconds from 0.001 to 2147483", function(v)
        return is_number(v, 0.001, KEEPALIVE_MAX)
    end },
}

-- The type of a value for a message.
local function kind_of(value)
    return value == nil and "nil" or "a " .. type(value)
end

-- A wrong value for a message. 5 and "5" look different.
local function shown(value)
    if type(value) == "string" and #value > PATH_MAX then
        return ("is a string of %d bytes: %s…"):format(#value, value:sub(1, PATH_MAX))
    elseif type(value) == "string" then
        return ("is the string %q"):format(value)
    end
    return "is " .. ((type(value) == "number" or type(value) == "boolean") and tostring(value)
        or kind_of(value))
end

--- Check a table of options.
-- @tparam table options
-- @tparam {string,...} known the names that may be given
-- @tparam[opt=3] number level whom an error blames, counted from here; 3 is the caller of the
-- function that calls this
function _M.check(options, known, level)
    level = level or 3
    if type(options) ~= "table" then
        error("options must be a table, is " .. kind_of(options), level)
    end
    local allowed = {}
    for _, name in ipairs(known) do
        allowed[name] = true
    end
    for name, value in pairs(options) do
        if not allowed[name] then
            local word = tostring(name)
            local hint = suggest.hint(word, known)
            error(("unknown option '%s'%s"):format(word, hint ~= "" and hint or "; there are "
                .. table.concat(known, ", ")), level)
        end
        local what, check = unpack(CHECKS[name])
        if not check(value) then
            error(("option %s must be %s, %s"):format(name, what, shown(value)), level)
        end
    end
end

local function check_name(what, name, level)
    if type(name) ~= "string" then
        error(("%s must be a string, is %s"):format(what, kind_of(name)), level)
    elseif #name == 0 or #name > 255 or name:find("[^\33-\126]") then
        error(("%s must be 1 to 255 bytes of printable ASCII without spaces, is %q"):format(
            what, name), level)
    end
end

--- Whether an app's name is reserved for the runtime. Only the method `arbiter` reaches such names:
-- the name of a call may come from others, from an URL for example.
-- @tparam string app
-- @treturn boolean
function _M.is_reserved(app)
    return app:byte() == 64 -- @
end

--- Check the names of an app and an action.
-- @param app
-- @param action
-- @tparam[opt=3] number level whom an error blames, counted from here; 3 is the caller of the
-- function that calls this
function _M.check_names(app, action, level)
    level = (level or 3) + 1
    check_name("app", app, level)
    check_name("action", action, level)
end

--- Make the settings of calls: the given ones, else inherited ones.
-- @tparam table options checked ones
-- @tparam table inherited settings
-- @tparam table codec a `dirty.values`
-- @treturn table|nil `budget_ms`, `priority`, `metadata` (JSON text or nil)
-- @treturn nil|string why the metadata can't be sent
function _M.settings(options, inherited, codec)
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

--- The settings of a client without options.
_M.SETTINGS = {
    budget_ms = _M.DEFAULTS.timeout * 1000,
    priority = _M.DEFAULTS.priority,
}

return _M
