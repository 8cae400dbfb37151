--- `dirty check`: read the configuration and boot every app once.
-- @module dirty.cli.check

local config_command = require "dirty.cli.config"
local exit = require "dirty.cli.exit"
local probe = require "dirty.cli.probe"
local say = require "dirty.cli.say"
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

--- Check the configuration and the apps.
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
    say.out("%s\n", summary(conf, ok))
    return ok and exit.OK or exit.BOOT
end

return _M
