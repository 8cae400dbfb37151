--- A configuration as a line of text, from the process that has run its file to another one.
--
-- Everything of a configuration (dirty.config) is carried but its hooks: functions can't be.
-- Their names are.
-- @module dirty.config.serialize

local options = require "dirty.config.options"

local _M = {}

-- max_depth: that of the apps' options, and what they are in
local json = require("dirty.json").new(1010)

local FIELDS = { "from", "apps", "file", "path", "modules", "warnings", "kept", "start",
    "directory", "cwd", "ids", "default_ids", "admin_uids" }

--- Make the line.
-- @tparam table conf of dirty.config
-- @tparam number|nil seconds that running the file took; nil: it was not run, the configuration
-- is the one that holds
-- @treturn string ends with a newline and has no other
function _M.line(conf, seconds)
    local out = { values = {}, hooks = {}, seconds = seconds }
    for _, name in ipairs(FIELDS) do
        out[name] = conf[name]
    end
    for name, value in pairs(conf.values) do
        if type(value) == "function" then
            out.hooks[#out.hooks + 1] = name
        else
            out.values[name] = value
        end
    end
    return json.encode(out) .. "\n"
end

--- Make a line that says why there is no configuration.
-- @tparam string reason
-- @treturn string
function _M.fault(reason)
    return json.encode { fault = reason } .. "\n"
end

--- Read a line.
-- @tparam string|nil line
-- @treturn table|nil the configuration, without its hooks
-- @treturn string|{string,...} the reason why there is none; the names of its hooks
-- @treturn number|nil the seconds that running the file took, nil as in `line`
function _M.read(line)
    local ok, found = pcall(json.decode, line or "")
    if not ok or type(found) ~= "table" then
        return nil, "the child that runs the configuration ended before its end"
    elseif found.fault then
        return nil, found.fault
    end
    local conf = { values = {} }
    for _, name in ipairs(FIELDS) do
        conf[name] = found[name]
    end
    for _, option in ipairs(options.list) do
        conf.values[option.name] = found.values[option.name]
    end
    return conf, found.hooks, found.seconds
end

return _M
