--- `dirty stop`: ask the runtime to stop gracefully.
-- @module dirty.cli.stop

local exit = require "dirty.cli.exit"
local socket = require "dirty.cli.socket"

local _M = {}

--- Ask.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local _, status = socket.ask_arbiter(parsed, "stop")
    return status or exit.OK
end

return _M
