--- `dirty metrics`: what is counted and measured, as Prometheus text.
-- @module dirty.cli.metrics

local exit = require "dirty.cli.exit"
local socket = require "dirty.cli.socket"

local _M = {}

--- Ask and print.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local text, status = socket.ask_arbiter(parsed, "metrics")
    if not text then
        return status
    end
    io.stdout:write(text)
    return exit.OK
end

return _M
