--- `dirty serve`: run the runtime in the foreground.
-- @module dirty.cli.serve

local config_command = require "dirty.cli.config"
local exit = require "dirty.cli.exit"
local probe = require "dirty.cli.probe"
local socket_path = require "dirty.socket_path"
local source = require "dirty.cli.source"
local start = require "dirty.cli.start"
local sys = require "dirty.sys"

local _M = {}

local function complain(err)
    io.stderr:write(("dirty serve: %s\n"):format(err))
end

-- Whether there is something to serve; if not, the exit status.
local function check(conf)
    if conf.values.workers == 0 then
        complain(("workers = 0 (%s): the dirty runtime is disabled, nothing is started")
            :format(conf.from.workers))
        return false, exit.OK
    elseif #conf.apps == 0 then
        complain("there is no app to serve: give --app SPEC (--app apps.echo), or set apps = "
            .. "{ \"apps.echo\" } in " .. (conf.file or "dirty.conf.lua"))
        return false, exit.USAGE
    end
    return true
end

local function open_log(conf)
    local values = conf.values
    local ok, err = sys.log_open(values.log_file, values.log_level, values.log_format)
    if not ok then
        complain(("log_file = %q (%s): %s"):format(values.log_file, conf.from.log_file, err))
    end
    return ok
end

local function load_apps(conf, options)
    local reports, err = probe.run(conf, options, false)
    if not reports then
        complain(err)
        return exit.INTERNAL
    end
    if not probe.write(reports, io.stderr, true) then
        complain("an app does not load; `dirty check` boots them all and says more")
        return exit.BOOT
    end
    return exit.OK
end

--- Serve until a signal says stop.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local conf, ids = config_command.load(parsed)
    if not conf then
        return exit.USAGE
    end
    local ready, status = check(conf)
    if not ready then
        return status
    elseif not open_log(conf) then
        return exit.USAGE
    end
    for _, warning in ipairs(conf.warnings) do
        sys.log("warn", warning)
    end
    status = load_apps(conf, start.options(conf, ids, sys.paths))
    if status ~= exit.OK then
        return status
    end
    local ok, err = socket_path.prepare(sys, conf.values.socket)
    if not ok then
        complain(("socket = %q (%s): %s"):format(conf.values.socket, conf.from.socket, err))
        return exit.SOCKET
    end
    local options = start.options(conf, ids, sys.paths) -- what the apps declare is known now
    options.source = source.new(parsed, conf, ids)
    return sys.serve(options)
end

return _M
