-- types/: the annotations for LuaLS name what the code has, no more and no less.
local options = require "dirty.config.options"
local options_of = require "dirty.client.options"
local dirty = require "dirty"
local spec = require "dirty.config.spec"
local tempdir = require "support.tempdir"

-- The functions of a file: parameters by name. `owner` is the table before the dot or colon.
local function functions_of(path, owner)
    local found = {}
    for name, parameters in tempdir.read(path):gmatch("\nfunction " .. owner
        .. "[.:]([%w_]+)(%b())") do
        found[name] = parameters
    end
    return found
end

-- The fields of a class.
local function fields_of(path, class)
    local found, inside = {}, false
    for line in tempdir.read(path):gmatch("[^\n]+") do
        local name = line:match("^%-%-%-@class ([%w_.]+)")
        if name then
            inside = name == class
        elseif inside then
            local field = line:match("^%-%-%-@field ([%w_]+)")
            found[#found + 1] = field
            inside = line:find("^%-%-%-@") ~= nil
        end
    end
    table.sort(found)
    return found
end

local function sorted(list)
    local out = { unpack(list) }
    table.sort(out)
    return out
end

local function merged(a, b)
    for name, value in pairs(b) do
        a[name] = value
    end
    return a
end

local DIRTY, TESTING, RESTY = "types/dirty.lua", "types/dirty.testing.lua", "types/resty.dirty.lua"

describe("types", function()
    it("are Lua", function()
        for _, name in ipairs { DIRTY, TESTING, RESTY, "types/dirty.conf.lua" } do
            assert.is_function(loadfile(name), name)
        end
    end)

    it("have the functions of dirty", function()
        local ours = functions_of("lua/dirty/init.lua", "_M")
        ours.client = functions_of("lua/dirty/client.lua", "_M").new -- loaded on first use
        assert.same(ours, functions_of(DIRTY, "dirty"))
        local log = functions_of(DIRTY, "log")
        for level in pairs(dirty.log) do
            assert.equal("(msg, fields)", log[level])
            log[level] = nil
        end
        assert.same({}, log)
        assert.same({ "log", "null", "request" }, fields_of(DIRTY, "dirty"))
        for _, name in ipairs(fields_of(DIRTY, "dirty")) do
            assert.is_not_nil(dirty[name], name)
        end
    end)

    it("have the methods of clients and streams", function()
        local ours = merged(functions_of("lua/dirty/client.lua", "methods"),
            { status = "()", metrics = "()" })
        assert.same(ours, functions_of(DIRTY, "client"))
        assert.same(functions_of("lua/dirty/client/stream.lua", "methods"),
            functions_of(DIRTY, "stream"))
        assert.same(functions_of("lua/resty/dirty.lua", "methods"), functions_of(RESTY, "client"))
        assert.same({ new = "(options)", client = "(options)" },
            functions_of(RESTY, "resty_dirty"))
        for name in pairs { status = 1, metrics = 1 } do -- of dirty.client.base, inherited
            assert.truthy(tempdir.read("lua/dirty/client/base.lua")
                :find("function methods:" .. name .. "()", 1, true))
        end
    end)

    it("have what dirty.testing has", function()
        assert.same(functions_of("lua/dirty/testing.lua", "_M"), functions_of(TESTING, "testing"))
        assert.same(functions_of("lua/dirty/testing.lua", "methods"), functions_of(TESTING, "app"))
    end)

    it("have the options of clients, calls and apps", function()
        assert.same(sorted(options_of.OF_CLIENTS), fields_of(DIRTY, "dirty.client.options"))
        assert.same(sorted(options_of.OF_CALLS), fields_of(DIRTY, "dirty.call.options"))
        local declared, others = {}, {}
        for _, name in ipairs(spec.FIELDS) do
            local list = spec.DECLARED[name] and declared or others
            list[#list + 1] = name
        end
        assert.same(sorted(declared), fields_of(DIRTY, "dirty.declaration"))
        assert.same(sorted(others), fields_of("types/dirty.conf.lua", "dirty.conf.app"))
    end)

    it("have the options and hooks of the configuration", function()
        local text, names = tempdir.read("types/dirty.conf.lua"), {}
        for name in text:gmatch("\n([%w_]+) = nil") do
            names[#names + 1] = name
        end
        for name in text:gmatch("\nfunction ([%w_]+)%(") do
            names[#names + 1] = name
        end
        assert.same(sorted(options.names), sorted(names))
        for _, hook in ipairs(options.hooks) do
            assert.truthy(text:find("function " .. hook.help:match("^[%w_]+%b()"), 1, true),
                hook.name)
        end
    end)
end)
