--- `dirty config`: print the effective configuration.
-- @module dirty.cli.config

local config = require "dirty.config"
local exit = require "dirty.cli.exit"
local say = require "dirty.cli.say"
local show = require "dirty.config.show"
local sys = require "dirty.sys"

local _M = {}

--- What is wrong with a configuration that root runs and others may change: they are root by
-- that.
-- @tparam table conf
-- @treturn nil|string
function _M.strangers(conf)
    if not conf.path or sys.uid() ~= 0 then
        return nil
    end
    local ours, whose = sys.is_ours(conf.path)
    return ours == false and ("root runs the configuration %s, and others (such as the user %d) "
        .. "may change it or put another in its place: chown root and chmod go-w it and the "
        .. "directories on the way"):format(conf.path, whose) or nil
end

-- An app that is not to be root must not be able to become it by the next start.
local function check_strangers(conf, command)
    local wrong = _M.strangers(conf)
    if wrong and conf.values.user and command ~= "config" then
        return nil, wrong
    end
    conf.warnings[#conf.warnings + 1] = wrong
    return true
end

--- Load the configuration for a command; what is wrong goes to stderr.
-- @tparam table parsed the command line: flags by name of option
-- @treturn table|nil configuration
-- @treturn table|nil `{uid=, gid=}` of the socket
function _M.load(parsed)
    local loaded, err = config.load(sys, parsed)
    local ids
    if loaded then
        ids, err = config.resolve(loaded, sys)
    end
    if ids then
        local ok
        ok, err = check_strangers(loaded, parsed.command)
        ids = ok and ids
    end
    if not ids then
        say.err("dirty %s: %s\n", parsed.command, err)
        return nil
    end
    return loaded, ids
end

--- Print it.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local loaded = _M.load(parsed)
    if not loaded then
        return exit.USAGE
    end
    for _, warning in ipairs(loaded.warnings) do
        say.err("dirty config: warning: %s\n", warning)
    end
    if parsed.json then
        say.json(show.json(loaded))
    else
        say.bytes(show.lua(loaded, sys.version.dirty), "")
    end
    return exit.OK
end

return _M
