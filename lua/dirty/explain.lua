--- Says why a value can't be JSON, and where: "result 1: .rows[3].fn is a function". It follows
-- the rules of lua-cjson, whose own messages don't name the place.
-- @module dirty.explain

-- Taken when the lane opens: apps may change the globals and the strings' metatable later.
local pairs, tostring, type = pairs, tostring, type
local format = string.format
local floor, huge, max = math.floor, math.huge, math.max

local fit = require "dirty.json_fit"

local _M = {}

-- lua-cjson's default limits for sparse arrays, which lanes keep. An array whose highest index is
-- over SAFE may not have more than RATIO places per element.
local SPARSE_RATIO = 2
local SPARSE_SAFE = 10

-- A table with a larger index is an object.
local INDEX_MAX = 2147483647

local explain_value

-- Number of elements and highest index; nil if cjson would write an object.
local function array_shape(t)
    local count, highest = 0, 0
    for key in pairs(t) do
        if type(key) ~= "number" or key < 1 or key > INDEX_MAX or key ~= floor(key) then
            return nil
        end
        count, highest = count + 1, max(highest, key)
    end
    return count, highest
end

local function explain_entries(t, path, depth, seen)
    for key, value in pairs(t) do
        local kind = type(key)
        if kind ~= "string" and kind ~= "number" then
            return path, format("has a key that is a %s (keys are strings or numbers)", kind)
        end
        local where, what = explain_value(value, path .. fit.step(key), depth + 1, seen)
        if where then
            return where, what
        end
    end
end

local function explain_table(t, path, depth, seen)
    if seen[t] then
        return path, "contains itself"
    end
    if depth > seen.max_depth then
        return path, format("is nested deeper than max_depth (%d)", seen.max_depth)
    end
    local count, highest = array_shape(t)
    if count and highest > SPARSE_SAFE and highest > count * SPARSE_RATIO then
        return path, format("is a sparse array: %d elements, highest index %.14g", count,
            highest)
    end
    seen[t] = true
    local where, what = explain_entries(t, path, depth, seen)
    seen[t] = nil
    return where, what
end

-- The path to the first part that can't be JSON, and what it is; nothing if there is none.
function explain_value(value, path, depth, seen)
    local kind = type(value)
    if kind == "table" then
        return explain_table(value, path, depth, seen)
    end
    if kind == "number" then
        if value ~= value or value == huge or value == -huge then
            return path, format("is %s, which JSON can't express", tostring(value))
        end
    elseif kind == "cdata" then
        return path, format("is a cdata (%s)", tostring(value))
    elseif kind == "userdata" and value == seen.null then
        return nil
    elseif kind ~= "string" and kind ~= "boolean" and kind ~= "nil" then
        return path, "is a " .. kind
    end
end

--- Find the part of a value that can't be JSON.
-- @param value any value that could not be encoded
-- @tparam table options `max_depth` (number of levels), `null` (the null of JSON)
-- @treturn string|nil the place, as ".rows[3].fn", "" for the value itself; nil if there is none
-- @treturn nil|string what it is, as "is a function"
-- @function find
local function find(value, options)
    return explain_value(value, "", 1, { max_depth = options.max_depth, null = options.null })
end

--- Say why a value can't be sent.
-- @param value any value that could not be encoded
-- @tparam string name what the value is, as "result 1"
-- @tparam string|nil reason the encoder's message, used if nothing is found here
-- @tparam table options `max_depth` (number of levels), `null` (the null of JSON)
-- @treturn string one line
function _M.explain(value, name, reason, options)
    local where, what = find(value, options)
    if not where then
        return format("%s can't be encoded: %s", name, reason or "unknown reason")
    end
    local place = where == "" and name or name .. ": " .. where
    return format("%s %s, and can't be sent", place, what)
end

_M.find = find

return _M
