--- The search paths of modules in the lanes: package.path and package.cpath.
-- @module dirty.cli.paths

local _M = {}

-- Join lists of templates. A template that occurs twice stays at its first place only.
local function join(...)
    local out, seen = {}, {}
    for _, list in ipairs { ... } do
        for template in list:gmatch("[^;]+") do
            if not seen[template] then
                seen[template] = true
                out[#out + 1] = template
            end
        end
    end
    return table.concat(out, ";")
end

--- Make the search paths of apps. They consist of: the working directory, the options lua_path and
-- lua_cpath, the runtime's own modules, LuaJIT's defaults (with LUA_PATH and LUA_CPATH), and the
-- directory of the apps that come with the runtime.
-- @tparam table values the configuration's values
-- @tparam table templates dirty.sys.paths
-- @treturn string package.path
-- @treturn string package.cpath
function _M.of_apps(values, templates)
    local lua = join("./?.lua;./?/init.lua", values.lua_path or "", templates.lua,
        templates.default_lua, templates.apps)
    local c = join(values.lua_cpath or "", "./?.so", templates.c, templates.default_c)
    return lua, c
end

return _M
