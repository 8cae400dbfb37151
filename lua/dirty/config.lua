--- The configuration: defaults, then `dirty.conf.lua`, then flags.
--
-- The file is Lua. It sets an option by assigning a global of the option's name:
--
--     workers = 4
--     apps = { "myapp.mail", images = { module = "myapp.images", timeout = 5 } }
--     function worker_init(worker) print("worker " .. worker.number .. " is up") end
--
-- Everything of Lua can be used in it; a global that is no option is an error, so that a
-- misspelt name does not go unseen (locals are free). dirty.config.options lists the
-- options, dirty.config.spec checks the apps.
--
-- A configuration is a table `{values=, from=, apps=, file=, warnings=}`: `values` and
-- `from` (where a value is from, for people) are keyed by name of option, `apps` is a list
-- as dirty.config.spec makes it, hooks are functions in `values`, `warnings` are texts.
-- @module dirty.config

local nearest = require "dirty.nearest"
local options = require "dirty.config.options"
local socket_path = require "dirty.socket_path"
local spec = require "dirty.config.spec"

local _M = {}

--- The file that is read when no other is named.
_M.FILE = "dirty.conf.lua"

local function shown(value)
    return type(value) == "string" and ("%q"):format(value):gsub("\\\n", "\\n") or tostring(value)
end

-- The environment of the file: reads see what it has set, then Lua's globals.
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
            if loading then -- what hooks set later is theirs
                record(name, value, debug.getinfo(2, "l").currentline)
            end
        end,
    })
    return env, function()
        loading = false
    end
end

local function check_name(where, name)
    if options.by_name[name] or name == "apps" then
        return true
    end
    return nil, ("%s: there is no option %q%s; a helper of the file's own must be local"):format(
        where, tostring(name), nearest.hint(tostring(name), options.names))
end

local function check_setting(where, name, value)
    local known, unknown = check_name(where, name)
    if not known then
        return nil, unknown
    elseif value == nil then -- name = nil takes a setting back
        return nil
    elseif name == "apps" then
        local list, err = spec.list(value)
        return list, err and ("%s: %s"):format(where, err)
    end
    local normal, must = options.by_name[name].kind.check(value)
    if normal == nil then
        return nil, ("%s: %s = %s: must be %s"):format(where, name, shown(value), must)
    end
    return normal
end

-- Run the file and return its assignments by name: {value=, line=}.
local function run_file(path)
    local chunk, err = loadfile(path)
    if not chunk then
        return nil, err
    end
    local set, order = {}, {}
    local env, loaded = environment(function(name, value, line)
        if not set[name] then
            order[#order + 1] = name
        end
        set[name] = { value = value, line = line }
    end)
    setfenv(chunk, env)
    local ok, result = xpcall(chunk, function(e)
        return type(e) == "string" and debug.traceback(e, 2)
            or ("%s: raised an error that is a %s"):format(path, type(e))
    end)
    loaded()
    if not ok then
        return nil, result
    elseif result ~= nil then
        return nil, ("%s returns a %s; options are set by assigning them: workers = 4"):format(
            path, type(result))
    end
    return set, order
end

local function apply_file(config, path)
    local set, order = run_file(path)
    if not set then
        return nil, order
    end
    config.file = path
    for _, name in ipairs(order) do
        local where = ("%s:%d"):format(path, set[name].line)
        local value, err = check_setting(where, name, set[name].value)
        if err then
            return nil, err
        end
        if name == "apps" then
            config.apps = value or {}
        else
            config.values[name] = value
        end
        config.from[name] = value ~= nil and "file " .. where or nil
    end
    return true
end

local function apply_flags(config, flags)
    for _, option in ipairs(options.list) do
        local text = flags[option.name]
        if text then
            local value, must = option.kind.check(option.kind.from_text(text))
            if value == nil then
                return nil, ("%s %s: must be %s"):format(option.flag, shown(text), must)
            end
            config.values[option.name] = value
            config.from[option.name] = "flag " .. option.flag
        end
    end
    if flags.apps and #flags.apps > 0 then
        local list, err = spec.list(flags.apps)
        if not list then
            return nil, "--app: " .. err
        end
        config.apps, config.from.apps = list, "flag --app"
    end
    return true
end

local function apply_defaults(config, sys)
    for _, option in ipairs(options.list) do
        if config.values[option.name] == nil then
            local value, from = option.default, "default"
            if type(value) == "function" then
                value, from = value(sys)
            end
            config.values[option.name] = value
            config.from[option.name] = from
        end
    end
    config.from.apps = config.from.apps or "default"
end

local function change_directory(sys, dir, what)
    local ok, err = sys.chdir(dir)
    if not ok then
        return nil, ("%s %s: can't change to this directory: %s"):format(what, shown(dir), err)
    end
    return true
end

-- Paths that are used again later, when an app may have changed the directory.
local function make_absolute(config, sys)
    for _, option in ipairs(options.list) do
        local path = config.values[option.name]
        if option.absolute and path and path:sub(1, 1) ~= "/" then
            config.values[option.name] = (sys.cwd() or "."):gsub("/$", "") .. "/"
                .. path:gsub("^%./", "")
        end
    end
end

local function add_warnings(config)
    for _, app in ipairs(config.apps) do
        if app.workers and app.workers > config.values.workers and config.values.workers > 0 then
            config.warnings[#config.warnings + 1] =
                ("app %s asks for %d workers, there are %d: it gets those"):format(
                    app.name, app.workers, config.values.workers)
        end
    end
end

local function find_file(sys, named)
    if named then
        return named
    end
    return sys.stat(_M.FILE) and _M.FILE or nil
end

local function apply_all(config, sys, flags)
    local file = find_file(sys, flags.config)
    if file then
        local ok, err = apply_file(config, file)
        if not ok then
            return nil, err
        end
    end
    local from_file = config.values.chdir
    local ok, err = apply_flags(config, flags)
    if ok and from_file and not flags.chdir then
        ok, err = change_directory(sys, from_file, "chdir =")
    end
    return ok, err
end

--- Make the effective configuration. Changes the working directory when `chdir` is set:
-- by flag before the file is looked for, by the file after it was read.
-- @tparam table sys the module dirty.sys
-- @tparam table flags strings by name of option, `config` the path of the file (else
--   `dirty.conf.lua` of the current directory is taken if it is there), `apps` a list of specs
--   that takes the place of the file's
-- @treturn table|nil the configuration
-- @treturn nil|string what is wrong: file and line or flag, name, value and what it must be
function _M.load(sys, flags)
    local config = { values = {}, from = {}, apps = {}, warnings = {} }
    if flags.chdir then
        local ok, err = change_directory(sys, flags.chdir, "--chdir")
        if not ok then
            return nil, err
        end
    end
    local ok, err = apply_all(config, sys, flags)
    if not ok then
        return nil, err
    end
    apply_defaults(config, sys)
    make_absolute(config, sys)
    add_warnings(config)
    return config
end

local function lookup_id(config, name, find, kind)
    local value = config.values[name]
    if not value then
        return -1
    end
    local id = tonumber(value) or find(value)
    if not id or id < 0 or id >= 4294967295 then
        return nil, ("%s = %s (%s): there is no such %s"):format(
            name, shown(value), config.from[name], kind)
    end
    return id
end

--- Check what only this machine can tell: the socket's path, its owner and its group.
-- @tparam table config
-- @tparam table sys the module dirty.sys
-- @treturn table|nil `{uid=, gid=}` of the socket, -1: leave
-- @treturn nil|string what is wrong
function _M.resolve(config, sys)
    local fault = socket_path.fault(config.values.socket)
    if fault then
        return nil, ("socket = %s (%s): %s"):format(
            shown(config.values.socket), config.from.socket, fault)
    end
    local uid, gid, err
    uid, err = lookup_id(config, "socket_user", sys.user_id, "user")
    if not uid then
        return nil, err
    end
    gid, err = lookup_id(config, "socket_group", sys.group_id, "group")
    if not gid then
        return nil, err
    end
    return { uid = uid, gid = gid }
end

local function first_set(...)
    for i = 1, select("#", ...) do
        local value = select(i, ...)
        if value ~= nil then
            return value
        end
    end
end

--- The limits that hold for an app: its own in the configuration, else what it declares
-- (`dirty.app { workers =, timeout =, … }`), else the server's.
-- @tparam table config
-- @tparam table app an entry of `config.apps`; its field `declared` is what the app declares
-- @treturn table `{workers=, timeout=, max_queue=, interruptible=, cancel_on_disconnect=,
--   exclusive=}`; workers 0: all, timeout in seconds
function _M.limits(config, app)
    local values = config.values
    local server = {
        workers = 0, timeout = values.timeout, max_queue = values.max_queue,
        interruptible = values.interruptible, cancel_on_disconnect = false, exclusive = false,
    }
    local limits, declared = {}, app.declared or {}
    for name in pairs(spec.DECLARED) do
        limits[name] = first_set(app[name], declared[name], server[name])
    end
    return limits
end

return _M
