--- `dirty metrics`: print the metrics in the text format of Prometheus.
-- @module dirty.cli.metrics

local exit = require "dirty.cli.exit"
local say = require "dirty.cli.say"
local socket = require "dirty.cli.socket"

local _M = {}

--- Ask the arbiter and print the answer.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local text, status = socket.ask_arbiter(parsed, "metrics")
    if not text then
        return status
    end
    local ok, err = say.bytes(text, "")
    if not ok then
        say.err("dirty metrics: stdout: %s\n", err)
    end
    return ok and exit.OK or exit.OTHER
end

return _M
