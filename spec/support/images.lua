--- Images made byte by byte for specs, and a look at the pixels of images.
-- @module support.images

local bit = require "bit"
local ffi = require "ffi"

ffi.cdef [[
    typedef struct _VipsImage VipsImage;
    VipsImage *vips_image_new_from_buffer(const void *data, size_t len,
        const char *options, ...);
    int vips_getpoint(VipsImage *in, double **vector, int *n, int x, int y, ...);
    void g_object_unref(void *object);
    void g_free(void *memory);
]]

local _M = {}

local function u32(n)
    return string.char(math.floor(n / 2 ^ 24) % 256, math.floor(n / 2 ^ 16) % 256,
        math.floor(n / 256) % 256, n % 256)
end

local function u16_little(n)
    return string.char(n % 256, math.floor(n / 256))
end

local crc_table = {}
for n = 0, 255 do
    local c = n
    for _ = 1, 8 do
        c = bit.band(c, 1) == 1 and bit.bxor(0xedb88320, bit.rshift(c, 1)) or bit.rshift(c, 1)
    end
    crc_table[n] = c
end

local function crc32(bytes)
    local c = 0xffffffff
    for i = 1, #bytes do
        local at = bit.band(bit.bxor(c, bytes:byte(i)), 0xff)
        c = bit.bxor(crc_table[at], bit.rshift(c, 8))
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

--- Bytes as zlib has them, not compressed.
function _M.zlib(bytes)
    local parts = { "\x78\x01" }
    for at = 1, #bytes, 65535 do
        local block = bytes:sub(at, at + 65534)
        local last = at + 65535 > #bytes and "\1" or "\0"
        parts[#parts + 1] = last .. u16_little(#block) .. u16_little(65535 - #block) .. block
    end
    parts[#parts + 1] = u32(adler32(bytes))
    return table.concat(parts)
end

--- A chunk of a PNG.
function _M.chunk(name, data)
    return u32(#data) .. name .. data .. u32(crc32(name .. data))
end

local chunk = _M.chunk

--- A PNG whose header claims what it likes.
-- @tparam integer width
-- @tparam integer height
-- @tparam integer depth bits of a channel
-- @tparam integer kind colour type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA
-- @tparam string chunks that come before the pixels
-- @tparam string lines of pixels, each after its filter's byte
function _M.png_with(width, height, depth, kind, chunks, lines)
    local header = u32(width) .. u32(height) .. string.char(depth, kind) .. "\0\0\0"
    return "\x89PNG\r\n\x1a\n" .. chunk("IHDR", header) .. chunks ..
        chunk("IDAT", _M.zlib(lines)) .. chunk("IEND", "")
end

-- A PNG with these scan lines whatever their number.
local function png_of(width, height, channels, lines)
    return _M.png_with(width, height, 8, channels == 4 and 6 or 2, "", lines)
end

--- A PNG with 8 bits a channel.
-- @tparam integer width
-- @tparam integer height
-- @tparam function pixel called with x and y from 0, gives red, green, blue[, alpha]
-- @treturn string PNG bytes
function _M.png(width, height, pixel)
    local lines, channels = {}, nil
    for y = 0, height - 1 do
        local line = { "\0" }
        for x = 0, width - 1 do
            local value = string.char(pixel(x, y))
            channels = #value
            line[#line + 1] = value
        end
        lines[#lines + 1] = table.concat(line)
    end
    return png_of(width, height, channels, table.concat(lines))
end

--- A PNG that claims to be large and holds almost nothing.
function _M.png_bomb(width, height)
    return png_of(width, height, 3, ("\0"):rep(1000))
end

--- A JPEG with an EXIF orientation put in behind its first marker.
-- @tparam string jpeg
-- @tparam integer orientation 1 to 8
function _M.oriented(jpeg, orientation)
    local tiff = "MM\0*\0\0\0\8\0\1\1\x12\0\3\0\0\0\1\0" .. string.char(orientation) ..
        "\0\0\0\0\0\0"
    local exif = "Exif\0\0" .. tiff
    local length = string.char(math.floor((#exif + 2) / 256), (#exif + 2) % 256)
    return jpeg:sub(1, 2) .. "\xff\xe1" .. length .. exif .. jpeg:sub(3)
end

--- The channels of one pixel of an encoded image.
-- @treturn {number,...}
function _M.pixel(bytes, x, y)
    local vips, nothing = ffi.load "libvips.so.42", ffi.cast("void *", nil)
    local image = vips.vips_image_new_from_buffer(bytes, #bytes, "", nothing)
    assert(image ~= nil, "not an image")
    local vector, n = ffi.new "double *[1]", ffi.new "int[1]"
    assert(vips.vips_getpoint(image, vector, n, x, y, nothing) == 0, "no such pixel")
    local channels = {}
    for i = 0, n[0] - 1 do
        channels[i + 1] = vector[0][i]
    end
    vips.g_free(vector[0])
    vips.g_object_unref(image)
    return channels
end

return _M
