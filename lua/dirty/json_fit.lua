--- Finds numbers of a JSON text that this Lua can't hold. lua-cjson reads every number as the
-- nearest double: 9007199254740993 becomes 9007199254740992, and 1e999 an infinity. A whole number
-- must be held exactly (in Lua 5.4 as an integer, which lua-cjson does not use). Any other number
-- must be finite; its digits are rounded as always.
--
-- The texts have been read by lua-cjson, so they are JSON.
-- @module dirty.json_fit

-- Taken at load: apps may change the globals and the strings' metatable later.
local next, pcall, type = next, pcall, type
local byte, find, format, match, sub = string.byte, string.find, string.format, string.match,
    string.sub
local concat, huge = table.concat, math.huge

local exact = require "dirty.json_exact"

local _M = {}

-- In Lua 5.3 and later, where numbers are integers or floats.
local math_type = rawget(math, "type")
local EXACT = 2 ^ 53 -- all whole numbers up to here are doubles

local KEY_MAX = 40 -- longer keys are cut in messages

--- Format a step of a path in a value: ".rows", "[3]" or '["two words"]'.
-- @tparam string|number key
-- @treturn string
function _M.step(key)
    if type(key) == "number" then
        return "[" .. (exact.number(key) or "inf") .. "]"
    elseif #key > KEY_MAX then
        key = sub(key, 1, KEY_MAX) .. "..."
    end
    return find(key, "^[%a_][%w_]*$") and "." .. key or format("[%q]", key)
end

-- -- One number ---------------------------------------------------------------------------

--- Whether Lua can hold the number of a literal.
-- @tparam string literal
-- @treturn boolean
-- @treturn number|nil that number, if it is whole
function _M.fits(literal)
    local n = exact.read(literal)
    if not find(literal, "^-?%d+$") then
        return n ~= huge and n ~= -huge
    elseif math_type and math_type(n) == "integer" then
        return true, n
    end
    return format("%.0f", n) == literal, n
end

-- -- A text -------------------------------------------------------------------------------

-- Each function below reads what begins at `at` and returns where it ends. Its decoded value is
-- holder[key], unless the text has that key twice. `walk` has the text, the path to here, and
-- the literal that does not fit, once one is found.
local walk_value

local function skip(text, at)
    return find(text, "[^ \t\r\n]", at)
end

local function walk_number(walk, at, holder, key)
    local literal = match(walk.text, "^[-+.%deE]+", at)
    local fit, whole = _M.fits(literal)
    if not fit then
        walk.misfit = literal
    elseif whole and whole ~= 0 and type(holder[key]) == "number" then -- keep -0
        holder[key] = whole
    end
    return at + #literal
end

local function string_end(text, at)
    repeat
        at = find(text, '["\\]', at + 1)
        local escape = byte(text, at) == 92
        at = escape and at + 1 or at
    until not escape
    return at
end

local function walk_array(walk, at, list)
    local text, depth, i = walk.text, walk.depth + 1, 1
    at = skip(text, at + 1)
    while byte(text, at) ~= 93 do
        walk.depth, walk.way[depth] = depth, i
        at = skip(text, walk_value(walk, at, list, i))
        if walk.misfit then
            return at
        elseif byte(text, at) == 44 then
            at = skip(text, at + 1)
        end
        i = i + 1
    end
    walk.depth = depth - 1
    return at + 1
end

local function walk_object(walk, at, object)
    local text, depth = walk.text, walk.depth + 1
    at = skip(text, at + 1)
    while byte(text, at) ~= 125 do
        local stop = string_end(text, at)
        local key = sub(text, at + 1, stop - 1)
        if find(key, "\\", 1, true) then
            local ok, decoded = pcall(walk.decode, sub(text, at, stop))
            key = ok and decoded or key -- a lone surrogate: as it is written
        end
        walk.depth, walk.way[depth] = depth, key
        at = skip(text, skip(text, stop + 1) + 1)
        at = skip(text, walk_value(walk, at, object, key))
        if walk.misfit then
            return at
        elseif byte(text, at) == 44 then
            at = skip(text, at + 1)
        end
    end
    walk.depth = depth - 1
    return at + 1
end

function walk_value(walk, at, holder, key)
    local c = byte(walk.text, at)
    if c == 34 then
        return string_end(walk.text, at) + 1
    elseif c == 91 or c == 123 then
        local inside = type(holder[key]) == "table" and holder[key] or {}
        return (c == 91 and walk_array or walk_object)(walk, at, inside)
    elseif c == 45 or c >= 48 and c <= 57 then
        return walk_number(walk, at, holder, key)
    end
    return at + (c == 102 and 5 or 4) -- false; true, null
end

local function place(walk)
    local steps = {}
    for i = 1, walk.depth do
        steps[i] = _M.step(walk.way[i])
    end
    return concat(steps)
end

--- Make the message for a number that does not fit.
-- @tparam string where steps to its place; "" for the value itself
-- @tparam string literal it is cut if it is long
-- @treturn string
function _M.words(where, literal)
    return format("%s is %s, which a Lua number can't hold: send it as a string",
        where == "" and "it" or where,
        #literal > KEY_MAX and sub(literal, 1, KEY_MAX) .. "..." or literal)
end

--- Check the numbers of a text: whole ones that are not held exactly, and numbers that are too
-- large. In Lua 5.4 whole numbers from 2^53 on become integers.
-- @tparam string text that was decoded
-- @param value what was decoded from it, changed in place
-- @tparam function decode lua-cjson's
-- @treturn nil|string what is wrong: ".rows[3].id is 9007199254740993, which …"
-- @return the value
function _M.check(text, value, decode)
    local walk, holder = { text = text, decode = decode, way = {}, depth = 0 }, { value }
    walk_value(walk, skip(text, 1), holder, 1)
    if not walk.misfit then
        return nil, holder[1]
    end
    return _M.words(place(walk), walk.misfit)
end

--- Whether a decoded value has a number that may differ from its text.
-- @param value
-- @treturn boolean false: no, so check is not necessary
function _M.is_doubtful(value)
    local kind = type(value)
    if kind == "number" then
        return not (value > -EXACT and value < EXACT)
    elseif kind == "table" then
        for _, element in next, value do
            if _M.is_doubtful(element) then
                return true
            end
        end
    end
    return false
end

return _M
