--- What a PNG says of its colours by the chunks gAMA and cHRM, which libvips does not look at,
-- said by an ICC profile, which it does. For apps.image.
--
-- gAMA is the exponent that light was brought to samples with, cHRM the chromaticities of the
-- primaries and of white. A profile or sRGB in the file goes before both. One that says what
-- sRGB is, roughly, changes nothing.
-- @module apps.image.colour

local bit = require "bit"

local _M = {}

local IHDR_END = 33       -- the header is always the first chunk, of 13 bytes
local COLOUR_TYPE_AT = 26 -- 0 and 4: grey
local SRGB_GAMMA, GAMMA_NEAR = 0.45455, 0.001
local POINT_NEAR = 0.003  -- of a chromaticity

-- x and y of white, red, green and blue.
local SRGB = { 0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06 }
local D50 = { 0.9642, 1, 0.8249 } -- the white of profiles
local BRADFORD = { { 0.8951, 0.2664, -0.1614 }, { -0.7502, 1.7135, 0.0367 },
    { 0.0389, -0.0685, 1.0296 } }

-- -- Matrices of 3 rows ---------------------------------------------------------------------

local function times(m, v)
    local out = {}
    for i = 1, 3 do
        out[i] = m[i][1] * v[1] + m[i][2] * v[2] + m[i][3] * v[3]
    end
    return out
end

-- By Cramer's rule; nil if there is none.
local function inverse(m)
    local function minor(i, j)
        local a, b, c, d = i % 3 + 1, (i + 1) % 3 + 1, j % 3 + 1, (j + 1) % 3 + 1
        return m[a][c] * m[b][d] - m[a][d] * m[b][c]
    end
    local det = m[1][1] * minor(1, 1) + m[1][2] * minor(1, 2) + m[1][3] * minor(1, 3)
    if det ~= det or math.abs(det) < 1e-9 then
        return nil
    end
    local out = { {}, {}, {} }
    for i = 1, 3 do
        for j = 1, 3 do
            out[j][i] = minor(i, j) / det
        end
    end
    return out
end

local FROM_BRADFORD = inverse(BRADFORD)

local function xyz_of(x, y)
    return { x / y, 1, (1 - x - y) / y }
end

-- Bring a colour seen under `white` to what it is under D50.
local function adapt(colour, white)
    local cone, from, to = times(BRADFORD, colour), times(BRADFORD, white), times(BRADFORD, D50)
    return times(FROM_BRADFORD,
        { cone[1] * to[1] / from[1], cone[2] * to[2] / from[2], cone[3] * to[3] / from[3] })
end

-- XYZ of full red, green and blue, for a profile; nil if there are no such colours.
local function primaries(points)
    local white, p = xyz_of(points[1], points[2]), {}
    for i = 1, 3 do
        p[i] = xyz_of(points[2 * i + 1], points[2 * i + 2])
    end
    local inverted = inverse({ { p[1][1], p[2][1], p[3][1] }, { p[1][2], p[2][2], p[3][2] },
        { p[1][3], p[2][3], p[3][3] } })
    if not inverted then
        return nil
    end
    local share = times(inverted, white)
    for i = 1, 3 do
        p[i] = adapt({ p[i][1] * share[i], p[i][2] * share[i], p[i][3] * share[i] }, white)
    end
    return p
end

-- -- Bytes ----------------------------------------------------------------------------------

local function u16(n)
    return string.char(math.floor(n / 256) % 256, n % 256)
end

local function u32(n)
    return u16(math.floor(n / 65536) % 65536) .. u16(n % 65536)
end

local function read_u32(bytes, at)
    local a, b, c, d = bytes:byte(at, at + 3)
    return d and ((a * 256 + b) * 256 + c) * 256 + d
end

local function crc32(bytes)
    local c = 0xffffffff
    for i = 1, #bytes do
        c = bit.bxor(c, bytes:byte(i))
        for _ = 1, 8 do
            c = bit.bxor(bit.rshift(c, 1), bit.band(c, 1) * 0xedb88320)
        end
    end
    return bit.bnot(c) % 2 ^ 32
end

local function adler32(bytes)
    local a, b = 1, 0
    for i = 1, #bytes do
        a = (a + bytes:byte(i)) % 65521
        b = (b + a) % 65521
    end
    return b * 65536 + a
end

-- As zlib has it, not compressed; at most 65535 bytes.
local function stored(bytes)
    local length = u16(#bytes):reverse()
    local complement = u16(65535 - #bytes):reverse()
    return "\x78\x01\1" .. length .. complement .. bytes .. u32(adler32(bytes))
end

local function chunk(name, data)
    return u32(#data) .. name .. data .. u32(crc32(name .. data))
end

-- -- The profile ----------------------------------------------------------------------------

local function fixed(n)
    return u32(math.floor(n * 65536 + 0.5) % 2 ^ 32)
end

local function xyz(colour)
    return "XYZ \0\0\0\0" .. fixed(colour[1]) .. fixed(colour[2]) .. fixed(colour[3])
end

local function profile(space, tags)
    local at, list, data = 128 + 4 + 12 * #tags, {}, {}
    for i, tag in ipairs(tags) do
        local padded = tag[2] .. ("\0"):rep(-#tag[2] % 4)
        list[i] = tag[1] .. u32(at) .. u32(#tag[2])
        data[i] = padded
        at = at + #padded
    end
    return u32(at) .. "\0\0\0\0\2\16\0\0mntr" .. space .. "XYZ " .. ("\0"):rep(12) .. "acsp"
        .. ("\0"):rep(28) .. fixed(D50[1]) .. fixed(D50[2]) .. fixed(D50[3]) .. ("\0"):rep(48)
        .. u32(#tags) .. table.concat(list) .. table.concat(data)
end

-- Samples to light: the exponent is one over gAMA's.
local function profile_of(gamma, colours)
    local name = "gAMA"
    local curve = "curv\0\0\0\0" .. u32(1) .. u16(math.floor(256 / gamma + 0.5))
    local tags = {
        { "desc", "desc\0\0\0\0" .. u32(#name + 1) .. name .. ("\0"):rep(79) },
        { "cprt", "text\0\0\0\0none\0" },
        { "wtpt", xyz(D50) },
    }
    if not colours then
        tags[4] = { "kTRC", curve }
        return profile("GRAY", tags)
    end
    for i, letter in ipairs { "r", "g", "b" } do
        tags[#tags + 1] = { letter .. "XYZ", xyz(colours[i]) }
        tags[#tags + 1] = { letter .. "TRC", curve }
    end
    return profile("RGB ", tags)
end

-- -- The file -------------------------------------------------------------------------------

local REPLACED = { gAMA = true, cHRM = true } -- libpng drops a profile that they contradict

-- The chunks between header and pixels: their data by name; the others as pieces of text;
-- where what follows begins.
local function chunks_of(png)
    local found, others, at = {}, {}, IHDR_END + 1
    while true do
        local length, name = read_u32(png, at), png:sub(at + 4, at + 7)
        if not length or name == "IDAT" or at + 11 + length > #png then
            return found, others, at
        end
        found[name] = png:sub(at + 8, at + 7 + length)
        if not REPLACED[name] then
            others[#others + 1] = png:sub(at, at + 11 + length)
        end
        at = at + 12 + length
    end
end

-- The points of cHRM, if it has any that differ from sRGB's.
local function points_of(data)
    if not data or #data ~= 32 then
        return nil
    end
    local points, differs = {}, false
    for i = 1, 8 do
        points[i] = read_u32(data, 4 * i - 3) / 100000
        differs = differs or math.abs(points[i] - SRGB[i]) > POINT_NEAR
        if points[i] == 0 and i % 2 == 0 then
            return nil -- no colour has a y of 0
        end
    end
    return differs and points or nil
end

--- Give a PNG a profile, if it says by gAMA or cHRM that it is not sRGB.
-- @tparam string png the bytes of a PNG, of anybody's making
-- @treturn string the same bytes, or a PNG with a profile
function _M.with_profile(png)
    local found, others, rest_at = chunks_of(png)
    if found.iCCP or found.sRGB or not found.gAMA or #found.gAMA ~= 4 then
        return png
    end
    local gamma, points = read_u32(found.gAMA, 1) / 100000, points_of(found.cHRM)
    if gamma < 0.01 or gamma > 10 -- no image's
        or math.abs(gamma - SRGB_GAMMA) < GAMMA_NEAR and not points then
        return png
    end
    local is_grey = png:byte(COLOUR_TYPE_AT) % 4 == 0
    local colours = not is_grey and (points and primaries(points) or primaries(SRGB)) or nil
    local data = "gAMA\0\0" .. stored(profile_of(gamma, colours))
    return png:sub(1, IHDR_END) .. chunk("iCCP", data) .. table.concat(others)
        .. png:sub(rest_at)
end

return _M
