--- Images with every kind of metadata, made byte by byte, and what an encoded image is made of.
-- @module support.metadata

local images = require "support.images"

local _M = {}

--- What is put into the metadata, to be looked for.
_M.SECRETS = { "ACMECAM", "\0\0\0\43\0\0\0\1\0\0\0\28\0\0\0\1", "XMP-SECRET", "IPTC-SECRET",
    "COMMENT-SECRET", "PROFILE-SECRET", "JUMBF-SECRET", "THUMB-SECRET" }

local function u16(n)
    return string.char(math.floor(n / 256), n % 256)
end

local function u32(n)
    return u16(math.floor(n / 65536)) .. u16(n % 65536)
end

local function u32_little(n)
    return u32(n):reverse()
end

-- -- What is in them ------------------------------------------------------------------------

-- An entry of a directory of TIFF; `value` has 4 bytes.
local function entry(tag, kind, count, value)
    return u16(tag) .. u16(kind) .. u32(count) .. value
end

--- EXIF: an orientation, a maker, a GPS position, a thumbnail.
-- @tparam integer orientation 1 to 8
-- @treturn string a TIFF
function _M.exif(orientation)
    local maker_at = 8 + 2 + 3 * 12 + 4
    local gps_at = maker_at + 8
    local position_at = gps_at + 2 + 2 * 12 + 4
    local thumb_at = position_at + 24
    local data_at = thumb_at + 2 + 2 * 12 + 4
    local thumb = "\255\216THUMB-SECRET\255\217"
    return "MM\0*" .. u32(8)
        .. u16(3) .. entry(0x10f, 2, 8, u32(maker_at))
        .. entry(0x112, 3, 1, u16(orientation) .. "\0\0") .. entry(0x8825, 4, 1, u32(gps_at))
        .. u32(thumb_at) .. "ACMECAM\0"
        .. u16(2) .. entry(1, 2, 2, "N\0\0\0") .. entry(2, 5, 3, u32(position_at)) .. u32(0)
        .. u32(43) .. u32(1) .. u32(28) .. u32(1) .. u32(2) .. u32(1)
        .. u16(2) .. entry(0x201, 4, 1, u32(data_at)) .. entry(0x202, 4, 1, u32(#thumb)) .. u32(0)
        .. thumb
end

local XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/">XMP-SECRET</x:xmpmeta>'
-- A caption in IPTC's own form, in the resource block that Photoshop keeps it in.
local IPTC_RECORD = "\28\2\120\0\11IPTC-SECRET"
local IPTC = "Photoshop 3.0\0008BIM\4\4\0\0" .. u32(#IPTC_RECORD) .. IPTC_RECORD .. "\0"

local function s15_16(n)
    return u32(math.floor(n * 65536 + 0.5) % 2 ^ 32)
end

local function xyz(x, y, z)
    return "XYZ \0\0\0\0" .. s15_16(x) .. s15_16(y) .. s15_16(z)
end

--- An ICC profile of RGB with sRGB's primaries and a tone curve.
-- @tparam number gamma
-- @treturn string
function _M.icc(gamma)
    local curve = "curv\0\0\0\0" .. u32(1) .. u16(math.floor(gamma * 256 + 0.5)) .. "\0\0"
    local name = "PROFILE-SECRET"
    local tags = {
        { "desc", "desc\0\0\0\0" .. u32(#name + 1) .. name .. ("\0"):rep(79 + -(#name + 91) % 4) },
        { "cprt", "text\0\0\0\0none\0\0\0\0" }, { "wtpt", xyz(0.9642, 1, 0.8249) },
        { "rXYZ", xyz(0.4361, 0.2225, 0.0139) }, { "gXYZ", xyz(0.3851, 0.7169, 0.0971) },
        { "bXYZ", xyz(0.1431, 0.0606, 0.7141) }, { "rTRC", curve }, { "gTRC", curve },
        { "bTRC", curve },
    }
    local at, list, data = 128 + 4 + 12 * #tags, {}, {}
    for i, tag in ipairs(tags) do
        list[i] = tag[1] .. u32(at) .. u32(#tag[2])
        data[i] = tag[2]
        at = at + #tag[2]
    end
    return u32(at) .. "none\2\16\0\0mntrRGB XYZ " .. ("\0"):rep(12) .. "acsp" .. ("\0"):rep(28)
        .. s15_16(0.9642) .. s15_16(1) .. s15_16(0.8249) .. ("\0"):rep(48)
        .. u32(#tags) .. table.concat(list) .. table.concat(data)
end

-- -- Put into images ------------------------------------------------------------------------

local function segment(marker, data)
    return "\255" .. string.char(marker) .. u16(#data + 2) .. data
end

--- A JPEG with segments of each kind behind its first marker.
-- @tparam string jpeg
-- @tparam integer orientation
function _M.jpeg(jpeg, orientation)
    local long = "http://ns.adobe.com/xmp/extension/\0" .. ("A"):rep(32) .. u32(#XMP) .. u32(0)
        .. XMP
    return jpeg:sub(1, 2) .. segment(0xe1, "Exif\0\0" .. _M.exif(orientation))
        .. segment(0xe1, "http://ns.adobe.com/xap/1.0/\0" .. XMP) .. segment(0xe1, long)
        .. segment(0xe2, "ICC_PROFILE\0\1\1" .. _M.icc(2.2))
        .. segment(0xe2, "MPF\0THUMB-SECRET") .. segment(0xeb, "JP\0\1\0\0\0\1JUMBF-SECRET")
        .. segment(0xed, IPTC) .. segment(0xfe, "COMMENT-SECRET") .. jpeg:sub(3)
end

--- A PNG with chunks of each kind before its pixels.
-- @tparam string png
-- @tparam integer orientation
function _M.png(png, orientation)
    local chunk, at = images.chunk, png:find("IDAT", 1, true) - 4
    local profile = "PROFILE-SECRET\0\0" .. images.zlib(_M.icc(2.2))
    return png:sub(1, at - 1) .. chunk("iCCP", profile) .. chunk("sBIT", "\8\8\8")
        .. chunk("pHYs", u32(11811) .. u32(11811) .. "\1") .. chunk("tIME", "\7\234\1\2\3\4\5")
        .. chunk("tEXt", "Comment\0COMMENT-SECRET")
        .. chunk("zTXt", "Comment\0\0" .. images.zlib "COMMENT-SECRET")
        .. chunk("iTXt", "XML:com.adobe.xmp\0\0\0\0\0" .. XMP)
        .. chunk("zTXt", "Raw profile type iptc\0\0" .. images.zlib("\niptc\n      16\n"
            .. IPTC_RECORD:gsub(".", function(c) return ("%02x"):format(c:byte()) end) .. "\n"))
        .. chunk("eXIf", _M.exif(orientation)) .. png:sub(at)
end

local function riff(name, data)
    return name .. u32_little(#data) .. data .. ("\0"):rep(#data % 2)
end

--- A WebP with chunks of each kind around its pixels.
-- @tparam string webp of the simple form
-- @tparam integer orientation
-- @tparam integer width
-- @tparam integer height
function _M.webp(webp, orientation, width, height)
    local sizes = u32_little(width - 1):sub(1, 3) .. u32_little(height - 1):sub(1, 3)
    local chunks = "WEBP" .. riff("VP8X", "\44\0\0\0" .. sizes) .. riff("ICCP", _M.icc(2.2))
        .. webp:sub(13) .. riff("EXIF", _M.exif(orientation)) .. riff("XMP ", XMP)
    return riff("RIFF", chunks)
end

-- -- What an image is made of -----------------------------------------------------------------

local parts = {}

-- Markers up to the pixels, with what an APP segment calls itself.
function parts.jpeg(bytes)
    local list, at = {}, 3
    while at < #bytes do
        local marker = bytes:byte(at + 1)
        local length = bytes:byte(at + 2) * 256 + bytes:byte(at + 3)
        local name = ("%02x"):format(marker)
        list[#list + 1] = name == "e0" and name .. " " .. bytes:sub(at + 4, at + 7) or name
        if marker == 0xda then
            break
        end
        at = at + 2 + length
    end
    return list
end

function parts.png(bytes)
    local list, at = {}, 9
    while at < #bytes do
        local a, b, c, d = bytes:byte(at, at + 3)
        list[#list + 1] = bytes:sub(at + 4, at + 7)
        at = at + 12 + ((a * 256 + b) * 256 + c) * 256 + d
    end
    return list
end

function parts.webp(bytes)
    local list, at = {}, 13
    while at < #bytes do
        local a, b, c, d = bytes:byte(at + 4, at + 7)
        local length = ((d * 256 + c) * 256 + b) * 256 + a
        list[#list + 1] = bytes:sub(at, at + 3)
        at = at + 8 + length + length % 2
    end
    return list
end

--- The names of the segments or chunks that an image is made of.
-- @tparam string format
-- @tparam string bytes
-- @treturn {string,...}
function _M.parts(format, bytes)
    return parts[format](bytes)
end

return _M
