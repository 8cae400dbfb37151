--- `dirty status`: print the state of the runtime, for people or as JSON.
-- @module dirty.cli.status

local cjson = require "cjson"
local exit = require "dirty.cli.exit"
local page = require "dirty.cli.status_page"
local say = require "dirty.cli.say"
local socket = require "dirty.cli.socket"
local sys = require "dirty.sys"

local _M = {}

--- Ask the arbiter and print the status.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local answer, failed = socket.ask_arbiter(parsed, "status")
    if not answer then
        return failed
    end
    if parsed.json then
        say.json(answer)
        return exit.OK
    end
    local ok, status = pcall(cjson.decode, answer)
    if not ok or type(status) ~= "table" then
        say.err("dirty status: the answer is not a JSON object; --json shows it\n")
        return exit.OTHER
    elseif parsed.ready then
        local why = page.not_ready(status)
        if why then
            say.err("dirty status: %s\n", why)
        end
        return why and exit.FAILED or exit.OK
    end
    say.lines(page.lines(status, sys.version.dirty))
    return exit.OK
end

return _M
