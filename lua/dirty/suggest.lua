--- Finds the most similar valid name for a wrong one, for error messages.
-- Pure Lua, for every Lua from 5.1 on.
-- @module dirty.suggest

-- Taken at load: apps may change the globals and the strings' metatable later.
local ipairs, type = ipairs, type
local byte, format, gsub, lower, sub = string.byte, string.format, string.gsub, string.lower,
    string.sub
local floor, max, min = math.floor, math.max, math.min

local _M = {}

-- Only this many bytes of a name are compared, so that a long wrong name costs no more than a
-- short one.
local COMPARED_MAX = 64

-- One row of the table of edit distances: the cost of making a[1..i] into each b[1..j]. A swap of
-- two neighbours, a frequent typing error, counts as one edit.
local function next_row(a, b, i, prev, before)
    local row = { [0] = i }
    for j = 1, #b do
        local cost = byte(a, i) == byte(b, j) and 0 or 1
        local best = min(prev[j] + 1, row[j - 1] + 1, prev[j - 1] + cost)
        if before and j > 1 and byte(a, i) == byte(b, j - 1)
            and byte(a, i - 1) == byte(b, j) then
            best = min(best, before[j - 2] + 1)
        end
        row[j] = best
    end
    return row
end

local function distance(a, b)
    local before, prev = nil, {}
    for j = 0, #b do
        prev[j] = j
    end
    for i = 1, #a do
        before, prev = prev, next_row(a, b, i, prev, before)
    end
    return prev[#b]
end

-- The form in which names are compared. Case, and "-" or "_", don't count as differences.
local function plain(word)
    return (gsub(lower(sub(word, 1, COMPARED_MAX)), "-", "_"))
end

--- Find the word of a list that was most likely meant. A word is near if at most a third of its
-- bytes (at least one) must change. Of equally near words the first in alphabetical order wins.
-- @tparam string word what was written
-- @tparam {string,...} list the right words, in any order; other types are skipped
-- @treturn string|nil the nearest word, nil if none is near
-- @usage nearest("timout", { "timeout", "socket" }) --> "timeout"
function _M.nearest(word, list)
    local wanted = plain(word)
    local found, found_at
    for _, candidate in ipairs(list) do
        if type(candidate) == "string" then
            local other = plain(candidate)
            local limit = max(1, floor(max(#other, #wanted) / 3))
            local d = distance(wanted, other)
            local nearer = not found or d < found_at or (d == found_at and candidate < found)
            if d <= limit and nearer then
                found, found_at = candidate, d
            end
        end
    end
    return found
end

--- Make a phrase of it, for the end of an error message.
-- @tparam string word what was written
-- @tparam {string,...} list the right words
-- @treturn string `" (did you mean 'timeout'?)"`, or `""` if none is near
function _M.hint(word, list)
    local found = _M.nearest(word, list)
    return found and format(" (did you mean '%s'?)", found) or ""
end

return _M
