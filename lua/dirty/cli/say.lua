--- Prints for the commands. Only this module writes to stdout and stderr. Formats are our own
-- text; their arguments may be anybody's, so they are escaped here (dirty.cli.printable).
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
-- @param ... its arguments; of strings with several lines all but the first line are indented
function _M.out(format, ...)
    io.stdout:write(tamed(format, ...))
end

--- Print on stderr, like `out`.
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

--- Print JSON and a newline on stdout. The value stays the same, on a terminal too.
-- @tparam string text
function _M.json(text)
    io.stdout:write(printable.json(text), "\n")
end

--- Whether stdout is a terminal.
-- @treturn boolean
function _M.is_to_terminal()
    return sys.isatty(STDOUT)
end

--- Print bytes on stdout. Writes every byte unchanged, except on a terminal.
-- @tparam string bytes
-- @tparam string finish follows the bytes
-- @tparam[opt] function tame escapes the bytes for a terminal; default printable.value
-- @treturn boolean|nil true
-- @treturn nil|string why they can't be written
function _M.bytes(bytes, finish, tame)
    if _M.is_to_terminal() then
        bytes = (tame or printable.value)(bytes)
    end
    local ok, err = io.stdout:write(bytes, finish)
    return ok and true, err
end

--- Write what is buffered.
-- @treturn boolean|nil true
-- @treturn nil|string why it can't be written
function _M.flush()
    return io.stdout:flush()
end

return _M
