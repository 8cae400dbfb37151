-- docs/protocol.md is normative: its tables are those of the sources, its examples those of
-- the fixtures.
local errors = require "dirty.errors"
local fixtures = require "support.fixtures"
local constants = require "dirty.wire.constants"

local function file_text(path)
    local file = assert(io.open(path))
    local text = file:read("*a")
    file:close()
    return text
end

local protocol = file_text("docs/protocol.md")

-- Rows of DIRTY_ERRORS, by name.
local function header_rows()
    local rows = {}
    local text = file_text("runtime/include/dirty_errors.h"):gsub("%s*\\\n%s*", " ")
    for name, number, http, started, retry, words in text:gmatch(
        'X%((%u[%u_]*), (%d+), (%d+), "(%a+)", "(%a+)", "(.-)"%)') do
        rows[name] = {
            code = name, number = tonumber(number), http_status = tonumber(http),
            started = started, retry = retry, text = words,
        }
    end
    return rows
end

local function section(title)
    local text = protocol:match("\n#+ [%d.]+ " .. title .. "\n(.-)\n##")
    assert(text, "no section " .. title)
    return text
end

describe("the error codes", function()
    it("are in the protocol's table as in the header", function()
        local rows = header_rows()
        assert.truthy(rows.TIMEOUT and rows.MEMORY)
        for number, name, words, started, retry, http in section("Codes"):gmatch(
            "\n| (%d+) | `([%u_]+)` | (.-) | (%a+) | (%a+) | (%d+) |") do
            assert.same(rows[name], {
                code = name, number = tonumber(number), http_status = tonumber(http),
                started = started, retry = retry, text = words,
            })
            rows[name] = nil
        end
        assert.same({}, rows)
    end)

    it("are in dirty.errors as in the header", function()
        local rows = header_rows()
        for key, entry in pairs(errors.codes) do
            assert.same(rows[entry.code], entry)
            assert.truthy(key == entry.code or key == entry.number)
        end
        for name in pairs(rows) do
            assert.truthy(errors.codes[name], name)
        end
    end)

    it("that are not known have an entry too", function()
        assert.equal("APP", errors.of(3).code)
        assert.equal("UNKNOWN", errors.of(999).code)
        assert.equal(999, errors.of(999).number)
    end)
end)

describe("the faults", function()
    it("are all in the protocol's table", function()
        local left = {}
        for name in pairs(constants.FAULTS) do
            left[name] = true
        end
        for name in section("Faults"):gmatch("\n| `([%u_]+)` |") do
            assert.truthy(left[name], name .. " is no fault, or told twice")
            left[name] = nil
        end
        assert.same({}, left)
    end)
end)

describe("the numbers in the protocol", function()
    local function define(file, name)
        return (file_text(file):match("#define " .. name .. " ([^\n]+)"))
    end

    it("are those of the sources", function()
        assert.equal("(64u << 20)", define("runtime/wire/frame.h", "DIRTY_MAX_MESSAGE_DEFAULT"))
        assert.equal("255", define("runtime/wire/value.h", "DIRTY_MAX_ARGS_DEFAULT"))
        assert.equal("8192", define("runtime/base/channel.h", "DIRTY_HEAD_BYTES_MAX"))
        assert.equal(tostring(constants.ERROR_MESSAGE_MAX),
            define("runtime/wire/frame.h", "DIRTY_ERROR_MESSAGE_MAX"))
        assert.equal(tostring(constants.ERROR_DETAILS_MAX),
            define("runtime/wire/frame.h", "DIRTY_ERROR_DETAILS_MAX"))
        local limits = section("Limits")
        for _, number in ipairs { 67108864, constants.ERROR_PAYLOAD_MAX, 255, 1000, 8192 } do
            assert.truthy(limits:find("%f[%d]" .. number .. "%f[%D]"), tostring(number))
        end
    end)
end)

describe("the examples in the protocol", function()
    -- "0010  44 57 …  |DW…|": the bytes of one line, and what the right column should show
    local function line_bytes(line)
        local offset, hex, shown = line:match("^(%x+)  ([%x ]-) +|(.*)|$")
        assert(offset, "not a line of a dump: " .. line)
        local bytes = hex:gsub("(%x%x) *", function(digits)
            return string.char(tonumber(digits, 16))
        end)
        assert.equal(bytes:gsub("[^\32-\126]", "."), shown)
        return tonumber(offset, 16), bytes
    end

    it("are the fixtures of their names", function()
        local valid, count = fixtures.load("valid"), 0
        for name, dump in protocol:gmatch("`([%w_]+)`:\n\n```hexdump\n(.-)```") do
            local bytes = ""
            for line in dump:gmatch("[^\n]+") do
                local offset, more = line_bytes(line)
                assert.equal(#bytes, offset)
                bytes = bytes .. more
            end
            assert(valid[name], "no fixture " .. name)
            assert.equal(valid[name].frame, bytes)
            count = count + 1
        end
        assert.truthy(count >= 6)
        local _, dumps = protocol:gsub("```hexdump", "")
        assert.equal(dumps, count)
    end)

    it("link within the text", function()
        local anchors = {}
        for title in protocol:gmatch("\n#+ ([^\n]+)") do
            anchors[title:lower():gsub("[^%w %-]", ""):gsub(" ", "-")] = true
        end
        for anchor in protocol:gmatch("%]%(#([%w%-]+)%)") do
            assert.truthy(anchors[anchor], "no section #" .. anchor)
        end
    end)
end)
