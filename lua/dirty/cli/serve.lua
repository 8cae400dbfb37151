--- `dirty serve`: run the runtime in the foreground.
-- @module dirty.cli.serve

local config_command = require "dirty.cli.config"
local exit = require "dirty.cli.exit"
local loaded = require "dirty.loaded"
local probe = require "dirty.cli.probe"
local say = require "dirty.cli.say"
local socket_path = require "dirty.socket_path"
local source = require "dirty.cli.config_source"
local start = require "dirty.cli.start"
local sys = require "dirty.sys"

local _M = {}

-- Print an error on the terminal, and log it if the log is open and goes elsewhere.
local function complain(err)
    say.err("dirty serve: %s\n", err)
    sys.log_told(err)
end

local function is_disabled(conf)
    if conf.values.workers ~= 0 then
        return false
    end
    complain(("workers = 0 (%s): the dirty runtime is disabled, nothing is started")
        :format(conf.from.workers))
    return true
end

local function has_apps(conf)
    if #conf.apps > 0 then
        return true
    end
    complain("there is no app to serve: give --app SPEC (--app apps.echo), or set apps = "
        .. "{ \"apps.echo\" } in " .. (conf.file or "dirty.conf.lua"))
    return false
end

local function open_log(conf)
    local values = conf.values
    local ok, err = sys.log_open(values.log_file, values.log_level, values.log_format)
    if not ok then
        complain(("log_file = %q (%s): %s"):format(values.log_file, conf.from.log_file, err))
    end
    sys.log_echo(true) -- print log lines on the terminal too until it serves
    return ok
end

local function check_pidfile(conf)
    local path = conf.values.pidfile
    local ok, err = true, nil
    if path then
        ok, err = sys.try_pidfile(path)
    end
    if not ok then
        complain(("pidfile = %q (%s): %s"):format(path, conf.from.pidfile, err))
    end
    return ok
end

local function log_warnings(conf)
    for _, warning in ipairs(conf.warnings) do
        sys.log("warn", warning)
    end
end

-- -- The supervisor ------------------------------------------------------------------------

-- Find the user and group that arbiters run as, and the owner of the socket. The arbiter's user
-- must be able to connect, so the socket belongs to that user unless the configuration says
-- otherwise. Files in directories where that user may write are opened with that user's rights.
-- Sets `ids` of the configuration, the owner of the socket (-1: unchanged), and `default_ids`,
-- the owner without a setting. Returns the ids to which the arbiter drops its rights.
local function find_owner(conf, ids)
    local uid, gid, rights = sys.rights(conf.values.user, conf.values.group)
    local ok, err = uid and sys.safe_user(rights), gid
    if not ok then
        complain(err)
        return nil
    end
    conf.ids = { uid = ids.uid >= 0 and ids.uid or uid, gid = ids.gid >= 0 and ids.gid or gid }
    conf.default_ids = { uid = uid >= 0 and uid or sys.uid(), gid = gid >= 0 and gid or sys.gid() }
    return rights
end

-- Do everything up to the first fork. Returns as find_owner, or nil and the exit status.
local function prepare(conf, ids)
    if not conf then
        return nil, exit.USAGE
    end
    if is_disabled(conf) then
        return nil, exit.OK
    end
    local rights = find_owner(conf, ids)
    if not rights or not open_log(conf) or not has_apps(conf) or not check_pidfile(conf) then
        return nil, exit.USAGE
    end
    local ok, err = socket_path.prepare(sys, conf.values.socket)
    if not ok then
        complain(("socket = %q (%s): %s"):format(conf.values.socket, conf.from.socket, err))
        return nil, exit.SOCKET
    end
    return rights
end

-- -- An arbiter ----------------------------------------------------------------------------

-- Milliseconds that the configuration, and each app, may take in an arbiter that takes another's
-- place, while all callers wait. An app that is slower is then tried in a worker.
local PATIENCE_MS = 5000

-- Read the configuration again for an arbiter that takes another's place. If that fails, use the
-- configuration that the runtime started with: serving with that is better than not serving.
local function reread(parsed, conf)
    local limit_ms = conf.values.boot_timeout * 1000
    local back = sys.remember_directory()
    local now, err = nil, conf.values.user and config_command.strangers(conf.path)
    if not err then
        now, err = source.reread(parsed, conf,
            limit_ms > 0 and math.min(limit_ms, PATIENCE_MS) or PATIENCE_MS)
    end
    sys.go_back(back)
    if now and now.cwd then
        sys.chdir(now.cwd)
    elseif not now then
        sys.log("error", "the configuration can't be read: serving with the one of the start; fix "
            .. "it, then reload: " .. err)
        return conf
    end
    sys.log_level(now.values.log_level)
    log_warnings(now)
    source.tell_kept(now)
    return now
end

-- Load the apps. The first start fails if an app can't be loaded, and reports it on the terminal
-- and in the log. A later arbiter, and every one with --dev, serves the other apps and logs it.
local function load_apps(conf, options, child)
    local first = child.restarts == 0
    if not first and not conf.dev then
        options.boot_timeout_ms = math.min(options.boot_timeout_ms, PATIENCE_MS)
    end
    local reports, err = probe.run(conf, options, false, not first)
    if not reports then
        complain(err)
        return exit.INTERNAL
    end
    for _, warning in ipairs(probe.warnings(reports)) do
        sys.log("warn", warning)
    end
    if conf.dev then -- the apps that don't load can be mended while the others serve
        source.mark_faults(reports)
    elseif first and not probe.write(reports, say.err, true) then
        source.fault_of(reports, sys.log_told)
        complain("an app does not load; `dirty check` boots all apps and reports more")
        return exit.BOOT
    elseif not first then
        source.mark_faults(reports)
    end
    return exit.OK
end

-- Warn of things that root can do and the user can't. Each would show up only later.
local function warn_of_rights(conf)
    local values = conf.values
    if not values.user then
        return
    end
    local found, err = sys.stat(values.socket)
    if not found then
        sys.log("warn", ("the user %s can't reach the socket %s: %s; callers must be able to "
            .. "search its directory"):format(values.user, values.socket, err))
    end
    local file = conf.path and io.open(conf.path)
    if file then
        file:close()
    elseif conf.path then
        sys.log("warn", ("the user %s can't read the configuration %s: a reload will fail")
            :format(values.user, conf.path))
    end
end

-- Run the arbiter until it ends. Returns the exit status.
local function serve(parsed, conf, rights, child)
    local ok, err = sys.settle(child, rights)
    if not ok then
        complain(err)
        return exit.INTERNAL
    end
    warn_of_rights(conf)
    local status = load_apps(conf, start.options(conf, conf.ids, sys.paths), child)
    if status ~= exit.OK then
        return status
    end
    local options = start.options(conf, conf.ids, sys.paths) -- now with what the apps declare
    options.source = source.new(parsed, conf)
    options.supervised = child
    return sys.serve(options)
end

-- Have all processes tell which files they load as code, for --dev.
local function watch_files()
    local ok, err = sys.loaded_open()
    if not ok then
        complain("--dev can't watch files: " .. err)
        return false
    end
    loaded.begin(sys.loaded)
    return true
end

--- Serve until a signal stops the runtime. Returns in every process of the tree except workers:
-- in the supervisor with the status of the command, in an arbiter with its own.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    sys.spare_children() -- of a script that called exec for this command
    if parsed.dev and not watch_files() then
        return exit.RESOURCES
    end
    local conf, ids = config_command.load(parsed)
    local rights, status = prepare(conf, ids)
    if not rights then
        return status
    end
    log_warnings(conf)
    local child = sys.supervise(start.supervisor(conf, conf.ids))
    if type(child) == "number" then
        return child
    end
    if child.restarts > 0 then
        conf = reread(parsed, conf)
    end
    return serve(parsed, conf, rights, child)
end

return _M
