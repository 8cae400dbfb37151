--- Runs a configuration file. Records what it assigns and which modules it loads.
-- @module dirty.config.file

local _M = {}

-- Make the environment of the file: it reads what the file has set, then Lua's globals.
local function environment(record)
    local own, loading = {}, true
    local env = setmetatable({}, {
        __index = function(_, name)
            local value = own[name]
            if value == nil then
                value = _G[name]
            end
            return value
        end,
        __newindex = function(_, name, value)
            own[name] = value
            if loading then -- assignments of hooks, later, are not settings
                record(name, value, debug.getinfo(2, "l").currentline)
            end
        end,
    })
    return env, function()
        loading = false
    end
end

-- Whether a module belongs to the runtime, which uses it too. Such modules stay loaded.
local function is_own(name)
    return name == "dirty" or name:sub(1, 6) == "dirty."
end

local function loaded_names()
    local names = {}
    for name in pairs(package.loaded) do
        names[name] = true
    end
    return names
end

--- List the modules that were loaded since.
-- @tparam table before set of names
-- @treturn {string,...}
local function loaded_since(before)
    local names = {}
    for name in pairs(package.loaded) do
        if not before[name] and not is_own(name) then
            names[#names + 1] = name
        end
    end
    return names
end

--- Remember which modules are loaded and the search paths.
-- @treturn function restores both; modules of the runtime itself stay loaded
function _M.remember()
    local loaded, path, cpath = {}, package.path, package.cpath
    for name, module in pairs(package.loaded) do
        loaded[name] = module
    end
    return function()
        for name in pairs(loaded_names()) do
            if not is_own(name) then
                package.loaded[name] = nil
            end
        end
        for name, module in pairs(loaded) do
            package.loaded[name] = module
        end
        package.path, package.cpath = path, cpath
    end
end

--- Unload modules, so that the next run loads them again.
-- @tparam {string,...} names
function _M.forget(names)
    for _, name in ipairs(names) do
        package.loaded[name] = nil
    end
end

--- Run a file.
-- @tparam string path
-- @treturn table|nil `{set=, order=, modules=}`: the assigned values by name (`{value=, line=}`),
--   the names in the order of their first assignment, and the names of the loaded modules
-- @treturn nil|string what is wrong with it, with a traceback if it raised an error
function _M.run(path)
    local chunk, err = loadfile(path)
    if not chunk then
        return nil, err
    end
    local out, before = { set = {}, order = {} }, loaded_names()
    local env, loaded = environment(function(name, value, line)
        if not out.set[name] then
            out.order[#out.order + 1] = name
        end
        out.set[name] = { value = value, line = line }
    end)
    setfenv(chunk, env)
    local ok, result = xpcall(chunk, function(e)
        return type(e) == "string" and debug.traceback(e, 2)
            or ("%s: raised an error that is a %s"):format(path, type(e))
    end)
    loaded()
    out.modules = loaded_since(before)
    if not ok then
        return nil, result
    elseif result ~= nil then
        return nil, ("%s returns a %s; options are set by assigning them: workers = 4"):format(
            path, type(result))
    end
    return out
end

return _M
