--- The configuration: defaults, then `dirty.conf.lua`, then the environment, then flags.
--
-- The file is Lua. It sets an option by assigning a global of the option's name:
--
--     workers = 4
--     apps = { "myapp.mail", images = { module = "myapp.images", timeout = 5 } }
--     function worker_init(worker) print("worker " .. worker.number .. " is up") end
--
-- The file can use all of Lua. A global that is not an option is an error, so that a misspelt
-- name is noticed. Locals are free. dirty.config.options lists the options, dirty.config.spec
-- checks the apps.
--
-- A configuration is a table `{values=, from=, apps=, file=, path=, modules=, warnings=}`:
--
-- * `values`: the options by name; hooks are functions
-- * `from`: where each value comes from, for people, by name
-- * `apps`: a list, as dirty.config.spec makes it
-- * `file`, `path`: the path of the file as it was given, and its absolute path
-- * `modules`: the names of the modules that the file has loaded
-- * `warnings`: texts
-- * `kept`: texts about settings that a reload can't change
-- * `dev`: true with `dirty serve --dev`
-- * `admin_uids`: the result of `resolve_admins`
-- * `start`, `directory`: the directory at the start of the runtime, and the one where relative
--   paths begin. Both by the names that were given, with symlinks
-- * `cwd`: the real path of `directory` when it was read
-- @module dirty.config

local file = require "dirty.config.file"
local suggest = require "dirty.suggest"
local options = require "dirty.config.options"
local socket_path = require "dirty.socket_path"
local spec = require "dirty.config.spec"
local types = require "dirty.config.types"

local _M = {}

--- The default name of the file.
_M.FILE = "dirty.conf.lua"

--- The variables of the environment for the path of the file and for apps, as for --config and
-- --app. Options have their own (`env` in dirty.config.options).
_M.FILE_VARIABLE, _M.APPS_VARIABLE = "DIRTY_CONFIG", "DIRTY_APPS"

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
    return nil, ("%s: there is no option %q%s; make it local if it is a helper of the file"):format(
        where, tostring(name), suggest.hint(tostring(name), options.names))
end

local function check_setting(where, name, value)
    local known, unknown = check_name(where, name)
    if not known then
        return nil, unknown
    elseif value == nil then -- name = nil removes a setting
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
    if odd then -- a device or a pipe may never end
        return nil, ("the configuration %s is a %s: it must be a regular file"):format(path, odd)
    end
    if sys.loaded then -- `dirty serve --dev` watches the file
        sys.loaded(path)
    end
    sys.guest_begin()
    local run, wrong = file.run(path)
    sys.guest_end(path) -- if the file forked, the child exits here
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

-- The value of a variable. An empty one is not set: files of containers can't unset them.
local function variable(name)
    local text = name and os.getenv(name)
    return text ~= "" and text or nil
end

-- The text for an option from its flag or its variable, and where it is from.
local function text_of(option, flags)
    if flags[option.name] then
        return flags[option.name], "flag " .. option.flag, option.flag
    end
    local text = variable(option.env)
    return text, text and "environment " .. option.env, option.env
end

local function apply_app_words(config, flags)
    local words, from, name = flags.apps, "flag --app", "--app"
    if not words or #words == 0 then
        words, from, name = {}, "environment " .. _M.APPS_VARIABLE, _M.APPS_VARIABLE
        for word in (variable(_M.APPS_VARIABLE) or ""):gmatch("[^%s,]+") do
            words[#words + 1] = word
        end
    end
    if #words > 0 then
        local list, err = spec.list(words)
        if not list then
            return nil, name .. ": " .. err
        end
        config.apps, config.from.apps = list, from
    end
    return true
end

-- Apply the environment and the flags.
local function apply_words(config, flags)
    for _, option in ipairs(options.list) do
        local text, from, name = text_of(option, flags)
        if text then
            local value, must = option.kind.check(option.kind.from_text(text))
            if value == nil then
                return nil, ("%s %s: must be %s"):format(name, shown(text), must)
            end
            config.values[option.name] = value
            config.from[option.name] = from
        end
    end
    return apply_app_words(config, flags)
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

-- Make paths absolute that are used again later, when an app may have changed the directory.
local function make_absolute(config)
    for _, option in ipairs(options.list) do
        local path = config.values[option.name]
        if option.absolute and path then
            config.values[option.name] = absolute(config, path)
        end
    end
end

local function warn_of_time(config, where, name, seconds)
    local long = seconds and types.long_time(seconds)
    if long then
        config.warnings[#config.warnings + 1] = ("%s%s = %.14g: %s"):format(where, name, seconds,
            long)
    end
end

local function add_warnings(config)
    for _, option in ipairs(options.list) do
        if option.kind.name == "seconds" then
            warn_of_time(config, ("%s: "):format(config.from[option.name]), option.name,
                config.values[option.name])
        end
    end
    for _, app in ipairs(config.apps) do
        warn_of_time(config, ("app %s: "):format(app.name), "timeout", app.timeout)
        if app.workers and app.workers > config.values.workers and config.values.workers > 0
            and config.from.workers ~= "flag --dev" then
            config.warnings[#config.warnings + 1] =
                ("app %s asks for %d workers, but there are only %d"):format(
                    app.name, app.workers, config.values.workers)
        end
    end
end

local function find_file(sys, named)
    return named or variable(_M.FILE_VARIABLE) or sys.stat(_M.FILE) and _M.FILE or nil
end

-- The directory that the flag or the environment names, and by what.
local function named_directory(flags)
    local dir, _, name = text_of(options.by_name.chdir, flags)
    return dir, name
end

-- Apply environment and flags. Go to the directory that the file names, if they name none.
local function apply_words_and_chdir(config, sys, flags)
    local from_file = config.values.chdir
    local ok, err = apply_words(config, flags)
    if ok and from_file and not named_directory(flags) then
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
        config.path = absolute(config, path) -- while relative paths still mean the old directory
    end
    return apply_words_and_chdir(config, sys, flags)
end

local function new(start)
    return { values = {}, from = {}, apps = {}, modules = {}, warnings = {}, kept = {},
        start = start, directory = start }
end

-- What `dirty serve --dev` changes: the log, unless it is set, and the number of workers, unless
-- a flag sets it. The file's number is for the machine that serves.
local function apply_dev(config)
    local values, from = config.values, config.from
    if from.workers ~= "flag --workers" then
        values.workers, from.workers = 1, "flag --dev"
    end
    if values.log_format == nil then
        values.log_format, from.log_format = "text", "flag --dev"
    end
end

local function complete(config, sys, flags)
    config.dev = flags.dev
    if flags.dev then
        apply_dev(config)
    end
    apply_defaults(config, sys)
    make_absolute(config)
    add_warnings(config)
    config.cwd = sys.cwd()
    return config
end

--- Make the effective configuration. If `chdir` is set, changes the working directory: for the
-- flag before it looks for the file, for the file's setting after it has read the file.
-- @tparam table sys the module dirty.sys
-- @tparam table flags strings by name of option; `config`: the path of the file (default:
--   $DIRTY_CONFIG, else the `dirty.conf.lua` of the current directory, if it exists); `apps`: a
--   list of specs, instead of the file's. What they don't set the environment may set
-- @tparam[opt] function around `around(path, run)` calls `run` or does not; it returns what
--   `run` does: true, or nil and what is wrong
-- @treturn table|nil the configuration
-- @treturn nil|string what is wrong: file and line or flag, name, value and what it must be
function _M.load(sys, flags, around)
    local config = new(sys.directory())
    local dir, name = named_directory(flags)
    if dir then
        local ok, err = change_directory(config, sys, dir, name)
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
    return complete(config, sys, flags)
end

-- Keep the settings that a running runtime can't change. Reports those that were changed.
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
        return nil, ("workers = 0 (%s): a reload can't disable the runtime, stop it instead")
            :format(config.from.workers)
    elseif #config.apps == 0 then
        return nil, ("apps (%s): there is no app to serve; stop the runtime instead"):format(
            config.from.apps)
    end
    return true
end

-- Go to the directory in which the file must run: where the runtime was started and --chdir led.
-- Goes there by name, because a symlink in the path may have been changed.
local function go_to_start(config, sys, flags)
    local dir, name = named_directory(flags)
    local there, err = sys.chdir(config.start)
    if dir and not there and dir:sub(1, 1) ~= "/" then
        return nil, ("%s %s: it begins in %s: %s"):format(name, shown(dir), config.start, err)
    elseif dir then
        return change_directory(config, sys, dir, name)
    end
    return true -- a directory that is gone may not be needed any more
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

--- Read the configuration of a running runtime again: the same file, the modules that it loads,
-- and the same flags, in the same directories by name. Changes the working directory as `load`
-- does. Options that a runtime can't change while it runs (`fixed` in dirty.config.options) keep
-- their values and are reported in `kept`.
-- @tparam table sys the module dirty.sys
-- @tparam table flags as for `load`
-- @tparam table running the configuration in use, of `load` or `reload`
-- @treturn table|nil the configuration
-- @treturn nil|string what is wrong, as `load` says
function _M.reload(sys, flags, running)
    local config = new(running.start)
    local ok, err = go_to_start(config, sys, flags)
    if ok and running.path then
        ok, err = run_again(config, sys, running)
    end
    if ok then
        ok, err = apply_words_and_chdir(config, sys, flags)
    end
    if not ok then
        return nil, err
    end
    complete(config, sys, flags)
    keep_fixed(config, running)
    ok, err = has_work(config)
    return ok and config, err
end

-- The command that creates the user or group of an option.
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

--- Find the numbers of the users in `admin_users` and store them in `config.admin_uids`: a list,
-- empty if nobody is meant; nil if the option is not set. Looking users up may take long (LDAP):
-- don't call it in a process that others wait for.
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

--- Find the owner and group of the socket.
-- @tparam table config
-- @tparam table sys the module dirty.sys
-- @treturn table|nil `{uid=, gid=}`, -1 if the configuration does not say
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

--- Check what depends on this machine: the socket's path, its owner and group, the user and
-- group to run as, and the admin users (`config.admin_uids`).
-- @tparam table config
-- @tparam table sys the module dirty.sys
-- @treturn table|nil `{uid=, gid=}` of the socket, -1: leave as it is
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

--- Get the limits of an app: from its entry in the configuration, else what it declares
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
        isolated = false,
    }
    local limits, declared = {}, app.declared or {}
    for name in pairs(spec.DECLARED) do
        limits[name] = first_set(app[name], declared[name], server[name])
    end
    return limits
end

return _M
