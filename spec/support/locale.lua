--- Locales with a decimal point of their own, made without localedef and its package: a
-- directory with the one file of glibc that says how numbers look.
-- @module support.locale

local process = require "support.process"
local tempdir = require "support.tempdir"

local _M = {}

--- Names, of numbers alone: os.setlocale(name, "numeric"). The points are a comma, and one of
-- two bytes in UTF-8.
_M.COMMA, _M.WIDE = "xx_COMMA", "xx_WIDE"

local POINTS = { [_M.COMMA] = { ",", 0x2c }, [_M.WIDE] = { "\217\171", 0x66b } }

local function u32(n)
    return string.char(n % 256, math.floor(n / 256) % 256, math.floor(n / 65536) % 256,
        math.floor(n / 16777216))
end

-- A file LC_NUMERIC: its magic, six places, and what is there: point, separator of thousands,
-- grouping, both characters again as numbers, the charset.
local function lc_numeric(point, code)
    local texts = point .. "\0" .. "\0" .. "\0"
    local at = 8 + 6 * 4
    local numbers_at = at + #texts + -#texts % 4
    local places = { at, at + #point + 1, at + #point + 2, numbers_at, numbers_at + 4,
        numbers_at + 8 }
    for i, place in ipairs(places) do
        places[i] = u32(place)
    end
    return u32(0x20031114) .. u32(#places) .. table.concat(places) .. texts
        .. ("\0"):rep(-#texts % 4) .. u32(code) .. u32(0) .. "UTF-8\0"
end

--- Make them.
-- @tparam string dir a directory for them
-- @treturn string what LOCPATH must be for them to be found
function _M.make(dir)
    for name, point in pairs(POINTS) do
        assert(process.run({ "mkdir", dir .. "/" .. name }).exit == 0)
        tempdir.write(dir .. "/" .. name .. "/LC_NUMERIC", lc_numeric(point[1], point[2]))
    end
    return dir
end

return _M
