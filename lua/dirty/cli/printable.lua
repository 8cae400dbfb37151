--- Words of others for a terminal: of apps, peers, logs and files. What a terminal would take
-- for a command, or show as a line that nobody has written, comes out as an escape that can be
-- read: control characters (C0, DEL, and C1 as a byte or as UTF-8), separators of lines, what
-- turns the direction of writing, and bytes that are no UTF-8. Newline and tab stay, where a
-- function does not say otherwise.
-- @module dirty.cli.printable

local _M = {}

-- Ranges of characters from U+0080 on that are escaped, as base/utf8.h has them.
local CONTROLS = { { 0x80, 0x9f }, { 0x061c, 0x061c }, { 0x200e, 0x200f }, { 0x2028, 0x202e },
    { 0x2066, 0x2069 } }

-- By the first byte: how many follow, what is left of it, and the least code of that length.
local function form_of(lead)
    if lead >= 0xc2 and lead < 0xe0 then
        return 1, lead - 0xc0, 0x80
    elseif lead >= 0xe0 and lead < 0xf0 then
        return 2, lead - 0xe0, 0x800
    elseif lead >= 0xf0 and lead < 0xf5 then
        return 3, lead - 0xf0, 0x10000
    end
end

-- The character at a place: its code and its length; nil if there is none.
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

-- A run of bytes from 0x80 on; `broken` writes a byte that is no UTF-8.
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

--- A value: as it is, but for the escapes. A newline with a return before it is one.
-- @tparam string text
-- @treturn string
function _M.value(text)
    text = text:gsub("\r+\n", "\n"):gsub("[%z\1-\8\11-\31\127]", hex_of)
    return (text:gsub("[\128-\255]+", function(run)
        return tame_run(run, hex)
    end))
end

--- Words inside a line: newlines are escaped too.
-- @tparam string text
-- @treturn string
function _M.line(text)
    return (_M.value(text):gsub("\n", "\\n"))
end

--- Words that may be of several lines: all but the first are indented, so that none passes for
-- one of the command's own.
-- @tparam string text
-- @treturn string without newlines at its end
function _M.block(text)
    return (_M.value(text):gsub("\n+$", ""):gsub("\n", "\n    "))
end

--- JSON. The text of another string is the same value, with its escapes those of JSON; what is
-- no JSON is tamed as well.
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
