-- docs/lua-api.md against the sources: names of the module, options and methods of clients, fields
-- of the running call; its pieces run.
local dirty = require "dirty"
local document = require "support.document"
local options = require "dirty.client.options"
local runtime = require "support.runtime"

local TEXT = document.text "docs/lua-api.md"

-- The first quoted word of each row below a heading, and the row.
local function rows(heading, pattern)
    local found = {}
    for _, row in ipairs(document.rows(document.section(TEXT, heading))) do
        local name = row[1]:match(pattern)
        if name then
            found[name] = row
        end
    end
    return found
end

describe("docs/lua-api.md", function()
    it("lists what the module has", function()
        local told = rows("## The module", "^`dirty%.([%l_]+)")
        for name in pairs(dirty) do
            -- `declared` is for the runtime itself
            assert.truthy(name == "_VERSION" or name == "declared" or told[name], name)
        end
        for name in pairs(told) do
            assert.is_not_nil(dirty[name], name)
        end
    end)

    it("lists the options of clients with their defaults", function()
        local told = rows("## Clients", "^`([%l_]+)`$")
        for _, name in ipairs(options.OF_CLIENTS) do
            local default = options.DEFAULTS[name]
            assert.truthy(told[name], name)
            if default then
                assert.equal(tostring(default), told[name][3], name)
            end
            told[name] = nil
        end
        assert.same({}, told)
    end)

    it("lists the methods of both clients", function()
        local told, seen = rows("## Clients", "^`client:(%l+)%("), {}
        for _, path in ipairs { "lua/dirty/client.lua", "lua/resty/dirty.lua",
            "lua/dirty/client/base.lua" } do
            for name in document.text(path):gmatch "\n%s*function methods:(%l+)%(" do
                assert.truthy(told[name], name)
                seen[name] = true
            end
        end
        for name in pairs(told) do
            assert.is_true(seen[name], name)
        end
    end)

    it("lists the fields of the running call", function()
        local rt = runtime.start { apps = { "asked" }, args = { "--workers", "1" },
            files = { ["asked.lua"] = [[
                local dirty = require "dirty"
                return { field = function(_, name) return tostring(dirty.request[name]) end }]] } }
        finally(function() rt:close() end)
        local count = 0
        for _, row in ipairs(document.rows(document.section(TEXT, "## The running call"))) do
            for _, name in ipairs(document.quoted(row[1])) do
                assert.is_string(assert(rt:call("asked", "field", name)))
                count = count + 1
            end
        end
        assert.equal(7, count)
        assert.is_nil((rt:call("asked", "field", "nothing")))
    end)

    it("has pieces that run", function()
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        finally(function() rt:close() end)
        local pieces = {}
        for code in TEXT:gmatch "```lua\n(.-)```" do
            pieces[#pieces + 1] = assert(loadstring(code))
        end
        assert.equal(2, #pieces)
        local printed = {}
        setfenv(pieces[2], { assert = assert, client = rt:client(), print = function(value)
            printed[#printed + 1] = value
        end })()
        assert.same({ 1, 2, 3 }, printed)
    end)
end)
