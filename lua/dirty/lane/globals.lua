--- Global state that all apps of a lane share: the table of globals and the search paths of
-- `require`. From the end of the boot on, a lane logs new globals and searches for modules by
-- absolute paths.
-- @module dirty.lane.globals

-- Taken when the lane opens: apps may change the globals and the strings' metatable later.
local getmetatable, rawset, setmetatable, tostring = getmetatable, rawset, setmetatable, tostring
local byte, format, gsub, getinfo = string.byte, string.format, string.gsub, debug.getinfo
local globals, package = _G, package

local dirty = require("dirty")
local host = require("dirty.host")

local _M = {}

local SLASH = 47

-- The working directory when the lane opened; nil if it had no path.
local home = host.cwd()

-- __newindex of the table of globals: set the global and log it. The next assignment to it
-- does not come here. A global that an app makes while it serves is often a forgotten `local`.
local function report_global(t, name, value)
    rawset(t, name, value)
    local where = getinfo(2, "Sl") or { short_src = "?", currentline = 0 }
    if where.what ~= "C" then
        dirty.log.warn("a global variable was created after load: is a 'local' missing?", {
            name = tostring(name),
            where = format("%s:%d", where.short_src, where.currentline),
        })
    end
end

-- Make the relative templates of a search path absolute, from `home`.
local function from_home(path)
    return (gsub(path, "[^;]+", function(template)
        return byte(template) ~= SLASH and home .. "/" .. gsub(template, "^%./", "") or nil
    end))
end

--- End the boot: all apps are made. Makes the search paths absolute, because an app can change
-- the working directory of the whole process. Logs globals that are made from now on.
function _M.booted()
    if home and host.cwd() == home then
        package.path, package.cpath = from_home(package.path), from_home(package.cpath)
    end
    if getmetatable(globals) == nil then
        setmetatable(globals, { __newindex = report_global })
    end
end

return _M
