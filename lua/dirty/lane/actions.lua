--- Actions: the functions of an app that callers can call. All functions of the app's object
-- are actions, except those that the runtime calls and those whose names begin with "_".
-- The lane looks actions up in C (runtime/worker/lua_call.c); the rules are the same there.
-- @module dirty.lane.actions

-- Taken when the lane opens: apps may change the globals and the strings' metatable later.
local getmetatable, pairs, tostring, type = getmetatable, pairs, tostring, type
local byte, format, sort = string.byte, string.format, table.sort

local dirty = require("dirty")
local fault = require("dirty.fault")
local json = require("dirty.lane.json")
local suggest = require("dirty.suggest")

local _M = {}

-- How many tables of an __index chain are searched for actions.
local CHAIN_MAX = 16

-- The runtime calls these itself.
local RESERVED = { new = true, init = true, call = true, close = true }

local UNDERSCORE = 95

local function is_action(name)
    return type(name) == "string" and byte(name) ~= UNDERSCORE and not RESERVED[name]
end

--- Get the names of the actions of an object, sorted.
-- @tparam table object
-- @treturn {string,...}
function _M.names(object)
    local names, seen = {}, {}
    for _ = 1, CHAIN_MAX do
        if type(object) ~= "table" then
            break
        end
        for key, value in pairs(object) do
            if type(value) == "function" and is_action(key) and not seen[key] then
                seen[key] = true
                names[#names + 1] = key
            end
        end
        object = (getmetatable(object) or {}).__index
    end
    sort(names)
    return names
end

--- Raise ACTION_NOT_FOUND.
-- @tparam table object the app object
-- @tparam string app its name
-- @tparam string action what was asked for
function _M.no_action(object, app, action)
    local names = _M.names(object)
    local found = suggest.nearest(action, names)
    local message = format("app '%s' has no action '%s'%s", app, action,
        suggest.hint(action, names))
    if not is_action(action) then
        message = format("'%s' of app '%s' is not an action: callers can't call new, init, call, "
            .. "close and names that begin with '_'", action, app)
    end
    fault.raise("ACTION_NOT_FOUND", message, {
        started = "no",
        members = found and '"nearest":' .. json.encode(found) or nil,
    })
end

--- Call an action of an app's object. Objects without a `call` of their own get this one, for
-- apps that call it themselves; a lane does the same in C.
-- @tparam table self the app object
-- @tparam string action
-- @param ... arguments of the action
-- @return whatever the action returns
function _M.call(self, action, ...)
    local f = is_action(action) and self[action]
    if type(f) ~= "function" then
        _M.no_action(self, dirty.request.app or "?", tostring(action))
    end
    return f(self, ...)
end

return _M
