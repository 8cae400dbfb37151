--- The parts of a client that don't depend on its transport. dirty.client (over libdirty) and
-- resty.dirty (over nginx's cosockets) build their classes on it.
-- Pure Lua, for every Lua from 5.1 on, without FFI.
-- @module dirty.client.base

local options_of = require "dirty.client.options"
local values = require "dirty.values"

local _M = {}

--- The error message for a method that is not called on a client, a format with its name.
_M.NOT_A_CLIENT = "call it with a colon: client:%s(…)"

--- Make a class of clients.
-- @tparam function check `check(self, method, place)` raises for the caller of the method if
-- `self` is not a client, or if the method can't be used here
-- @param[opt] place what `check` takes for methods that wait
-- @treturn table its methods: `status` and `metrics`; the transport adds `arbiter` and others
-- @treturn table the metatable of its objects
function _M.class(check, place)
    local methods = {}

    --- Ask the runtime for its state.
    -- @treturn table|nil as `dirty status --json` prints it; or nil, err, info as for `execute`
    function methods:status()
        check(self, "status", place)
        return self:arbiter("status")
    end

    --- Ask the runtime for its metrics, in the text format of Prometheus.
    -- @treturn string|nil text; or nil, err, info as for `execute`
    function methods:metrics()
        check(self, "metrics", place)
        return self:arbiter("metrics")
    end

    return methods, { __index = methods }
end

--- Check the options of a new client. Raises for the caller of the function that calls this.
-- @tparam table options
-- @treturn table a codec, `dirty.values`
-- @treturn table the settings of the client's calls
function _M.settings(options)
    options_of.check(options, options_of.OF_CLIENTS, 4)
    local codec = values.new(options.max_depth)
    local settings, err = options_of.settings(options, options_of.SETTINGS, codec)
    if not settings then
        error(err, 3)
    end
    return codec, settings
end

--- Check the options of `client:with`. Raises for the caller of the function that calls this.
-- @tparam table options
-- @tparam table inherited settings of the client
-- @tparam table codec a `dirty.values`
-- @treturn table the settings of the new client's calls
function _M.settings_with(options, inherited, codec)
    options_of.check(options, options_of.OF_CALLS, 4)
    local settings, err = options_of.settings(options, inherited, codec)
    if not settings then
        error(err, 3)
    end
    return settings
end

return _M
