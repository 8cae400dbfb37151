--- Makes text of others (apps, peers, logs, files) safe for a terminal. Escapes everything that a
-- terminal takes for a command or shows as a line that nobody wrote: control characters (C0, DEL,
-- and C1 as a byte or as UTF-8), line separators, characters that change the direction of
-- writing, and bytes that are not UTF-8. Newline and tab stay, except where a function says
-- otherwise.
-- @module dirty.cli.printable

local _M = {}

-- Ranges of characters from U+0080 on that are escaped. base/utf8.h has the same ranges.
local CONTROLS = { { 0x80, 0x9f }, { 0x061c, 0x061c }, { 0x200e, 0x200f }, { 0x2028, 0x202e },
    { 0x2066, 0x2069 } }

-- For a first byte: the number of bytes that follow, its value bits, and the least code of that
-- length.
local function form_of(lead)
    if lead >= 0xc2 and lead < 0xe0 then
        return 1, lead - 0xc0, 0x80
    elseif lead >= 0xe0 and lead < 0xf0 then
        return 2, lead - 0xe0, 0x800
    elseif lead >= 0xf0 and lead < 0xf5 then
        return 3, lead - 0xf0, 0x10000
    end
end

-- Decode the character at a place: its code and its length in bytes; nil if it is not valid.
local function decode(text, at)
    local more, code, least = form_of(text:byte(at))
    for i = 1, more or 0 do
        local byte = text:byte(at + i)
        if not byte or byte < 0x80 or byte > 0xbf then
            return nil
        end
        code = code * 64 + byte - 0x80
    end
    if not more or code < least or code > 0x10ffff or code >= 0xd800 and code < 0xe000 then
        return nil
    end
    return code, more + 1
end

local function is_control(code)
    for _, range in ipairs(CONTROLS) do
        if code >= range[1] and code <= range[2] then
            return true
        end
    end
    return false
end

-- Escape a run of bytes from 0x80 on. `broken` escapes a byte that is not UTF-8.
local function tame_run(run, broken)
    local out, at = {}, 1
    while at <= #run do
        local code, len = decode(run, at)
        out[#out + 1] = not code and broken(run:byte(at))
            or is_control(code) and ("\\u%04x"):format(code) or run:sub(at, at + len - 1)
        at = at + (len or 1)
    end
    return table.concat(out)
end

local function hex(byte)
    return ("\\x%02x"):format(byte)
end

local function hex_of(char)
    return hex(char:byte())
end

--- Escape a value. A return before a newline is dropped.
-- @tparam string text
-- @treturn string
function _M.value(text)
    text = text:gsub("\r+\n", "\n"):gsub("[%z\1-\8\11-\31\127]", hex_of)
    return (text:gsub("[\128-\255]+", function(run)
        return tame_run(run, hex)
    end))
end

--- Escape text inside a line. Newlines are escaped too.
-- @tparam string text
-- @treturn string
function _M.line(text)
    return (_M.value(text):gsub("\n", "\\n"))
end

--- Escape text that may have several lines. Indents all lines but the first, so that none looks
-- like a line of the command itself.
-- @tparam string text
-- @treturn string without newlines at its end
function _M.block(text)
    return (_M.value(text):gsub("\n+$", ""):gsub("\n", "\n    "))
end

--- Escape JSON text. The result is JSON with the same value, because its strings get JSON escapes.
-- Text that is not JSON is escaped as well.
-- @tparam string text
-- @treturn string
function _M.json(text)
    return (text:gsub("\r", " "):gsub("[%z\1-\8\11-\31\127]", function(char)
        return ("\\u%04x"):format(char:byte())
    end):gsub("[\128-\255]+", function(run)
        return tame_run(run, function()
            return "\\ufffd"
        end)
    end))
end

return _M
