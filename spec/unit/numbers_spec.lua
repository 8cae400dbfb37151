-- JSON in which every number is exact: what writes and reads it in Lua, and in a lane.
local checks = require "support.number_checks"
local locale = require "support.locale"
local process = require "support.process"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"

local cjson = require "cjson"

-- An app that checks the writer of its lane, and gives and takes numbers.
local NUMBERS = [[
package.path = "%s/spec/?.lua;" .. package.path
local Numbers = {}
function Numbers:init(options) self.options = options end
function Numbers:check()
    local checks = require "support.number_checks"
    local host = require "dirty.host"
    return checks.write(host.json_encoder(require("cjson").new(), checks.MAX_DEPTH))
end
function Numbers:given() return self.options end
function Numbers:echo(...) return ... end
function Numbers:raise(t) error(t) end
function Numbers:give_up(t) return nil, t end
function Numbers:metadata() return require("dirty").request.metadata end
function Numbers:stream(t) return pairs(t) end
return Numbers]]

local LONG = { id = 1234567890123456, share = 0.1 + 0.2, least = 5e-324,
    most = { { 1.7976931348623157e308, -2 ^ 53 } } }

describe("JSON", function()
    describe("written in Lua", function()
        for _, name in ipairs(checks.WRITING) do
            it(name, function() checks[name](checks.encoder()) end)
        end
    end)

    describe("read in Lua", function()
        for _, name in ipairs(checks.READING) do
            it(name, function() checks[name]() end)
        end
    end)

    it("is the same in every Lua that a client may run in, and under a decimal comma", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        local env = { LUA_PATH = "./lua/?.lua;./spec/?.lua;;", LOCPATH = locale.make(dir) }
        for _, lua in ipairs { "luajit", "lua5.1", "lua5.4" } do
            local result = process.run({ lua, "spec/support/number_checks.lua", locale.COMMA },
                { env = env, seconds = 60 })
            assert.truthy(result.stdout:find "^%d+ passed\n$", lua .. ": " .. result.stderr)
        end
    end)
end)

describe("numbers in tables", function()
    local rt
    setup(function()
        local root = process.run({ "pwd" }).stdout:gsub("\n$", "")
        rt = runtime.start {
            files = { ["numbers.lua"] = NUMBERS:format(root) },
            config = [[workers = 1
                apps = { { module = "numbers", options = { id = 1234567890123456,
                    list = { 0.1 + 0.2, 2 ^ 60 } } } }]],
        }
    end)
    teardown(function() rt:close() end)

    it("are written by a lane as checks for Lua demand it", function()
        assert.equal(#checks.WRITING, rt:client { timeout = 60 }:execute("numbers", "check"))
    end)

    it("come back as they went, as arguments, results, chunks and metadata", function()
        local list, row = rt:call("numbers", "echo", { LONG, LONG.id }, LONG)
        assert.same({ LONG, LONG.id }, list)
        assert.same(LONG, row)
        local client = rt:client():with { metadata = LONG }
        assert.same(LONG, client:execute("numbers", "metadata"))
        local seen = {}
        for key, value in assert(client:stream("numbers", "stream", { LONG, { LONG } })) do
            seen[key] = value
        end
        assert.same({ LONG, { LONG } }, seen)
    end)

    it("are right in errors", function()
        for _, action in ipairs { "raise", "give_up" } do
            local _, err, info = rt:call("numbers", action, LONG)
            assert.equal("APP", info.code)
            assert.same(LONG, info.error)
            assert.truthy(err:find('"id":1234567890123456', 1, true), err)
        end
    end)

    it("are right in the options of apps, wherever these pass", function()
        assert.same({ id = 1234567890123456, list = { 0.1 + 0.2, 2 ^ 60 } },
            rt:call("numbers", "given"))
        local config = rt.dir .. "/dirty.conf.lua"
        local shown = process.run_dirty { "config", "--config", config, "--json" }
        assert.truthy(shown.stdout:find('"id":1234567890123456', 1, true), shown.stdout)
        assert.truthy(shown.stdout:find("0.30000000000000004", 1, true), shown.stdout)
        local as_lua = process.run_dirty { "config", "--config", config }
        assert.truthy(as_lua.stdout:find("id = 1234567890123456", 1, true), as_lua.stdout)
    end)

    it("are refused by a lane that can't hold them, with their place", function()
        for json, place in pairs {
            ['[{"id":9007199254740993}]'] = "argument 1: [1].id is 9007199254740993, ",
            ["9007199254740993"] = "argument 1: it is 9007199254740993, ",
            ['{"a":{"b":[1,1e999]}}'] = "argument 1: .a.b[2] is 1e999, ",
            ["-1e400"] = "argument 1: it is -1e400, ",
        } do
            local r = rt:command("call", { "numbers", "echo", json })
            assert.truthy(r.stderr:find(place .. "which a Lua number can't hold: send it as a "
                .. "string", 1, true), r.stderr)
            assert.truthy(r.stderr:find("PROTOCOL", 1, true), r.stderr)
            r = rt:command("call", { "numbers", "metadata", "--metadata", '{"m":' .. json .. "}" })
            assert.truthy(r.stderr:find((place:gsub("argument 1: ", "the metadata: .m")
                :gsub("it is", " is")), 1, true), r.stderr)
        end
    end)

    it("may have any digits in strings and fractions", function()
        for _, json in ipairs { '["9007199254740993","a 9007199254740993"]', "[9007199254740994]",
            "[0.12345678901234567]", "[1.2345678901234567e+200]", "[1e-400]" } do
            local r = rt:command("call", { "numbers", "echo", json })
            assert.equal(0, r.exit, r.stderr)
            assert.same(cjson.decode(json), cjson.decode(r.stdout))
        end
    end)
end)
