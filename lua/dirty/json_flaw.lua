--- Finds what lua-cjson accepts although it is not JSON: numbers such as `1.` and `-.5`, and
-- control characters in strings.
--
-- Texts may have several megabytes, so the check must cost little compared with decoding. LuaJIT
-- looks at bytes by FFI, eight at a time if possible. Every other Lua uses patterns, which take
-- longer.
-- @module dirty.json_flaw

-- Taken at load: apps may change the globals later.
local pcall, require = pcall, require
local byte, find, format, match = string.byte, string.find, string.format, string.match

local _M = {}

local QUOTE, BACKSLASH, DELETE, POINT, MINUS, ZERO, NINE = 34, 92, 127, 46, 45, 48, 57
local SPACE = 32 -- bytes below are control characters

local function is_digit(c)
    return c ~= nil and c >= ZERO and c <= NINE
end

-- The place of a missing digit next to the point at `at`, if the point belongs to a number.
local function missing_digit(text, at)
    local before, behind = byte(text, at - 1), byte(text, at + 1)
    if before == MINUS then
        return at
    elseif is_digit(before) and not is_digit(behind) then
        return at + 1
    end
end

-- Whether there is a point without digits on both sides, in a string or not.
local function has_odd_point(text)
    local at = find(text, ".", 1, true)
    while at do
        if missing_digit(text, at) then
            return true
        end
        at = find(text, ".", at + 1, true)
    end
    return false
end

-- -- In every Lua ----------------------------------------------------------------------------

local function has_control(text)
    return match(text, "^%C*()") <= #text
end

-- Skip a string from behind its opening quote. Returns the place behind the closing quote; or nil
-- and the place of a control character.
local function skip_string(text, at)
    while true do
        local stop = find(text, '["\\%c]', at)
        local c = byte(text, stop)
        if c == QUOTE then
            return stop + 1
        elseif c ~= BACKSLASH and c ~= DELETE then
            return nil, stop
        end
        at = stop + (c == BACKSLASH and 2 or 1)
    end
end

local function scan(text)
    local at = find(text, '["%.]')
    while at do
        local is_point = byte(text, at) == POINT
        local place = is_point and missing_digit(text, at)
        if place then
            return place, "a digit"
        end
        local behind, control = at + 1, nil
        if not is_point then
            behind, control = skip_string(text, at + 1)
        end
        if not behind then
            return control, "the rest of a string"
        end
        at = find(text, '["%.]', behind)
    end
end

-- -- With FFI --------------------------------------------------------------------------------

-- Make the same functions for bytes.
local function by_bytes()
    local ffi, bit = require "ffi", require "bit"
    local band, bnot, bor, bxor, cast = bit.band, bit.bnot, bit.bor, bit.bxor, ffi.cast
    local bytes_t, words_t = ffi.typeof "const uint8_t *", ffi.typeof "const uint64_t *"
    -- 1 in each of eight bytes, written so that other Luas can parse it
    local ONES = cast("uint64_t", 0x01010101) * 2 ^ 32 + 0x01010101
    local TOPS = ONES * 0x80
    local SPACES, QUOTES, BACKSLASHES = ONES * SPACE, ONES * QUOTE, ONES * BACKSLASH

    local function has_control_byte(text)
        local bytes, at, count = cast(bytes_t, text), 0, #text
        while at + 8 <= count do
            local word = cast(words_t, bytes + at)[0]
            if band(word - SPACES, bnot(word), TOPS) ~= 0 then
                return true
            end
            at = at + 8
        end
        while at < count do
            if bytes[at] < SPACE then
                return true
            end
            at = at + 1
        end
        return false
    end

    -- The next byte from `at` on that has a special meaning in a string.
    local function find_special(bytes, at, count)
        while at + 8 <= count do
            local word = cast(words_t, bytes + at)[0]
            local quote, slash = bxor(word, QUOTES), bxor(word, BACKSLASHES)
            local hit = bor(band(word - SPACES, bnot(word)), band(quote - ONES, bnot(quote)),
                band(slash - ONES, bnot(slash)))
            if band(hit, TOPS) ~= 0 then
                break
            end
            at = at + 8
        end
        local c = bytes[at] -- LuaJIT has a NUL behind the last byte
        while c >= SPACE and c ~= QUOTE and c ~= BACKSLASH do
            at = at + 1
            c = bytes[at]
        end
        return at, c
    end

    local function scan_bytes(text)
        local bytes, at, count = cast(bytes_t, text), 0, #text
        while at < count do
            local c = bytes[at]
            at = at + 1
            if c == POINT then
                local place = missing_digit(text, at)
                if place then
                    return place, "a digit"
                end
            elseif c == QUOTE then
                at, c = find_special(bytes, at, count)
                while c == BACKSLASH do
                    at, c = find_special(bytes, at + 2, count)
                end
                if c ~= QUOTE then
                    return at + 1, "the rest of a string"
                end
                at = at + 1
            end
        end
    end

    return has_control_byte, scan_bytes
end

local has_ffi, has_control_byte, scan_bytes = pcall(by_bytes)
if has_ffi then
    has_control, scan = has_control_byte, scan_bytes
end

-- -- Both ------------------------------------------------------------------------------------

--- Find the first byte that JSON does not have in its place.
-- @tparam string text one that lua-cjson accepts, without NULs
-- @treturn number|nil its place, or the place behind the last byte; nil: the text is JSON
-- @treturn nil|string what JSON expects there
function _M.find(text)
    -- texts that our own side writes have neither, so this is their whole cost
    if has_control(text) or has_odd_point(text) then
        return scan(text)
    end
end

--- Make the message, with the same text as the C side (runtime/wire/json.h).
-- @tparam string text
-- @tparam number place
-- @tparam string expected
-- @treturn string
function _M.words(text, place, expected)
    local c = byte(text, place)
    local found = "the end"
    if c == QUOTE then
        found = "a string"
    elseif is_digit(c) or c == MINUS then
        found = "a number"
    elseif c then
        found = format(c > SPACE and c < DELETE and "'%c'" or "the byte 0x%02x", c)
    end
    return format("Expected %s but found %s at character %d", expected, found, place)
end

return _M
