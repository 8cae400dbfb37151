--- What the commands print: the one module that writes to stdout and stderr. Formats are our
-- own words; what is put into them is somebody's (dirty.cli.printable), and is tamed here.
-- @module dirty.cli.say

local printable = require "dirty.cli.printable"
local sys = require "dirty.sys"

local _M = {}

local STDOUT = 1

local function tamed(format, ...)
    local args = { ... }
    for i = 1, select("#", ...) do
        if type(args[i]) == "string" then
            args[i] = printable.block(args[i])
        end
    end
    return format:format(unpack(args, 1, select("#", ...)))
end

--- Print on stdout.
-- @tparam string format of string.format, with its newline
-- @param ... its arguments; of strings with several lines all but the first are indented
function _M.out(format, ...)
    io.stdout:write(tamed(format, ...))
end

--- Print on stderr, as `out`.
function _M.err(format, ...)
    io.stderr:write(tamed(format, ...))
end

--- Print lines on stdout.
-- @tparam {string,...} lines
function _M.lines(lines)
    for _, line in ipairs(lines) do
        io.stdout:write(printable.line(line), "\n")
    end
end

--- Print JSON and a newline on stdout: the same value, whatever is there to read it.
-- @tparam string text
function _M.json(text)
    io.stdout:write(printable.json(text), "\n")
end

--- Whether stdout is a terminal.
-- @treturn boolean
function _M.is_to_terminal()
    return sys.isatty(STDOUT)
end

--- Print bytes on stdout. Every byte as it is, but for a terminal.
-- @tparam string bytes
-- @tparam string finish what follows them
-- @tparam[opt] function tame for a terminal; default printable.value
-- @treturn boolean|nil true
-- @treturn nil|string why they can't be written
function _M.bytes(bytes, finish, tame)
    if _M.is_to_terminal() then
        bytes = (tame or printable.value)(bytes)
    end
    local ok, err = io.stdout:write(bytes, finish)
    return ok and true, err
end

--- What is printed but not yet written, written.
-- @treturn boolean|nil true
-- @treturn nil|string why it can't be
function _M.flush()
    return io.stdout:flush()
end

return _M
