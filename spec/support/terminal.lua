--- Commands on a terminal: run with stdin, stdout and stderr a pseudo terminal, and what came
-- out of it.
-- @module support.terminal

local fcntl = require "posix.fcntl"
local poll = require "posix.poll"
local process = require "support.process"
local stdlib = require "posix.stdlib"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local _M = {}

local function open()
    local master = assert(stdlib.openpt(fcntl.O_RDWR + fcntl.O_NOCTTY))
    assert(stdlib.grantpt(master))
    assert(stdlib.unlockpt(master))
    local path = assert(stdlib.ptsname(master))
    -- held open, so that the end of one process is not taken for the terminal's
    return master, path, assert(fcntl.open(path, fcntl.O_RDWR + fcntl.O_NOCTTY))
end

--- Run a program on a terminal to its end.
-- @tparam {string,...} argv
-- @tparam[opt] table o `cwd`, `env`, `seconds` (20)
-- @treturn table `{exit=, signal=, output=}`; lines of the output end as they were written
function _M.run(argv, o)
    local master, path, slave = open()
    o = o or {}
    local words = { "sh", "-c", 'exec "$@" 2>&1', "sh", unpack(argv) }
    local run = process.start(words, { cwd = o.cwd, env = o.env, stdout_path = path,
        stdin_path = path })
    local pieces = {}
    local function read(timeout_ms)
        local n = poll.rpoll(master, timeout_ms)
        local bytes = n == 1 and unistd.read(master, 65536)
        pieces[#pieces + 1] = bytes or nil
        return bytes
    end
    local ok, err = pcall(wait.until_true, function()
        read(10)
        return run:ended()
    end, o.seconds or 20, "the end of " .. table.concat(argv, " "))
    while read(0) do end -- what it wrote last
    unistd.close(slave)
    unistd.close(master)
    local status = run.status or {}
    run:close()
    if not ok then
        error(err .. "\n" .. table.concat(pieces), 2)
    end
    return { exit = status.exit, signal = status.signal,
        output = (table.concat(pieces):gsub("\r\n", "\n")) }
end

--- Run the command `dirty`.
-- @tparam {string,...} args
-- @tparam[opt] table o as for run
-- @treturn table as run
function _M.run_dirty(args, o)
    return _M.run({ process.dirty(), unpack(args) }, o)
end

--- What a text holds that a terminal would take for a command, or that would make it show lines
-- that nobody wrote: control characters but newline and tab, those of C1 as a byte and as
-- UTF-8, separators of lines, and what turns the direction of writing.
-- @tparam string text
-- @treturn string|nil the first one, quoted, with what is around it
function _M.command_in(text)
    -- what is UTF-8 and no control is taken out; what is left is looked at byte by byte
    local rest = text:gsub("\226\128[\142\143\168-\174]", "\1"):gsub("\226\129[\166-\169]", "\1")
        :gsub("\194[\128-\159]", "\1"):gsub("\194[\160-\191]", "")
        :gsub("[\195-\223][\128-\191]", ""):gsub("[\224-\239][\128-\191][\128-\191]", "")
        :gsub("[\240-\244][\128-\191][\128-\191][\128-\191]", "")
    local at = rest:find("[%z\1-\8\11-\31\127-\255]")
    return at and ("%q"):format(rest:sub(math.max(1, at - 40), at + 40)) or nil
end

return _M
