-- The image app, by its functions and then as it is served.
local images = require "support.images"
local metadata = require "support.metadata"
local process = require "support.process"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"

-- Where the package lomiri-wallpapers-20.04 has the photograph of the demo.
local PHOTO = "/usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg"

local RED, BLUE = { 255, 0, 0 }, { 0, 0, 255 }

local read_file = tempdir.read

-- Resident memory of this process in bytes.
local function resident()
    return tonumber(read_file("/proc/self/statm"):match "^%d+ (%d+)") * 4096
end

-- JPEG moves colours a little.
local function assert_colour(expected, actual)
    for i, channel in ipairs(expected) do
        assert.is_true(math.abs(channel - actual[i]) <= 12,
            ("channel %d is %s, expected %d"):format(i, tostring(actual[i]), channel))
    end
end

-- Left half red, right half blue.
local function two_halves(width, height)
    return images.png(width, height, function(x)
        return unpack(x < width / 2 and RED or BLUE)
    end)
end

local function noise(width, height)
    local seed = 1
    return images.png(width, height, function()
        seed = (seed * 16807) % 2147483647
        return seed % 256, math.floor(seed / 256) % 256, math.floor(seed / 65536) % 256
    end)
end

describe("apps.image", function()
    local app

    setup(function()
        package.path = "./?.lua;" .. package.path
        app = require "apps.image"
        app:init { max_pixels = 30e6 }
    end)

    teardown(function()
        app:close()
    end)

    describe("info", function()
        it("tells format, size and channels of PNG, JPEG and WebP", function()
            local png = two_halves(40, 20)
            for _, format in ipairs { "png", "jpeg", "webp" } do
                local about = assert(app:info((assert(app:convert(png, { format = format })))))
                assert.same({ format = format, width = 40, height = 20, bands = 3, alpha = false,
                    orientation = 1, pages = 1, profile = false }, about)
            end
        end)

        it("tells the size of an image that lies on its side as it is seen", function()
            local jpeg = images.oriented(app:convert(two_halves(40, 20), { format = "jpeg" }), 6)
            local about = assert(app:info(jpeg))
            assert.same({ 20, 40, 6 }, { about.width, about.height, about.orientation })
        end)

        it("reads a photograph of 20 megapixels", function()
            local about = assert(app:info(read_file(PHOTO)))
            assert.same({ "jpeg", 6028, 3391 }, { about.format, about.width, about.height })
        end)
    end)

    describe("thumbnail", function()
        it("makes a photograph fit into the box and keeps the format", function()
            local bytes, about = assert(app:thumbnail(read_file(PHOTO), { width = 512 }))
            assert.same({ format = "jpeg", width = 512, height = 288 }, about)
            local seen = assert(app:info(bytes))
            assert.same({ "jpeg", 512, 288 }, { seen.format, seen.width, seen.height })
            assert.is_true(#bytes < 60000)
        end)

        it("is 256 pixels wide if no size is given, and no higher", function()
            local _, wide = assert(app:thumbnail(two_halves(600, 300)))
            assert.same({ 256, 128 }, { wide.width, wide.height })
            local _, high = assert(app:thumbnail(two_halves(300, 600), {}))
            assert.same({ 128, 256 }, { high.width, high.height })
        end)

        it("does not enlarge", function()
            local _, about = assert(app:thumbnail(two_halves(40, 20), { width = 400 }))
            assert.same({ 40, 20 }, { about.width, about.height })
        end)

        it("fills the box with crop", function()
            for _, crop in ipairs { "centre", "entropy", "attention" } do
                local _, about = assert(app:thumbnail(two_halves(400, 200),
                    { width = 50, height = 80, crop = crop }))
                assert.same({ 50, 80 }, { about.width, about.height })
            end
        end)

        it("turns the image upright and leaves no orientation behind", function()
            -- 6: to be seen, the stored image is turned clockwise, its left side gets up
            local jpeg = images.oriented(app:convert(two_halves(80, 40),
                { format = "jpeg", quality = 95 }), 6)
            local bytes, about = assert(app:thumbnail(jpeg, { width = 40, height = 40 }))
            assert.same({ 20, 40 }, { about.width, about.height })
            assert_colour(RED, images.pixel(bytes, 10, 5))
            assert_colour(BLUE, images.pixel(bytes, 10, 35))
            assert.equal(1, app:info(bytes).orientation)
        end)

    end)

    describe("resize", function()
        it("scales to exactly the given size, up and down", function()
            for _, size in ipairs { { 100, 100 }, { 10, 90 }, { 40, 20 }, { 1, 1 } } do
                local bytes, about = assert(app:resize(two_halves(40, 20),
                    { width = size[1], height = size[2] }))
                assert.same(size, { about.width, about.height })
                local seen = app:info(bytes)
                assert.same(size, { seen.width, seen.height })
            end
        end)

        it("keeps the proportions where one side is given", function()
            local png = two_halves(40, 20)
            local _, by_width = assert(app:resize(png, { width = 80 }))
            assert.same({ 80, 40 }, { by_width.width, by_width.height })
            local _, by_height = assert(app:resize(png, { height = 10 }))
            assert.same({ 20, 10 }, { by_height.width, by_height.height })
        end)

        it("takes the size of the upright image", function()
            local jpeg = images.oriented(app:convert(two_halves(40, 20), { format = "jpeg" }), 8)
            local _, about = assert(app:resize(jpeg, { width = 10 }))
            assert.same({ 10, 20 }, { about.width, about.height })
        end)

        it("refuses to make more pixels than max_pixels", function()
            local bytes, err = app:resize(two_halves(40, 20), { width = 20000 })
            assert.is_nil(bytes)
            assert.equal("the requested image is 20000 x 10000, 200 megapixels; " ..
                "max_pixels allows 30", err)
        end)

        it("wants a width or a height", function()
            assert.error_matches(function()
                app:resize(two_halves(4, 2), { quality = 3 })
            end, "resize: width or height must be given")
        end)
    end)

    describe("convert", function()
        it("keeps every pixel and the transparency between lossless formats", function()
            local png = images.png(16, 16, function(x, y)
                return x * 16, y * 16, 77, (x * 16 + y) % 256
            end)
            local copy = assert(app:convert(png))
            assert.is_true(app:info(copy).alpha)
            for i = 0, 15 do
                assert.same(images.pixel(png, i, 15 - i), images.pixel(copy, i, 15 - i))
            end
        end)

        it("keeps the transparency in WebP", function()
            local png = images.png(16, 16, function()
                return 255, 0, 0, 100
            end)
            local webp, about = assert(app:convert(png, { format = "webp" }))
            assert.equal("webp", about.format)
            assert.is_true(app:info(webp).alpha)
            assert_colour({ 255, 0, 0, 100 }, images.pixel(webp, 8, 8))
        end)

        it("puts a transparent image on white for JPEG", function()
            local png = images.png(16, 16, function()
                return 255, 0, 0, 0
            end)
            local jpeg = assert(app:convert(png, { format = "jpeg" }))
            assert_colour({ 255, 255, 255 }, images.pixel(jpeg, 8, 8))
        end)

        it("makes smaller files of lower quality", function()
            local png = noise(64, 64)
            for _, format in ipairs { "jpeg", "webp" } do
                local low = assert(app:convert(png, { format = format, quality = 10 }))
                local high = assert(app:convert(png, { format = format, quality = 95 }))
                assert.is_true(#low * 2 < #high)
            end
        end)

        it("says in libvips' words what a format can't hold", function()
            local wide = app:resize(two_halves(40, 20), { width = 16400, height = 2 })
            local bytes, err = app:convert(wide, { format = "webp" })
            assert.is_nil(bytes)
            assert.equal("can't make the image: webpsave: image too large", err)
        end)
    end)

    -- Every format as input and output, with all kinds of metadata, in each orientation.
    describe("metadata", function()
        local FORMATS = { "jpeg", "png", "webp" }
        local WIDTH, HEIGHT = 48, 24
        -- What an image of each format may be made of: its pixels, and how to decode them.
        local PARTS = {
            jpeg = { ["e0 JFIF"] = true, db = true, c0 = true, c2 = true, c4 = true, dd = true,
                da = true },
            png = { IHDR = true, pHYs = true, PLTE = true, tRNS = true, IDAT = true, IEND = true },
            webp = { ["VP8 "] = true, VP8L = true, VP8X = true, ALPH = true },
        }
        local COLOURS = { { 255, 0, 0 }, { 0, 255, 0 }, { 0, 0, 255 }, { 255, 255, 255 } }
        -- The quarters of the stored image where each orientation shows them: top left, top right,
        -- bottom left, bottom right.
        local SEEN = { { 1, 2, 3, 4 }, { 2, 1, 4, 3 }, { 4, 3, 2, 1 }, { 3, 4, 1, 2 },
            { 1, 3, 2, 4 }, { 3, 1, 4, 2 }, { 4, 2, 3, 1 }, { 2, 4, 1, 3 } }
        local plain

        setup(function()
            local png = images.png(WIDTH, HEIGHT, function(x, y)
                return unpack(COLOURS[(y < HEIGHT / 2 and 1 or 3) + (x < WIDTH / 2 and 0 or 1)])
            end)
            plain = { png = png }
            for _, format in ipairs { "jpeg", "webp" } do
                plain[format] = assert(app:convert(png, { format = format, quality = 95 }))
            end
        end)

        local function laden(format, orientation)
            return metadata[format](plain[format], orientation, WIDTH, HEIGHT)
        end

        local function assert_bare(format, bytes)
            for _, part in ipairs(metadata.parts(format, bytes)) do
                assert.is_true(PARTS[format][part], part)
            end
            for _, secret in ipairs(metadata.SECRETS) do
                assert.is_nil(bytes:find(secret, 1, true), secret)
            end
            local about = app:info(bytes)
            assert.same({ 1, false }, { about.orientation, about.profile })
        end

        local function assert_upright(orientation, bytes, about)
            local turned = orientation >= 5
            assert.same(turned and { HEIGHT, WIDTH } or { WIDTH, HEIGHT },
                { about.width, about.height })
            for i, quarter in ipairs(SEEN[orientation]) do
                local x = math.floor(about.width * (i % 2 == 1 and 0.25 or 0.75))
                local y = math.floor(about.height * (i <= 2 and 0.25 or 0.75))
                for channel, value in ipairs(COLOURS[quarter]) do
                    local is = images.pixel(bytes, x, y)[channel]
                    assert.is_true(math.abs(is - value) < 40, ("orientation %d, quarter %d, "
                        .. "channel %d: %d"):format(orientation, i, channel, is))
                end
            end
        end

        for _, from in ipairs(FORMATS) do
            for _, to in ipairs(FORMATS) do
                it(("of %s is not in %s, which is upright"):format(from, to), function()
                    for orientation = 1, 8 do
                        local input = laden(from, orientation)
                        assert.equal(orientation, app:info(input).orientation)
                        assert.is_true(app:info(input).profile)
                        local o = { format = to, quality = 95 }
                        local bytes, about = assert(app:convert(input, o))
                        assert_bare(to, bytes)
                        assert_upright(orientation, bytes, about)
                    end
                end)
            end

            it(("of %s is left out by all actions"):format(from), function()
                for _, to in ipairs(FORMATS) do
                    local small = assert(app:thumbnail(laden(from, 6), { width = 12, format = to }))
                    assert_bare(to, small)
                    local cut = assert(app:thumbnail(laden(from, 3),
                        { width = 10, height = 20, crop = "attention", format = to }))
                    assert_bare(to, cut)
                    local large = assert(app:resize(laden(from, 7), { width = 60, format = to }))
                    assert_bare(to, large)
                end
            end)
        end

        it("was there: each kind is found in what was made", function()
            local function kinds(format)
                local found = {}
                for i, secret in ipairs(metadata.SECRETS) do
                    found[i] = laden(format, 1):find(secret, 1, true) ~= nil
                end
                return found
            end
            local y, n = true, false
            -- maker, position, XMP, IPTC, comment, profile, JUMBF, thumbnail
            assert.same({ y, y, y, y, y, y, y, y }, kinds "jpeg")
            assert.same({ y, y, y, n, y, y, n, y }, kinds "png") -- IPTC is in hexadecimal
            assert.same({ y, y, y, n, n, y, n, y }, kinds "webp")
        end)

        it("is no more than the transparency in a WebP that has it", function()
            local png = images.png(16, 16, function() return 255, 0, 0, 100 end)
            local webp = assert(app:convert(png, { format = "webp" }))
            assert_bare("webp", webp)
            assert.is_true(app:info(webp).alpha)
        end)
    end)

    describe("colours", function()
        -- A PNG of 8 x 8 equal pixels; `line` are the bytes of one.
        local function flat(depth, kind, pixel, chunks)
            return images.png_with(8, 8, depth, kind, chunks or "", ("\0" .. pixel:rep(8)):rep(8))
        end
        local function u32(n)
            return string.char(math.floor(n / 2 ^ 24), math.floor(n / 65536) % 256,
                math.floor(n / 256) % 256, n % 256)
        end
        local function gama(gamma)
            return images.chunk("gAMA", u32(math.floor(gamma * 100000 + 0.5)))
        end
        local function chrm(...)
            local points = { 0.3127, 0.329, ... }
            for i, point in ipairs(points) do
                points[i] = u32(math.floor(point * 100000 + 0.5))
            end
            return images.chunk("cHRM", table.concat(points))
        end
        -- sRGB's sample for one that was made with `gamma`.
        local function as_srgb(sample, gamma)
            local light = (sample / 255) ^ (1 / gamma)
            return 255 * (light <= 0.0031308 and 12.92 * light or 1.055 * light ^ (1 / 2.4) - 0.055)
        end
        local function assert_pixel(expected, bytes, near)
            local is = images.pixel(assert(app:convert(bytes, { format = "png" })), 3, 3)
            for i, value in ipairs(expected) do
                assert.is_true(math.abs(is[i] - value) <= (near or 1),
                    ("channel %d is %s, not %s"):format(i, is[i], value))
            end
        end

        for _, gamma in ipairs { 1, 0.55556, 2.2 } do
            it(("are those that a PNG means by gAMA %g"):format(gamma), function()
                local grey, alpha = as_srgb(128, gamma), 90
                local rgb = { as_srgb(200, gamma), as_srgb(100, gamma), as_srgb(50, gamma) }
                local rgba = { rgb[1], rgb[2], rgb[3], alpha }
                local palette = images.chunk("PLTE", "\0\0\0\200\100\50")
                local chunks = gama(gamma)
                assert_pixel({ grey }, flat(8, 0, "\128", chunks))
                assert_pixel({ grey }, flat(16, 0, "\128\128", chunks))
                assert_pixel({ grey, grey, grey, alpha }, flat(8, 4, "\128\90", chunks))
                assert_pixel(rgb, flat(8, 2, "\200\100\50", chunks))
                assert_pixel(rgb, flat(16, 2, "\200\200\100\100\50\50", chunks))
                assert_pixel(rgba, flat(8, 6, "\200\100\50\90", chunks))
                assert_pixel(rgb, flat(8, 3, "\1", chunks .. palette))
                for _, format in ipairs { "jpeg", "webp" } do
                    local out = assert(app:convert(flat(8, 0, "\128", chunks), { format = format }))
                    assert.is_true(math.abs(images.pixel(out, 3, 3)[1] - grey) <= 3)
                end
            end)
        end

        it("stay where gAMA says no more than sRGB, or something else goes first", function()
            assert_pixel({ 128 }, flat(8, 0, "\128", gama(0.45455)), 0)
            assert_pixel({ 200, 100, 50 }, flat(8, 2, "\200\100\50",
                gama(0.45455) .. chrm(0.64, 0.33, 0.3, 0.6, 0.15, 0.06)), 0)
            assert_pixel({ 128 }, flat(8, 0, "\128", images.chunk("sRGB", "\0") .. gama(1)), 0)
            assert_pixel({ 201, 100, 46 }, flat(8, 2, "\200\100\50",
                images.chunk("iCCP", "x\0\0" .. images.zlib(metadata.icc(2.2))) .. gama(1)))
        end)

        it("are those of cHRM's primaries", function()
            -- by the matrices of both sets of primaries
            assert_pixel({ 219, 14, 35 }, flat(8, 2, "\200\50\50",
                gama(0.45455) .. chrm(0.68, 0.32, 0.265, 0.69, 0.15, 0.06)))
            assert_pixel({ 227, 100, 42 }, flat(8, 2, "\200\100\50",
                gama(0.45455) .. chrm(0.64, 0.33, 0.21, 0.71, 0.15, 0.06)))
        end)

        it("are taken as they are where gAMA and cHRM make no sense", function()
            for _, chunks in ipairs { gama(0), gama(40000), images.chunk("gAMA", "x"),
                chrm(0.68, 0.32, 0.265, 0.69, 0.15, 0.06) } do
                assert_pixel({ 200, 50, 50 }, flat(8, 2, "\200\50\50", chunks), 0)
            end
            local rgb = { as_srgb(200, 0.5), as_srgb(50, 0.5), as_srgb(50, 0.5) }
            for _, chunks in ipairs { chrm(0.3, 0.3, 0.3, 0.3, 0.3, 0.3), chrm(0, 0, 0, 0, 0, 0),
                images.chunk("cHRM", "short") } do
                assert_pixel(rgb, flat(8, 2, "\200\50\50", gama(0.5) .. chunks))
            end
        end)

        it("have 8 bits a channel in the end", function()
            local png = flat(16, 2, "\200\200\100\100\50\50")
            for _, format in ipairs { "jpeg", "png", "webp" } do
                local out = assert(app:convert(png, { format = format, quality = 100 }))
                assert_colour({ 200, 100, 50 }, images.pixel(out, 3, 3))
            end
            assert.equal(8, (app:convert(png)):byte(25)) -- of IHDR
        end)
    end)

    describe("given what is no image", function()
        local function refused(bytes)
            for _, action in ipairs { "info", "thumbnail", "convert" } do
                local result, err = app[action](app, bytes)
                assert.is_nil(result)
                assert.equal(("can't read this as an image: %d bytes that do not begin like any "
                    .. "known image format; JPEG, PNG and WebP are supported"):format(#bytes), err)
            end
        end

        it("says so of nothing, of text and of other bytes", function()
            refused ""
            refused "GET / HTTP/1.1\r\n\r\n"
            refused(("\0\255"):rep(5000))
        end)

        it("says what is known of a header that libvips refuses without a word", function()
            local png = two_halves(40, 20)
            for _, broken in ipairs { png:sub(1, 8), png:sub(1, 30),
                png:sub(1, 16) .. ("\255"):rep(8) .. png:sub(25) } do
                local result, err = app:info(broken)
                assert.is_nil(result)
                assert.matches("^can't read this as an image: ", err)
                assert.matches("[Pp][Nn][Gg]", err)
                assert.is_nil(err:find("gave no reason", 1, true))
            end
        end)

        it("names formats that it is not for, and says which are taken", function()
            for head, name in pairs {
                ["GIF89a\1\0\1\0\0\0\0;"] = "GIF", ["II*\0\8\0\0\0"] = "TIFF",
                ["MM\0*\0\0\0\8"] = "TIFF", ["MM\0+\0\8\0\0"] = "TIFF",
                ["\0\0\0\32ftypavif\0\0\0\0"] = "AVIF", ["\0\0\0\24ftypheic"] = "HEIC",
                ["\0\0\0\24ftyphevc"] = "HEIC", ["\0\0\0\24ftypmif1"] = "HEIC or AVIF",
                ['<svg xmlns="http://www.w3.org/2000/svg"/>'] = "SVG",
                ['\239\187\191<?xml version="1.0"?>\n<!-- x -->\n<svg>'] = "SVG",
                ["BM\70\0\0\0\0\0\0\0"] = "BMP", ["\255\10x"] = "JPEG XL",
                ["\0\0\0\12jP  \13\10"] = "JPEG 2000", ["%PDF-1.7"] = "PDF",
            } do
                for _, action in ipairs { "info", "thumbnail", "convert" } do
                    local result, err = app[action](app, head)
                    assert.is_nil(result)
                    assert.equal(("can't read this as an image: it is %s; JPEG, PNG and WebP are "
                        .. "supported"):format(name), err)
                end
            end
        end)

        it("refuses a JPEG that ends early, and the next call is right again", function()
            local photo = read_file(PHOTO)
            for _, length in ipairs { 100, 5000, 400000, 3000000 } do
                local result, err = app:thumbnail(photo:sub(1, length))
                assert.is_nil(result)
                assert.matches("[Pp]remature end", err)
            end
            assert(app:thumbnail(photo))
        end)

        it("refuses a PNG and a WebP that end early", function()
            local png = noise(64, 64)
            local webp = app:convert(png, { format = "webp" })
            for _, bytes in ipairs { png, webp } do
                local result, err = app:convert(bytes:sub(1, #bytes / 2))
                assert.is_nil(result)
                assert.matches("^can't ", err)
                assert.is_nil(err:find "no reason")
            end
        end)

        it("refuses a claim of 3600 megapixels by the header, without the memory", function()
            local before = resident()
            local result, err = app:thumbnail(images.png_bomb(60000, 60000))
            assert.is_nil(result)
            assert.equal("the image is 60000 x 60000, 3600 megapixels; max_pixels allows 30",
                err)
            assert.is_true(resident() - before < 16e6)
        end)

        it("raises where it gets no bytes", function()
            for _, action in ipairs { "info", "thumbnail", "convert" } do
                assert.error_matches(function()
                    app[action](app, { 1 })
                end, "the first argument is a table, must be the bytes of an image")
            end
        end)
    end)

    describe("options", function()
        local function assert_raises(message, action, o)
            local ok, err = pcall(app[action], app, two_halves(4, 2), o)
            assert.is_false(ok)
            assert.equal(message, err)
        end

        it("are named with the nearest right one where they are wrong", function()
            assert_raises("thumbnail: unknown option 'widht' (did you mean 'width'?)", "thumbnail",
                { widht = 3 })
            assert_raises("convert: unknown option 'Quality' (did you mean 'quality'?)", "convert",
                { Quality = 3 })
            assert_raises("resize: unknown option 'crop'", "resize", { width = 3, crop = "centre" })
        end)

        it("are held against what they may be", function()
            local sides = "thumbnail: width must be a whole number from 1 to 65500, not "
            for _, width in ipairs { 0, -1, 1.5, 65501, "10", 0 / 0, 1 / 0 } do
                assert_raises(sides .. "'" .. tostring(width) .. "'", "thumbnail",
                    { width = width })
            end
            assert_raises("convert: quality must be a whole number from 1 to 100, not '101'",
                "convert", { quality = 101 })
            assert_raises("convert: format must be one of jpeg, png, webp, not 'gif'", "convert",
                { format = "gif" })
            assert_raises("thumbnail: crop must be one of attention, centre, entropy, not 'true'",
                "thumbnail", { crop = true })
            assert_raises("resize: options must be an object, not a number", "resize", 300)
        end)

        it("of init are checked too", function()
            assert.error_matches(function()
                app:init { max_pixel = 1 }
            end, "unknown option 'max_pixel' %(did you mean 'max_pixels'%?%)")
        end)
    end)

    it("names the package of a library that is missing", function()
        local ffi = require "ffi"
        local load = ffi.load
        finally(function()
            ffi.load = load
        end)
        ffi.load = function(name)
            error(name .. ": cannot open shared object file")
        end
        local ok, err = pcall(app.init, app, {})
        assert.is_false(ok)
        assert.matches("install the Debian package libvips42: .*cannot open shared object", err)
    end)

    it("needs no more memory after 200 calls, good and bad", function()
        local png = noise(400, 400)
        local photo = read_file(PHOTO)
        local function calls(n)
            for _ = 1, n do
                assert(app:convert(png, { format = "png" }))
                assert(app:thumbnail(png, { format = "webp" }))
                assert.is_nil((app:thumbnail(png:sub(1, 200000))))
                assert.is_nil((app:thumbnail(photo:sub(1, 30000))))
                assert.is_nil((app:info "no image"))
            end
            collectgarbage()
            collectgarbage()
        end
        calls(10)
        local before = resident()
        calls(40)
        assert.is_true(resident() - before < 8e6,
            ("grew by %d KB"):format((resident() - before) / 1024))
    end)
end)

describe("apps.image in a worker", function()
    it("answers bytes with bytes and what they are", function()
        local rt = runtime.start { apps = { "apps.image" }, args = { "--workers", "1" } }
        finally(function() rt:close() end)
        local photo = read_file(PHOTO)
        local thumbnail, about = rt:call("apps.image", "thumbnail", photo, { width = 64 })
        assert.same({ format = "jpeg", width = 64, height = 36 }, about)
        local seen = assert(rt:call("apps.image", "info", thumbnail))
        assert.same({ "jpeg", 64, 36 }, { seen.format, seen.width, seen.height })
    end)

    it("fails as APP, and says which formats are taken, for what is no image", function()
        local rt = runtime.start { apps = { "apps.image" }, args = { "--workers", "1" } }
        finally(function() rt:close() end)
        local value, err, info = rt:call("apps.image", "thumbnail", "no image")
        assert.is_nil(value)
        assert.equal("APP", info.code)
        assert.matches("8 bytes that do not begin like any .*; JPEG, PNG and WebP are supported",
            err)
        local _, _, wrong = rt:call("apps.image", "thumbnail", "no image", { widht = 1 })
        assert.matches("unknown option 'widht' %(did you mean 'width'%?%)", wrong.message)
        local r = rt:command("call", { "apps.image", "info", "@/etc/passwd" })
        assert.equal(3, r.exit)
        assert.matches("; JPEG, PNG and WebP are supported", r.stderr)
    end)

    it("works in several lanes of one process at a time", function()
        local rt = runtime.start { apps = { "apps.image" },
            args = { "--workers", "1", "--threads", "4" } }
        finally(function() rt:close() end)
        local callers = {}
        for i = 1, 8 do
            callers[i] = process.start({ process.dirty(), "call", "--socket", rt.socket,
                "--output", rt.dir .. "/" .. i, "apps.image", "thumbnail", "@" .. PHOTO,
                ('{"width":%d}'):format(i * 10) })
        end
        for i, caller in ipairs(callers) do
            assert.same({ exit = 0 }, caller:wait(60))
            caller:close()
            assert.equal(i * 10, rt:call("apps.image", "info", read_file(rt.dir .. "/" .. i)).width)
        end
        assert.equal(1, #rt:status().workers)
        assert.equal(1, rt:status().workers[1].generation)
    end)

    it("takes its options from the configuration", function()
        local rt = runtime.start { args = { "--workers", "1" }, config = [[
            apps = { small = { module = "apps.image", options = { max_pixels = 1000 } } }]] }
        finally(function() rt:close() end)
        local value, err = rt:call("small", "info", two_halves(40, 30))
        assert.is_nil(value)
        assert.matches("the image is 40 x 30, 0.0012 megapixels; max_pixels allows 0.001", err)
    end)

    it("does not boot with an option that it has not", function()
        local rt = runtime.launch { args = { "--workers", "1" }, config = [[
            apps = { small = { module = "apps.image", options = { max_pixel = 1000 } } }]] }
        finally(function() rt:close() end)
        assert.same({ exit = 4 }, rt:wait(20))
        assert.matches("unknown option 'max_pixel' %(did you mean 'max_pixels'%?%)", rt:log())
    end)
end)
