--- The command `dirty`: runs a command line and returns an exit status.
-- @module dirty.cli

local exit = require "dirty.cli.exit"
local parser = require "dirty.cli.parser"
local say = require "dirty.cli.say"

local _M = {}

-- The modules of commands that have another name than the command.
local MODULES = { scale = "ask", cancel = "ask", kill = "ask", ping = "ask",
    ["reopen-logs"] = "reopen" }

local function complain(command, text)
    local name = command and command ~= "dirty" and "dirty " .. command or "dirty"
    say.err("%s: %s\ntry '%s --help'\n", name, text, name)
    return exit.USAGE
end

--- Run the command line.
-- @tparam {string,...} args without the program's name
-- @treturn number exit status (dirty.cli.exit)
function _M.main(args)
    local parsed, wrong = parser.parse(args)
    if not parsed then
        return complain(wrong.command, wrong.text)
    end
    local status = require("dirty.cli." .. (MODULES[parsed.command] or parsed.command)).run(parsed)
    local written, err = say.flush()
    if not written then
        say.err("dirty: can't write to stdout: %s\n", err)
        return status == exit.OK and exit.OTHER or status
    end
    return status
end

return _M
