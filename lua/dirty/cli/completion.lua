--- `dirty completion`: print a script that completes commands and options in a shell.
-- @module dirty.cli.completion

local exit = require "dirty.cli.exit"
local say = require "dirty.cli.say"

local _M = {}

--- Print the script.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local root = require("dirty.cli.parser").new()
    say.bytes(root["get_" .. parsed.shell .. "_complete"](root), "")
    return exit.OK
end

return _M
