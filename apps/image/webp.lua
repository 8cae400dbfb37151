--- The container of WebP: chunks of a name, a length and data, in a RIFF. For apps.image.
-- @module apps.image.webp

local bit = require "bit"

local _M = {}

local METADATA = { ["EXIF"] = true, ["XMP "] = true, ["ICCP"] = true }
local FLAGS = 0x20 + 0x08 + 0x04 -- that VP8X has for them

local function u32(n)
    return string.char(n % 256, math.floor(n / 256) % 256, math.floor(n / 65536) % 256,
        math.floor(n / 16777216))
end

-- Where the chunk at `at` ends, with its padding, and its name.
local function chunk_at(webp, at)
    local a, b, c, d = webp:byte(at + 4, at + 7)
    local length = ((d * 256 + c) * 256 + b) * 256 + a
    return at + 7 + length + length % 2, webp:sub(at, at + 3)
end

--- Leave out what is not of the picture: libvips 8.14 writes EXIF whatever it is told.
-- @tparam string webp a file that libvips has written
-- @treturn string
function _M.without_metadata(webp)
    if webp:sub(13, 16) ~= "VP8X" then
        return webp -- the simple form, which is the picture alone
    end
    local kept, at = {}, 13
    while at + 8 <= #webp do
        local stop, name = chunk_at(webp, at)
        if name == "VP8X" then
            local flags = webp:byte(at + 8)
            flags = bit.band(flags, bit.bnot(FLAGS))
            kept[#kept + 1] = webp:sub(at, at + 7) .. string.char(flags) .. webp:sub(at + 9, stop)
        elseif not METADATA[name] then
            kept[#kept + 1] = webp:sub(at, stop)
        end
        at = stop + 1
    end
    if #kept == 2 then -- VP8X and the pixels: VP8X tells nothing that these don't
        table.remove(kept, 1)
    end
    local chunks = table.concat(kept)
    return "RIFF" .. u32(4 + #chunks) .. "WEBP" .. chunks
end

return _M
