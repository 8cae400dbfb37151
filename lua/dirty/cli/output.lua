--- Writes the values of a call to stdout or to a file.
-- @module dirty.cli.output

local exit = require "dirty.cli.exit"
local printable = require "dirty.cli.printable"
local say = require "dirty.cli.say"
local sys = require "dirty.sys"

local _M = {}

-- The index of the value for --output: the first bytes value, else the first value.
local function file_index(values)
    for i, value in ipairs(values) do
        if value[1] == "b" then
            return i
        end
    end
    return 1
end

local function complain(path, err)
    say.err("dirty call: --output %s\n",
        err and err:find(path, 1, true) and err or path .. ": " .. tostring(err))
end

--- Open the file of --output before the call: if its result can't be kept, the call is better not
-- made. Does not change the file yet.
-- @tparam string|nil path nil and "-": stdout
-- @treturn table|nil a place for the functions below; nil after an error, which is reported
function _M.open(path)
    if not path or path == "-" then
        return {}
    end
    local is_new = not sys.stat(path)
    local file, err = io.open(path, "ab")
    if not file then
        return complain(path, err)
    end
    return { path = path, file = file, is_new = is_new }
end

-- Empty the file, once there is something to write.
local function begin(place)
    local file, err = io.open(place.path, "wb")
    if file then
        place.file:close()
        place.file, place.has_begun = file, true
    end
    return file, err
end

local function put(place, data)
    local ok, err = place.has_begun or begin(place)
    if ok then
        ok, err = place.file:write(data)
    end
    if ok then
        ok, err = place.file:flush()
    end
    if not ok then
        complain(place.path, err)
        return exit.OTHER
    end
    return exit.OK
end

--- Close the place after the last write.
-- @tparam table place
-- @tparam number status exit status of the command so far
-- @treturn number exit status
function _M.close(place, status)
    local ok, err = true, nil
    if place.file then
        ok, err = place.file:close() -- a full disk is reported here at the latest
    end
    if place.is_new and not place.has_begun then
        os.remove(place.path)
    end
    if not ok and status == exit.OK then
        complain(place.path, err)
        return exit.OTHER
    end
    return status
end

-- Whether the data is not text. Control characters in text are escaped for a terminal.
local function garbles_terminal(data)
    return say.is_to_terminal() and data:find("[%z\1-\6\14-\26\28-\31]")
end

-- What follows a value. Of several values each gets a newline. A single JSON text gets a newline,
-- too. Single bytes stay exact: they get a newline on a terminal only, if they don't end in one.
local function line_end(value, is_alone)
    if value[1] == "j" or not is_alone then
        return "\n"
    end
    return say.is_to_terminal() and value[2]:sub(-1) ~= "\n" and "\n" or ""
end

local function write_stdout(values, is_alone)
    for _, value in ipairs(values) do
        if value[1] == "b" and garbles_terminal(value[2]) then
            say.err("dirty call: the answer has %d bytes that would garble the terminal: write "
                .. "them to a file with --output FILE, or to a pipe\n", #value[2])
            return exit.OTHER
        end
        local ok, err = say.bytes(value[2], line_end(value, is_alone),
            value[1] == "j" and printable.json or printable.value)
        if not ok then
            say.err("dirty call: stdout: %s\n", err)
            return exit.OTHER
        end
    end
    return exit.OK
end

--- Write the values of a call. A single value is written raw, JSON with a newline. Several values
-- are written one per line. One value goes to the file.
-- @tparam {{string,string},...} values pairs of tag ("b" or "j") and data
-- @tparam table place its file gets the first bytes value, or the first value
-- @treturn number exit status
function _M.write(values, place)
    if #values == 0 then
        values = { { "j", "null" } } -- no values: nil
    end
    if place.file then
        local taken = table.remove(values, file_index(values))
        local status = put(place, taken[2])
        if status ~= exit.OK then
            return status
        end
    end
    return write_stdout(values, #values == 1)
end

--- Write the values of one chunk at once, one per line. Bytes go to the file if there is one.
-- @tparam {{string,string},...} values
-- @tparam table place
-- @treturn number exit status
function _M.write_piece(values, place)
    local lines = {}
    for _, value in ipairs(values) do
        if place.file and value[1] == "b" then
            local status = put(place, value[2])
            if status ~= exit.OK then
                return status
            end
        else
            lines[#lines + 1] = value
        end
    end
    local status = write_stdout(lines, false)
    local ok, err = say.flush()
    if not ok and status == exit.OK then
        say.err("dirty call: stdout: %s\n", err)
        return exit.OTHER
    end
    return status
end

return _M
