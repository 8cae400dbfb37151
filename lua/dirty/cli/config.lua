--- `dirty config`: print the effective configuration.
-- @module dirty.cli.config

local config = require "dirty.config"
local exit = require "dirty.cli.exit"
local options = require "dirty.config.options"
local printable = require "dirty.cli.printable"
local say = require "dirty.cli.say"
local show = require "dirty.config.show"
local sys = require "dirty.sys"

local _M = {}

-- By the result of dirty.sys.strange_hand: what others may change, and what helps.
local REASONS = {
    owner = "belongs to another user: chown root %s",
    writers = "is writable by others: chmod go-w %s",
    names = "has a second name in a directory that others can write to: copy it to one of root",
}

--- Check that nobody else can change a configuration that root runs: they would become root.
-- @tparam nil|string path
-- @treturn nil|string what is wrong
function _M.strangers(path)
    local hand = path and sys.uid() == 0 and sys.strange_hand(path)
    if not hand then
        return nil
    end
    return ("root runs the configuration %s, and others can change or replace it: the %s %s (mode "
        .. "%04o, owner %d, group %d) "):format(path,
        hand.is_directory and "directory" or "file", hand.path, hand.mode, hand.uid, hand.gid)
        .. REASONS[hand.what]:format(hand.path)
end

-- Seconds that the file may take to run, as in a reload.
local function seconds_of(parsed)
    local option = options.by_name.boot_timeout
    local text = parsed.boot_timeout or os.getenv(option.env)
    local seconds = text and option.kind.check(option.kind.from_text(text))
    return type(seconds) == "number" and seconds > 0 and seconds or option.default
end

-- Run the file, for dirty.config.load. If it does not end in time, the process exits: nothing
-- is held or served yet. A file that others can change is not run if --user or its variable is
-- given. Otherwise the settings of the file decide. `found.strangers` is from before the run.
local function run_file(parsed, found, path, run)
    found.strangers = _M.strangers(path)
    local user = parsed.user or os.getenv(options.by_name.user.env)
    if found.strangers and user and parsed.command ~= "config" then
        return nil, found.strangers
    end
    local seconds = seconds_of(parsed)
    sys.end_after(seconds * 1000, exit.USAGE, ("dirty %s: the configuration %s ran for more than "
        .. "%g s and was stopped; --boot-timeout S gives it more time\n"):format(parsed.command,
        printable.line(path), seconds))
    local ok, err = run()
    sys.end_after(nil)
    return ok, err
end

-- An app that does not run as root must not be able to become root by the next start.
local function check_strangers(conf, command, wrong)
    if wrong and conf.values.user and command ~= "config" then
        return nil, wrong
    end
    conf.warnings[#conf.warnings + 1] = wrong
    return true
end

--- Load the configuration for a command. Prints errors on stderr.
-- @tparam table parsed the command line: flags by name of option
-- @treturn table|nil configuration
-- @treturn table|nil `{uid=, gid=}` of the socket
function _M.load(parsed)
    local found = {}
    local loaded, err = config.load(sys, parsed, function(path, run)
        return run_file(parsed, found, path, run)
    end)
    local ok = loaded
    if loaded then
        ok, err = check_strangers(loaded, parsed.command, found.strangers)
    end
    local ids
    if ok then
        ids, err = config.resolve(loaded, sys)
    end
    if not ids then
        say.err("dirty %s: %s\n", parsed.command, err)
        return nil
    end
    return loaded, ids
end

--- Print the configuration.
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
