--- How the values of a call are written out.
-- @module dirty.cli.output

local exit = require "dirty.cli.exit"
local printable = require "dirty.cli.printable"
local say = require "dirty.cli.say"

local _M = {}

-- The index of the value that --output takes: the first bytes, else the first of all.
local function file_index(values)
    for i, value in ipairs(values) do
        if value[1] == "b" then
            return i
        end
    end
    return 1
end

local function write_file(path, data)
    local file, err = io.open(path, "wb")
    local ok = file
    if file then
        ok, err = file:write(data)
        local closed, close_err = file:close() -- a full disk is told here at the latest
        ok, err = ok and closed, err or close_err
    end
    if not ok then
        say.err("dirty call: --output %s\n",
            err and err:find(path, 1, true) and err or path .. ": " .. tostring(err))
        return exit.OTHER
    end
    return exit.OK
end

-- What is no text at all; what else a terminal would take for a command is escaped.
local function garbles_terminal(data)
    return say.is_to_terminal() and data:find("[%z\1-\6\14-\26\28-\31]")
end

-- One value alone is exact: JSON ends its line, bytes are bytes (a terminal gets the end of
-- the line). Several stand on a line each.
local function line_end(values, value)
    if value[1] == "j" or #values > 1 then
        return "\n"
    end
    return say.is_to_terminal() and value[2]:sub(-1) ~= "\n" and "\n" or ""
end

local function write_stdout(values)
    for _, value in ipairs(values) do
        if value[1] == "b" and garbles_terminal(value[2]) then
            say.err("dirty call: the answer has %d bytes that would garble the terminal: write "
                .. "them to a file with --output FILE, or into a pipe\n", #value[2])
            return exit.OTHER
        end
        local ok, err = say.bytes(value[2], line_end(values, value),
            value[1] == "j" and printable.json or printable.value)
        if not ok then
            say.err("dirty call: stdout: %s\n", err)
            return exit.OTHER
        end
    end
    return exit.OK
end

--- Write values: one alone raw (JSON as a line), several a line each; one of them to a file.
-- @tparam {{string,string},...} values pairs of tag ("b" or "j") and data
-- @tparam string|nil path the file for the first bytes value, or the first value
-- @treturn number exit status
function _M.write(values, path)
    if #values == 0 then
        values = { { "j", "null" } } -- no value is nil
    end
    if path then
        local taken = table.remove(values, file_index(values))
        local status = write_file(path, taken[2])
        if status ~= exit.OK then
            return status
        end
    end
    return write_stdout(values)
end

return _M
