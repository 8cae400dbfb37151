--- Writes a configuration as one line of text, for another process than the one that ran the file.
--
-- The line has everything of a configuration (dirty.config) except the hooks, because functions
-- can't be written. It has the names of the hooks.
-- @module dirty.config.serialize

local options = require "dirty.config.options"

local _M = {}

-- max_depth: the 1000 of the apps' options, and the levels around them
local json = require("dirty.json").new(1010)

local FIELDS = { "from", "apps", "file", "path", "modules", "warnings", "kept", "start",
    "directory", "cwd", "ids", "default_ids", "admin_uids", "dev" }

--- Write the line.
-- @tparam table conf of dirty.config
-- @tparam number|nil seconds that the file took to run; nil: it did not run, and the
-- configuration is the one in use
-- @treturn string ends with the only newline in it
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

--- Write a line that says why there is no configuration.
-- @tparam string reason
-- @treturn string
function _M.fault(reason)
    return json.encode { fault = reason } .. "\n"
end

--- Read a line.
-- @tparam string|nil line
-- @treturn table|nil the configuration, without its hooks
-- @treturn string|{string,...} the reason why there is none; or the names of its hooks
-- @treturn number|nil the seconds that the file took to run, nil as in `line`
function _M.read(line)
    local ok, found = pcall(json.decode, line or "")
    if not ok or type(found) ~= "table" then
        return nil, "the child that runs the configuration ended too early"
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
