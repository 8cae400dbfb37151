--- `dirty config`: print the effective configuration.
-- @module dirty.cli.config

local config = require "dirty.config"
local exit = require "dirty.cli.exit"
local say = require "dirty.cli.say"
local show = require "dirty.config.show"
local sys = require "dirty.sys"

local _M = {}

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
