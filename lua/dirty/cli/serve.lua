--- `dirty serve`: run the runtime in the foreground.
-- @module dirty.cli.serve

local config_command = require "dirty.cli.config"
local exit = require "dirty.cli.exit"
local probe = require "dirty.cli.probe"
local say = require "dirty.cli.say"
local socket_path = require "dirty.socket_path"
local source = require "dirty.cli.config_source"
local start = require "dirty.cli.start"
local sys = require "dirty.sys"

local _M = {}

-- On the terminal, and in the log, if that is open and elsewhere.
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
    sys.log_echo(true) -- until it serves, whoever starts it is told as well
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

-- Whoever the arbiter becomes must be able to connect: the socket is theirs unless the
-- configuration says whose it is. Files where they may write are opened with their rights. The
-- configuration gets `ids`, whose the socket is to be (-1: as it comes about), and `default_ids`,
-- whose it is where nothing is said. Returns what the arbiter gives up its rights by.
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

-- Everything up to the first fork. As find_owner, or nil and the exit status.
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

-- The longest that the configuration, and each app, may keep the callers of all others waiting
-- for an arbiter that takes another's place, ms. An app that is slower is tried on in a worker.
local PATIENCE_MS = 5000

-- The configuration as it is now, for an arbiter that takes another's place. Where there is
-- none, the one that the runtime was started with: to serve by that is better than not to.
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
        sys.log("error", "the configuration can't be read, the one of the start is served; "
            .. "mend it, then reload: " .. err)
        return conf
    end
    log_warnings(now)
    source.tell_kept(now)
    return now
end

-- The first start ends with an app that can't be loaded, and the terminal of whoever starts the
-- runtime and the log tell. Later the others are served without it, and the log tells.
local function load_apps(conf, options, child)
    local first = child.restarts == 0
    if not first then
        options.boot_timeout_ms = math.min(options.boot_timeout_ms, PATIENCE_MS)
    end
    local reports, err = probe.run(conf, options, false, not first)
    if not reports then
        complain(err)
        return exit.INTERNAL
    elseif first and not probe.write(reports, say.err, true) then
        source.fault_of(reports, sys.log_told)
        complain("an app does not load; `dirty check` boots them all and says more")
        return exit.BOOT
    elseif not first then
        source.mark_faults(reports)
    end
    return exit.OK
end

-- Things that root could and the user can't; each would be felt only later.
local function warn_of_rights(conf)
    local values = conf.values
    if not values.user then
        return
    end
    local found, err = sys.stat(values.socket)
    if not found then
        sys.log("warn", ("the user %s can't reach the socket %s: %s; its directory must be "
            .. "open to the callers"):format(values.user, values.socket, err))
    end
    local file = conf.path and io.open(conf.path)
    if file then
        file:close()
    elseif conf.path then
        sys.log("warn", ("the user %s can't read the configuration %s: a reload will fail")
            :format(values.user, conf.path))
    end
end

-- Be the arbiter until it ends. Returns the exit status.
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
    local options = start.options(conf, conf.ids, sys.paths) -- what apps declare is known now
    options.source = source.new(parsed, conf)
    options.supervised = child
    return sys.serve(options)
end

--- Serve until a signal says stop. Returns in every process of the tree but the workers:
-- in the supervisor with the status of the command, in an arbiter with its own.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    sys.spare_children() -- those of a script that has become this command
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
