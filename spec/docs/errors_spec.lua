-- docs/errors.md: its codes are those of the sources, its failures those that callers meet.
local document = require "support.document"
local errors = require "dirty.errors"
local exit = require "dirty.cli.exit"
local failures = require "support.failures"

local TEXT = document.text "docs/errors.md"
local CODES = 13

describe("docs/errors.md", function()
    it("has every error code as it is", function()
        local rows = {}
        for _, row in ipairs(document.rows(document.section(TEXT, "## The codes"))) do
            rows[row[1]:match "`(.-)`"] = row
        end
        local list, count = document.text "runtime/include/dirty_errors.h", 0
        for code, http, started, retry, words in list:gmatch(
            'X%((%u[%u_]+), %d+, (%d+), "(%a+)",%s*"(%a+)",%s*"([^"]+)"%)') do
            local wanted = { words, started, retry, http, tostring(exit.of_code(code)) }
            assert.same(wanted, { unpack(assert(rows[code], code), 2, 6) }, code)
            assert.equal(tonumber(http), errors.codes[code].http_status, code)
            rows[code] = nil
            count = count + 1
        end
        assert.equal(CODES, count)
        assert.same({}, rows)
    end)

    it("shows failures as they look", function()
        local seen, shown, codes = failures.provoke(), {}, 0
        for _, row in ipairs(document.rows(document.section(TEXT,
            "## When it happens, and what to do"))) do
            local code, words = row[1]:match "`(.-)`", row[2]:match "`(.*)`"
            local name = failures.find(seen, words)
            assert.truthy(name, words)
            assert.equal(code, name:match "^[A-Z_]+", words)
            codes = codes + (shown[code] and 0 or 1)
            shown[code] = true
        end
        assert.equal(CODES, codes)
    end)

    it("has an example that compiles", function()
        assert.is_function(loadstring(TEXT:match "```lua\n(.-)```"))
    end)
end)
