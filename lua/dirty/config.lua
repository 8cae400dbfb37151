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
-- A configuration is a table `{values=, from=, apps=, file=, path=, modules=, warnings=}`:
-- `values` and `from` (where a value is from, for people) are keyed by name of option, `apps`
-- is a list as dirty.config.spec makes it, hooks are functions in `values`, `file` is the path
-- of the file as it was given and `path` its absolute one, `modules` the names of what the
-- file has loaded, `warnings` are texts, and so are those of `kept`: settings that a reload can't
-- take over. `admin_uids` is what `resolve_admins` has found.
--
-- Directories: `start` is where it all began and `directory` where relative paths start, both by
-- the names that were given, symlinks and all; `cwd` is what `directory` was when it was read.
-- @module dirty.config

local file = require "dirty.config.file"
local suggest = require "dirty.suggest"
local options = require "dirty.config.options"
local socket_path = require "dirty.socket_path"
local spec = require "dirty.config.spec"

local _M = {}

--- The file that is read when no other is named.
_M.FILE = "dirty.conf.lua"

local function shown(value)
    if type(value) == "table" then
        return "a table"
    end
    return type(value) == "string" and ("%q"):format(value):gsub("\\\n", "\\n") or tostring(value)
end

local function check_name(where, name)
    if options.by_name[name] or name == "apps" then
        return true
    end
    return nil, ("%s: there is no option %q%s; a helper of the file's own must be local"):format(
        where, tostring(name), suggest.hint(tostring(name), options.names))
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

local function apply_file(config, sys, path)
    local odd = sys.odd_file(path)
    if odd then -- which may never end
        return nil, ("the configuration %s is a %s: it must be a regular file"):format(path, odd)
    end
    sys.guest_begin()
    local run, wrong = file.run(path)
    sys.guest_end(path) -- a child that the file has forked goes no further
    if not run then
        return nil, wrong
    end
    config.file, config.modules = path, run.modules
    for _, name in ipairs(run.order) do
        local where = ("%s:%d"):format(path, run.set[name].line)
        local value, err = check_setting(where, name, run.set[name].value)
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

local function absolute(config, path)
    if path:sub(1, 1) == "/" then
        return path
    end
    return config.directory:gsub("/$", "") .. "/" .. path:gsub("^%./", "")
end

local function change_directory(config, sys, dir, what)
    local ok, err = sys.chdir(dir)
    if not ok then
        return nil, ("%s %s: can't change to this directory: %s"):format(what, shown(dir), err)
    end
    config.directory = absolute(config, dir)
    return true
end

-- Paths that are used again later, when an app may have changed the directory.
local function make_absolute(config)
    for _, option in ipairs(options.list) do
        local path = config.values[option.name]
        if option.absolute and path then
            config.values[option.name] = absolute(config, path)
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

-- The flags, and the directory that the file names, unless a flag names another one.
local function apply_flags_and_chdir(config, sys, flags)
    local from_file = config.values.chdir
    local ok, err = apply_flags(config, flags)
    if ok and from_file and not flags.chdir then
        ok, err = change_directory(config, sys, from_file, "chdir =")
    end
    return ok, err
end

local function apply_all(config, sys, flags, around)
    local path = find_file(sys, flags.config)
    if path then
        local ok, err = around(path, function()
            return apply_file(config, sys, path)
        end)
        if not ok then
            return nil, err
        end
        config.path = absolute(config, path) -- before the directory changes
    end
    return apply_flags_and_chdir(config, sys, flags)
end

local function new(start)
    return { values = {}, from = {}, apps = {}, modules = {}, warnings = {}, kept = {},
        start = start, directory = start }
end

local function complete(config, sys)
    apply_defaults(config, sys)
    make_absolute(config)
    add_warnings(config)
    config.cwd = sys.cwd()
    return config
end

--- Make the effective configuration. Changes the working directory when `chdir` is set:
-- by flag before the file is looked for, by the file after it was read.
-- @tparam table sys the module dirty.sys
-- @tparam table flags strings by name of option, `config` the path of the file (else
--   `dirty.conf.lua` of the current directory is taken if it is there), `apps` a list of specs
--   that takes the place of the file's
-- @tparam[opt] function around `around(path, run)` runs the file, or does not: it returns what
--   `run` does, true, or nil and what is wrong
-- @treturn table|nil the configuration
-- @treturn nil|string what is wrong: file and line or flag, name, value and what it must be
function _M.load(sys, flags, around)
    local config = new(sys.directory())
    if flags.chdir then
        local ok, err = change_directory(config, sys, flags.chdir, "--chdir")
        if not ok then
            return nil, err
        end
    end
    local ok, err = apply_all(config, sys, flags, around or function(_, run)
        return run()
    end)
    if not ok then
        return nil, err
    end
    return complete(config, sys)
end

-- What a running runtime can't change stays as it is, and a changed setting is told.
local function keep_fixed(config, running)
    for _, option in ipairs(options.list) do
        local name = option.name
        local value, wanted = running.values[name], config.values[name]
        if option.fixed and value ~= wanted then
            local show = option.format or shown
            config.kept[#config.kept + 1] =
                ("%s = %s (%s) is ignored, it stays %s"):format(name,
                    wanted == nil and "nil" or show(wanted), config.from[name] or "not set",
                    value == nil and "nil" or show(value))
            config.values[name], config.from[name] = value, running.from[name]
        end
    end
end

local function has_work(config)
    if config.values.workers == 0 then
        return nil, ("workers = 0 (%s): a reload can't disable the runtime, stop it for that")
            :format(config.from.workers)
    elseif #config.apps == 0 then
        return nil, ("apps (%s): there is none to serve; stop the runtime instead"):format(
            config.from.apps)
    end
    return true
end

-- Be where the file is to be run: where the runtime was started and --chdir has led, by their
-- names, which may be symlinks that were moved since.
local function go_to_start(config, sys, flags)
    local dir = flags.chdir
    local there, err = sys.chdir(config.start)
    if dir and not there and dir:sub(1, 1) ~= "/" then
        return nil, ("--chdir %s: it begins in %s: %s"):format(shown(dir), config.start, err)
    elseif dir then
        return change_directory(config, sys, dir, "--chdir")
    end
    return true -- what is gone may not be needed any more
end

local function run_again(config, sys, running)
    local put_back = file.remember()
    file.forget(running.modules)
    local ok, err = apply_file(config, sys, running.path)
    config.path = running.path
    if not ok then
        put_back()
    end
    return ok, err
end

--- Read the configuration of a running runtime again: the same file, with what it loads by
-- `require`, and the same flags, in the same directories, by their names. Changes the working
-- directory as `load` does. Options that a runtime can't change while it runs (`fixed` in
-- dirty.config.options) stay, and are told in `kept`.
-- @tparam table sys the module dirty.sys
-- @tparam table flags as for `load`
-- @tparam table running the configuration that serves, of `load` or `reload`
-- @treturn table|nil the configuration
-- @treturn nil|string what is wrong, as `load` says
function _M.reload(sys, flags, running)
    local config = new(running.start)
    local ok, err = go_to_start(config, sys, flags)
    if ok and running.path then
        ok, err = run_again(config, sys, running)
    end
    if ok then
        ok, err = apply_flags_and_chdir(config, sys, flags)
    end
    if not ok then
        return nil, err
    end
    complete(config, sys)
    keep_fixed(config, running)
    ok, err = has_work(config)
    return ok and config, err
end

-- How to have a user or group that the runtime is to run as.
local MAKE = { user = "adduser --system --group", group = "addgroup --system" }

local function find_id(config, name, value, find, kind)
    local id = tonumber(value) or find(value)
    if not id or id < 0 or id >= 4294967295 then
        local make = value:match("^[a-z_][a-z0-9_-]*$") and MAKE[name]
        return nil, ("%s = %s (%s): there is no such %s%s"):format(name, shown(value),
            config.from[name], kind, make and ("; make one: %s %s"):format(make, value) or "")
    end
    return id
end

local function lookup_id(config, name, find, kind)
    local value = config.values[name]
    if not value then
        return -1
    end
    return find_id(config, name, value, find, kind)
end

--- Find the numbers of the users in `admin_users`, for `config.admin_uids`: a list, empty where
-- nobody is meant, or nil where the option is not set. Users may be in a directory that is slow
-- to answer: not for a process that others wait for.
-- @tparam table config
-- @tparam table sys the module dirty.sys
-- @treturn boolean|nil true
-- @treturn nil|string what is wrong
function _M.resolve_admins(config, sys)
    local users, uids = config.values.admin_users, {}
    for i, user in ipairs(users or {}) do
        local uid, err = find_id(config, "admin_users", user, sys.user_id, "user")
        if not uid then
            return nil, err
        end
        uids[i] = uid
    end
    config.admin_uids = users ~= nil and uids or nil
    return true
end

--- Find whom the socket is to belong to.
-- @tparam table config
-- @tparam table sys the module dirty.sys
-- @treturn table|nil `{uid=, gid=}`, -1 where the configuration does not say
-- @treturn nil|string what is wrong
function _M.resolve_socket(config, sys)
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

--- Check what only this machine can tell: the socket's path, its owner and its group, that
-- there are the user and the group to run as, and who may change things (`config.admin_uids`).
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
    local ids, err = _M.resolve_socket(config, sys)
    if not ids then
        return nil, err
    end
    for name, find in pairs { user = sys.user_id, group = sys.group_id } do
        local id
        id, err = lookup_id(config, name, find, name)
        if not id then
            return nil, err
        end
    end
    local found
    found, err = _M.resolve_admins(config, sys)
    if not found then
        return nil, err
    end
    return ids
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
