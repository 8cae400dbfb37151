--- `dirty check`: read the configuration, try the files that `dirty serve` would open, and boot
-- every app once.
-- @module dirty.cli.check

local config_command = require "dirty.cli.config"
local exit = require "dirty.cli.exit"
local probe = require "dirty.cli.probe"
local say = require "dirty.cli.say"
local socket = require "dirty.cli.socket"
local socket_path = require "dirty.socket_path"
local start = require "dirty.cli.start"
local sys = require "dirty.sys"

local _M = {}

local function summary(conf, ok)
    local values = conf.values
    if values.workers == 0 then
        return "workers = 0: the dirty runtime is disabled"
    end
    return ("%d app%s, %d worker%s of %d lane%s, socket %s: %s"):format(
        #conf.apps, #conf.apps == 1 and "" or "s", values.workers,
        values.workers == 1 and "" or "s", values.threads, values.threads == 1 and "" or "s",
        values.socket, ok and "ok" or "failed")
end

-- -- Files ---------------------------------------------------------------------------------

-- Ask who serves at the socket. A runtime there is no fault: the check comes before its restart
-- or reload. Anything else there is one.
local function ask_who_serves(path)
    local request = { socket = path, timeout_ms = 1000, max_message = 65536, action = "ping",
        args = {} }
    local values, info = socket.call(request)
    if values then
        say.out("note: a runtime serves on the socket %s (arbiter pid %s); it is not touched\n",
            path, values[1] and values[1][2] or "?")
    elseif info.code ~= "CONNECTION" then
        return nil, "something listens there that does not answer as a runtime: " .. info.message
    end
    return true
end

local function check_socket(path)
    if socket_path.makes(sys, path) then
        return true
    end
    local found = sys.stat(path)
    if found and found.type ~= "socket" then
        return nil, "there is a file that is no socket: remove it or choose another path"
    end
    local ok, err = true, nil
    if found then
        ok, err = ask_who_serves(path)
    end
    if ok then
        ok, err = socket_path.prepare(sys, path)
    end
    if ok then
        ok, err = sys.try_pidfile(path) -- a socket needs the same rights
    end
    return ok, err
end

local FILES = {
    { name = "log_file", try = sys.try_log, status = exit.USAGE },
    { name = "pidfile", try = sys.try_pidfile, status = exit.USAGE },
    { name = "socket", try = check_socket, status = exit.SOCKET },
}

-- Try what `dirty serve` opens or makes, with the rights that it uses. Leaves no file. Returns the
-- exit status of the first failure.
local function check_files(conf)
    local values = conf.values
    local uid, _, rights = sys.rights(values.user, values.group)
    if uid then
        sys.safe_user(rights) -- otherwise `drop` tells what is wrong
    end
    local status = exit.OK
    for _, file in ipairs(FILES) do
        local path, ok, err = values[file.name], true, nil
        if path then
            ok, err = file.try(path)
        end
        if not ok then
            say.err("%s = %q (%s): failed: %s\n", file.name, path, conf.from[file.name], err)
            status = status == exit.OK and file.status or status
        end
    end
    return status
end

--- Check the configuration, the files and the apps.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local conf, ids = config_command.load(parsed)
    if not conf then
        return exit.USAGE
    end
    say.out("configuration %s: ok\n", conf.file or "(no file)")
    for _, warning in ipairs(conf.warnings) do
        say.out("warning: %s\n", warning)
    end
    if #conf.apps == 0 then
        say.err("dirty check: there is no app: give --app SPEC or set apps in %s\n",
            conf.file or "dirty.conf.lua")
        return exit.USAGE
    end
    local files = conf.values.workers == 0 and exit.OK or check_files(conf)
    local dropped, why = sys.drop(conf.values.user, conf.values.group)
    if not dropped then
        say.out("warning: the apps are tested as this user: %s\n", why)
    end
    sys.log_open(nil, "error")
    local reports, err = probe.run(conf, start.options(conf, ids, sys.paths), true)
    if not reports then
        say.err("dirty check: %s\n", err)
        return exit.INTERNAL
    end
    local ok = probe.write(reports, say.out, false)
    for _, warning in ipairs(probe.warnings(reports)) do
        say.out("warning: %s\n", warning)
    end
    say.out("%s\n", summary(conf, ok and files == exit.OK))
    return ok and files or exit.BOOT
end

return _M
