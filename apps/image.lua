--- Images: look at them, scale them, convert them. JPEG, PNG and WebP bytes in and out.
--
-- libvips (Debian: libvips42) does the work, called through LuaJIT's FFI. Actions:
--
--     info(bytes)          -> { format, width, height, bands, alpha, orientation, … }
--     thumbnail(bytes, o)  -> bytes, { format, width, height }
--     resize(bytes, o)     -> bytes, { format, width, height }
--     convert(bytes, o)    -> bytes, { format, width, height }
--
-- Widths and heights are pixels of the upright image: an EXIF orientation is applied.
-- A format is "jpeg", "png" or "webp"; without one the input's is kept. `quality` is 1 to
-- 100 and counts for JPEG and WebP; PNG is lossless. Transparency turns white in JPEG.
-- What comes out is sRGB (or grey) with 8 bits a channel and no metadata, which may tell where
-- a photograph was taken: profiles, and gAMA and cHRM of PNG, are applied and left out. Of an
-- animation the first frame counts.
--
-- A wrong argument raises; an image that can't be had gives nil, err in libvips' words.
-- @module apps.image

local ffi = require "ffi"
local colour = require "apps.image.colour"
local dirty = require "dirty"
local hint = require("dirty.suggest").hint
local webp = require "apps.image.webp"

ffi.cdef [[
    typedef struct _VipsImage VipsImage;
    int vips_init(const char *argv0);
    void vips_thread_shutdown(void);
    void vips_cache_set_max(int max);
    void vips_concurrency_set(int threads);
    void vips_operation_block_set(const char *name, int state);
    char *vips_error_buffer_copy(void);
    void vips_error_clear(void);
    VipsImage *vips_image_new_from_buffer(const void *data, size_t len,
        const char *options, ...);
    int vips_image_write_to_buffer(VipsImage *in, const char *suffix, void **data,
        size_t *len, ...);
    int vips_thumbnail_buffer(const void *data, size_t len, VipsImage **out, int width, ...);
    int vips_image_get_width(const VipsImage *image);
    int vips_image_get_height(const VipsImage *image);
    int vips_image_get_bands(const VipsImage *image);
    int vips_image_hasalpha(VipsImage *image);
    int vips_image_get_orientation(VipsImage *image);
    int vips_image_get_n_pages(VipsImage *image);
    int vips_image_get_string(const VipsImage *image, const char *name, const char **out);
    size_t vips_image_get_typeof(const VipsImage *image, const char *name);
    char **vips_image_get_fields(const VipsImage *image);
    int vips_image_remove(VipsImage *image, const char *name);
    int vips_copy(VipsImage *in, VipsImage **out, ...);
    int vips_colourspace(VipsImage *in, VipsImage **out, int space, ...);
    int vips_image_get_interpretation(const VipsImage *image);
    void g_strfreev(char **list);
    unsigned g_log_set_handler(const char *domain, int levels, void *handler, void *data);
    void g_object_unref(void *object);
    void g_free(void *memory);

    size_t strlen(const char *text);
    extern void *stderr;
    void flockfile(void *file);
    void funlockfile(void *file);
]]

local DEFAULT_MAX_PIXELS = 100e6 -- 300 MB of RGB if all of it is decoded at once
local MAX_SIDE = 65500           -- the most that JPEG can hold; WebP holds 16383
local DEFAULT_WIDTH = 256        -- of a thumbnail

-- What libvips calls a format when it loads it, and the suffix that saves it.
local LOADERS = { jpegload_buffer = "jpeg", pngload_buffer = "png", webpload_buffer = "webp" }
local SUFFIXES = { jpeg = ".jpg", png = ".png", webp = ".webp" }

-- Numbers of libvips' enums.
local CROPS = { centre = 1, entropy = 2, attention = 3 } -- VipsInteresting
local NO_CROP = 0
local SHRINK, FORCE = 2, 3 -- VipsSize: never enlarge; exactly this size
local LOG_WARNING = 16 -- GLogLevelFlags
local GREY, SRGB = 1, 22 -- VipsInterpretation
local SCREEN = 72 / 25.4 -- pixels a millimetre that are written of every image

-- How libvips loads: line by line where it can, and a file that ends early is an error.
local LOAD_OPTIONS = "access=sequential,fail-on=truncated"

-- C's variable arguments have no types: numbers need a cast, and NULL ends the list.
local int = ffi.typeof "int"
local END = ffi.cast("void *", nil)

local vips -- the library, from init on

local Image = dirty.app {}

-- -- The library ------------------------------------------------------------------------

local function load_library()
    local found, library = pcall(ffi.load, "libvips.so.42")
    if not found then
        error("can't load libvips, install the Debian package libvips42: " .. library, 0)
    end
    return library
end

-- Two first calls of vips_init at once go wrong, and lanes of one process do boot at once.
-- The C library is all that their Lua states share, so the lock is its lock of stderr.
local function start_library(concurrency)
    ffi.C.flockfile(ffi.C.stderr)
    local started = vips.vips_init("dirty") == 0
    if started then
        -- A broken image must not fill the log: the caller is told what is wrong. strlen
        -- stands for a function that takes libvips' warnings and does nothing.
        vips.g_log_set_handler("VIPS", LOG_WARNING, ffi.cast("void *", ffi.C.strlen), nil)
        vips.vips_cache_set_max(0) -- nothing is computed twice
        vips.vips_concurrency_set(concurrency)
        -- Bytes of strangers reach three decoders only. This holds for the whole process.
        vips.vips_operation_block_set("VipsForeignLoad", 1)
        vips.vips_operation_block_set("VipsForeignLoadJpeg", 0)
        vips.vips_operation_block_set("VipsForeignLoadPng", 0)
        vips.vips_operation_block_set("VipsForeignLoadWebp", 0)
    end
    ffi.C.funlockfile(ffi.C.stderr)
    return started
end

-- Take libvips' message, which empties its buffer. The buffer is one for the process: with
-- several lanes it may hold words about another lane's image too.
-- Some refusals have no message: then what else is known is said.
local function vips_words(known)
    local buffer = vips.vips_error_buffer_copy()
    local words = ffi.string(buffer):gsub("%s+$", ""):gsub("%s*\n%s*", "; ")
    vips.g_free(buffer)
    return words ~= "" and words or known or "libvips gave no reason"
end

-- Own an image until `release`. Should an error come first, the collector frees it.
local function own(image)
    return ffi.gc(image, vips.g_object_unref)
end

local function release(image)
    vips.g_object_unref(ffi.gc(image, nil))
end

-- -- Options ----------------------------------------------------------------------------

local function fail(where, text, ...)
    error(where .. ": " .. text:format(...), 0)
end

local function whole_number(max)
    return function(value)
        local fits = type(value) == "number" and value % 1 == 0 and value >= 1 and value <= max
        return fits, "a whole number from 1 to " .. max
    end
end

local function one_of(choices)
    local names = {}
    for name in pairs(choices) do
        names[#names + 1] = name
    end
    table.sort(names)
    return function(value)
        return choices[value] ~= nil, "one of " .. table.concat(names, ", ")
    end
end

-- Every option with the check it has to pass: check(value) -> ok, what it must be.
local OPTIONS = {
    width = whole_number(MAX_SIDE),
    height = whole_number(MAX_SIDE),
    quality = whole_number(100),
    format = one_of(SUFFIXES),
    crop = one_of(CROPS),
    max_pixels = whole_number(1e10),
    concurrency = whole_number(1024),
}

-- Check a table of options, of which `known` lists the names; nil counts as an empty one.
local function check_options(where, options, known)
    if options == nil then
        return {}
    elseif type(options) ~= "table" then
        fail(where, "options must be an object, not a %s", type(options))
    end
    local checks = {}
    for _, name in ipairs(known) do
        checks[name] = OPTIONS[name]
    end
    for name, value in pairs(options) do
        if not checks[name] then
            fail(where, "unknown option '%s'%s", tostring(name), hint(tostring(name), known))
        end
        local ok, wanted = checks[name](value)
        if not ok then
            fail(where, "%s must be %s, not '%s'", name, wanted, tostring(value))
        end
    end
    return options
end

-- -- Reading and writing ----------------------------------------------------------------

local function format_of(image)
    local loader = ffi.new "const char *[1]"
    vips.vips_image_get_string(image, "vips-loader", loader)
    return LOADERS[ffi.string(loader[0])]
end

local function describe(image)
    local width, height = vips.vips_image_get_width(image), vips.vips_image_get_height(image)
    local orientation = vips.vips_image_get_orientation(image)
    if orientation >= 5 then -- stored lying on its side
        width, height = height, width
    end
    return {
        format = format_of(image),
        width = width,
        height = height,
        bands = vips.vips_image_get_bands(image),
        alpha = vips.vips_image_hasalpha(image) ~= 0,
        orientation = orientation,
        pages = vips.vips_image_get_n_pages(image),
        profile = vips.vips_image_get_typeof(image, "icc-profile-data") ~= 0,
    }
end

-- Whether a size is allowed: nothing, or what is wrong.
local function too_large(self, what, width, height)
    if width * height > self.max_pixels then
        return ("%s is %d x %d, %.4g megapixels; max_pixels allows %.4g"):format(what, width,
            height, width * height / 1e6, self.max_pixels / 1e6)
    end
end

-- How files begin, of the formats that are taken and of others that are often sent.
local SIGNATURES = {
    png = "^\137PNG\r\n\26\n", jpeg = "^\255\216\255", webp = "^RIFF....WEBP",
}
local OTHERS = {
    { "GIF", "^GIF8" }, { "TIFF", "^II[*+]%z" }, { "TIFF", "^MM%z[*+]" },
    { "AVIF", "^....ftypavi[fs]" }, { "HEIC", "^....ftyphe[iv][cmsx]" },
    { "HEIC or AVIF", "^....ftypm[is]f1" }, { "SVG", "^[\239\187\191%s]*<svg[%s>]" },
    { "SVG", "^[\239\187\191%s]*<[?!].-<svg[%s>]" }, { "BMP", "^BM....%z%z%z%z" },
    { "ICO", "^%z%z\1%z" },
    { "JPEG XL", "^\255\10" }, { "JPEG XL", "^%z%z%z\12JXL " },
    { "JPEG 2000", "^%z%z%z\12jP  " }, { "JPEG 2000", "^\255O\255Q" }, { "PDF", "^%%PDF%-" },
    { "PSD", "^8BPS" },
}
local HEAD_MAX = 1000 -- bytes that are looked at to name a format

local function format_by_signature(bytes)
    for format, signature in pairs(SIGNATURES) do
        if bytes:find(signature) then
            return format
        end
    end
end

-- Why bytes are not taken that begin as none of the formats does.
local function foreign(bytes)
    local head = bytes:sub(1, HEAD_MAX)
    for _, other in ipairs(OTHERS) do
        if head:find(other[2]) then
            return "it is " .. other[1]
        end
    end
    return ("%d bytes that do not begin like any known image format"):format(#bytes)
end

-- Say what an image is, from its header: its size is held against max_pixels before
-- anything is decoded. Returns nil and why not if it can't be read or is too large.
local function read_header(self, bytes)
    if type(bytes) ~= "string" then
        fail("image", "the first argument is a %s, must be the bytes of an image", type(bytes))
    end
    local format = format_by_signature(bytes)
    if not format then
        return nil, ("can't read this as an image: %s; JPEG, PNG and WebP are supported"):format(
            foreign(bytes))
    end
    local image = vips.vips_image_new_from_buffer(bytes, #bytes, LOAD_OPTIONS, END)
    if image == nil then
        local known = ("%d bytes that begin like %s, but the header is broken")
            :format(#bytes, format:upper())
        return nil, "can't read this as an image: " .. vips_words(known)
    end
    image = own(image)
    local about = describe(image)
    release(image)
    local err = too_large(self, "the image", about.width, about.height)
    if err then
        return nil, err
    end
    return about
end

-- An image of what another becomes by a function of libvips; that one is released.
local function become(image, f, ...)
    local out = ffi.new "VipsImage *[1]"
    local status = f(image, out, ...)
    release(image)
    return status == 0 and own(out[0]) or nil
end

-- The image in sRGB or grey with 8 bits a channel, with nothing but its pixels: libvips 8.14
-- writes EXIF and XMP into WebP though it is told to strip. nil if that can't be.
local function bare(image)
    local space = vips.vips_image_get_interpretation(image)
    if space ~= SRGB and space ~= GREY then
        image = become(image, vips.vips_colourspace, int(SRGB), END)
    end
    image = image and become(image, vips.vips_copy, "xres", SCREEN, "yres", SCREEN, END)
    if not image then
        return nil
    end
    local fields = ffi.gc(vips.vips_image_get_fields(image), vips.g_strfreev)
    local i = 0
    while fields[i] ~= nil do
        vips.vips_image_remove(image, fields[i]) -- what every image has stays
        i = i + 1
    end
    vips.g_strfreev(ffi.gc(fields, nil))
    return image
end

-- The suffix that saves an image in libvips' notation, such as ".jpg[strip,background=255,Q=80]".
local function save_suffix(format, quality)
    local q = quality and format ~= "png" and ",Q=" .. quality or ""
    return SUFFIXES[format] .. "[strip,background=255" .. q .. "]"
end

-- Encode, which is when libvips does all the work that led to the image. Releases it.
-- Returns the encoded bytes and what they are, or nil and why not.
local function encode(image, format, suffix)
    image = bare(image)
    if not image then
        return nil, "can't make the image: " .. vips_words()
    end
    local data, len = ffi.new "void *[1]", ffi.new "size_t[1]"
    local status = vips.vips_image_write_to_buffer(image, suffix, data, len, END)
    local about = {
        format = format,
        width = vips.vips_image_get_width(image),
        height = vips.vips_image_get_height(image),
    }
    release(image)
    if status ~= 0 then
        return nil, "can't make the image: " .. vips_words()
    end
    vips.vips_error_clear() -- what it mended it has put there too
    local buffer = ffi.gc(data[0], vips.g_free)
    local bytes = ffi.string(buffer, len[0])
    vips.g_free(ffi.gc(buffer, nil))
    return format == "webp" and webp.without_metadata(bytes) or bytes, about
end

-- Decode at a fraction of the size where the format can, scale, turn upright, convert to
-- sRGB and encode. `about` is of read_header, `box` { width, height, size, crop }.
local function scale(bytes, about, box, o)
    local has_profile = about.profile
    if about.format == "png" and not has_profile then
        local told = colour.with_profile(bytes)
        has_profile, bytes = told ~= bytes, told
    end
    local out = ffi.new "VipsImage *[1]"
    local status = vips.vips_thumbnail_buffer(bytes, #bytes, out, box.width,
        "height", int(box.height), "size", int(box.size), "crop", int(box.crop),
        "option_string", LOAD_OPTIONS,
        has_profile and "export_profile" or END, "srgb", END)
    if status ~= 0 then
        return nil, "can't scale the image: " .. vips_words()
    end
    local format = o.format or about.format
    -- no tail call: this frame holds the bytes that the image reads
    local encoded, result = encode(own(out[0]), format, save_suffix(format, o.quality))
    return encoded, result
end

-- The size that resize is asked for; a side that is not given keeps the proportions.
local function wanted_size(about, o)
    local width = o.width or about.width * o.height / about.height
    local height = o.height or about.height * o.width / about.width
    return math.max(1, math.floor(width + 0.5)), math.max(1, math.floor(height + 0.5))
end

-- -- The app ----------------------------------------------------------------------------

--- Load libvips, once a lane.
-- @tparam[opt] table options of the configuration: `max_pixels`, the most an image may have,
--   in or out (default 100 million); `concurrency`, the threads that libvips may use for one
--   image (default 1: it is workers that work in parallel)
function Image:init(options)
    options = check_options("options of apps.image", options, { "max_pixels", "concurrency" })
    self.max_pixels = options.max_pixels or DEFAULT_MAX_PIXELS
    vips = load_library()
    if not start_library(options.concurrency or 1) then
        error("can't start libvips: " .. vips_words(), 0)
    end
end

--- Say what an image is, from its header alone.
-- @tparam string bytes an encoded image
-- @treturn table|nil format, width, height, bands (channels), alpha (boolean), orientation
--   (EXIF number, 1: stored upright), pages, profile (boolean); or nil, err
function Image:info(bytes)
    return read_header(self, bytes)
end

--- Make an image small enough for a box, or with `crop` let it fill the box. Never enlarges.
-- @tparam string bytes an encoded image
-- @tparam[opt] table o width (256), height (the width), crop ("centre", "entropy" or
--   "attention": the part to keep), format, quality
-- @treturn string|nil the encoded thumbnail, or nil, err
-- @treturn table format, width, height
function Image:thumbnail(bytes, o)
    o = check_options("thumbnail", o, { "width", "height", "crop", "format", "quality" })
    local about, err = read_header(self, bytes)
    if not about then
        return nil, err
    end
    local width = o.width or DEFAULT_WIDTH
    local crop = CROPS[o.crop] or NO_CROP
    local box = { width = width, height = o.height or width, size = SHRINK, crop = crop }
    return scale(bytes, about, box, o)
end

--- Scale an image to this width and height, up or down; with one of them, in proportion.
-- @tparam string bytes an encoded image
-- @tparam table o width, height (at least one), format, quality
-- @treturn string|nil the encoded image, or nil, err
-- @treturn table format, width, height
function Image:resize(bytes, o)
    o = check_options("resize", o, { "width", "height", "format", "quality" })
    if not (o.width or o.height) then
        fail("resize", "width or height must be given")
    end
    local about, err = read_header(self, bytes)
    if not about then
        return nil, err
    end
    local width, height = wanted_size(about, o)
    err = too_large(self, "the requested image", width, height)
    if err then
        return nil, err
    end
    local box = { width = width, height = height, size = FORCE, crop = NO_CROP }
    return scale(bytes, about, box, o)
end

--- Write an image in another format or quality, in its own size.
-- @tparam string bytes an encoded image
-- @tparam table o format, quality
-- @treturn string|nil the encoded image, or nil, err
-- @treturn table format, width, height
function Image:convert(bytes, o)
    o = check_options("convert", o, { "format", "quality" })
    local about, err = read_header(self, bytes)
    if not about then
        return nil, err
    end
    local box = { width = about.width, height = about.height, size = FORCE, crop = NO_CROP }
    return scale(bytes, about, box, o)
end

--- Free what libvips keeps for this lane's thread.
function Image:close() -- luacheck: no self
    if vips then
        vips.vips_thread_shutdown()
    end
end

return Image
