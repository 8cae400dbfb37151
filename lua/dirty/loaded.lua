--- Tells which files are loaded as code, for `dirty serve --dev`, which watches them.
-- @module dirty.loaded

-- Taken at load: apps may change the globals and the strings' metatable later.
local insert, ipairs = table.insert, ipairs
local gmatch, gsub, sub = string.gmatch, string.gsub, string.sub

local _M = {}

-- Whether a module belongs to the runtime.
local function is_own(name)
    return name == "dirty" or sub(name, 1, 6) == "dirty."
end

-- Tell the file of a module; if there is none, the files that would be it.
local function tell_module(name, tell)
    for _, path in ipairs({ package.path, package.cpath }) do
        local file = package.searchpath(name, path)
        if file then
            return tell(file)
        end
    end
    for template in gmatch(package.path, "[^;]+") do
        tell((gsub(template, "%?", (gsub(name, "%.", "/")))))
    end
end

--- Tell the files of all modules that are required from now on, whether they load or not.
-- @tparam function tell called with a path
function _M.begin(tell)
    insert(package.loaders, 2, function(name) -- after package.preload
        if not is_own(name) then
            tell_module(name, tell)
        end
        return nil
    end)
end

return _M
