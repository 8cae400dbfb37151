-- What is JSON, every receiver of the project tells as RFC 8259 does: the lane, the arbiter, the
-- C library, and what reads JSON in Lua. Python's json is the judge.
local json_texts = require "support.json_texts"
local process = require "support.process"
local raw = require "support.raw"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local values = require "dirty.values"
local wait = require "support.wait"
local wire = require "dirty.wire"

local SEED, COUNT = 8259, 700

local codec = wire.new()
local texts = json_texts.texts(SEED, COUNT)

local function hex(text)
    return (text:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

-- The verdicts that a program prints.
local function told_by(argv, env)
    local r = process.run(argv, { env = env, seconds = 60 * wait.SLOW })
    assert.equal("", r.stderr)
    local verdicts = r.stdout:match("^([01]+)\n$")
    assert.equal(#texts, #verdicts)
    return verdicts
end

-- A call with a value of tag j that nobody has looked at.
local function frame_of(app, action, text)
    local function u32(n)
        return string.char(math.floor(n / 2 ^ 24), math.floor(n / 2 ^ 16) % 256,
            math.floor(n / 256) % 256, n % 256)
    end
    local payload = u32(20000) .. "\5\0\0\1" .. string.char(#app, #action) .. app .. action
        .. "j" .. u32(#text) .. text
    return "DW\1\1" .. u32(#payload) .. "\0\0\0\0\0\0\0\1" .. payload
end

describe("JSON text", function()
    local dir, path, rt, puppet, should

    setup(function()
        dir = tempdir.new()
        path = dir .. "/texts"
        local lines = {}
        for i, text in ipairs(texts) do
            lines[i] = hex(text)
        end
        tempdir.write(path, table.concat(lines, "\n") .. "\n")
        should = told_by { "python3", "spec/support/json_verdicts.py", path }
        rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        puppet = process.start({ "luajit", "spec/support/puppet.lua", dir .. "/puppet" }, {
            env = { LUA_PATH = "./lua/?.lua;./lua/?/init.lua;./spec/?.lua;;" },
        })
        wait.until_true(function()
            return unistd.access(dir .. "/puppet", "f") == 0 or puppet:ended()
        end, 10, "the puppet listens")
    end)

    teardown(function()
        rt:close()
        puppet:close()
        tempdir.remove(dir)
    end)

    -- `takes` gives true, or false and the words.
    local function compare(takes)
        local wrong = {}
        for i, text in ipairs(texts) do
            local taken, words = takes(text)
            taken = taken or words:find("can't hold", 1, true) ~= nil -- a number, but it is JSON
            if taken ~= (should:sub(i, i) == "1") then
                wrong[#wrong + 1] = ("%q %s"):format(text, taken and "taken" or "refused: "
                    .. tostring(words))
            elseif not taken and not words:find("at character %d+") then
                wrong[#wrong + 1] = ("%q is refused without the place: %s"):format(text, words)
            end
        end
        assert.equal("", table.concat(wrong, "\n", 1, math.min(#wrong, 40)))
    end

    -- Of an app or service that the runtime has.
    local function ask_runtime(app, action)
        local connection
        finally(function()
            if connection then
                connection:close()
            end
        end)
        return function(text)
            connection = connection or raw.connect(rt.socket)
            assert(connection:send(frame_of(app, action, text)))
            local kind, id, said = connection:frame()
            if kind == codec.RESPONSE then
                return true
            end
            assert.equal(codec.ERROR, kind, id)
            assert.equal("BAD_JSON", said.details.fault, text)
            assert.equal("no", said.details.started)
            connection:close()
            connection = nil
            return false, said.message
        end
    end

    it("is judged by a reference, in both directions", function()
        local _, taken = should:gsub("1", "")
        assert.truthy(taken > #texts / 5 and taken < #texts * 4 / 5, taken)
    end)

    it("is the same to a lane", function()
        compare(ask_runtime("apps.echo", "noop"))
    end)

    it("is the same to the arbiter's own services", function()
        compare(ask_runtime("@arbiter", "ping"))
    end)

    it("is the same to libdirty", function()
        local client = require("dirty").client { socket = dir .. "/puppet" }
        compare(function(text)
            local _, err, info = client:execute("app", "json", text)
            if not err then
                return true
            end
            assert.equal("PROTOCOL", info.code)
            assert.matches("value 1", err)
            return false, err
        end)
    end)

    it("is the same to clients in Lua", function()
        local lua = values.new()
        compare(function(text) return lua:from_json(text) end)
        compare(function(text)
            local ok, _, words = codec:decode_json(text)
            return ok or false, words
        end)
    end)

    for _, lua in ipairs { "lua5.1", "lua5.4" } do
        it("is the same in " .. lua, function()
            local verdicts = told_by({ lua, "spec/support/json_verdicts.lua", path },
                { LUA_PATH = "./lua/?.lua;./spec/?.lua;;" })
            local at = 0
            compare(function()
                at = at + 1
                return verdicts:sub(at, at) == "1", "at character 1"
            end)
        end)
    end

    it("is the same to the command line, which sends the rest as a string", function()
        local function length(arg)
            return rt:command("call", { "apps.echo", "length", arg }).stdout
        end
        for _, text in ipairs { "1.", "[1.]", "-.5", '"a\1"', "01", "[1.e2]", "nul" } do
            assert.equal(#text .. "\n", length(text))
        end
        assert.equal("1\n", length('"a"')) -- a string in JSON
        for _, text in ipairs { "1.5", "null", "true" } do
            assert.equal("", length(text)) -- none
        end
        local r = rt:command("call", { "--metadata", "[1.]", "apps.echo", "noop" })
        assert.equal(2, r.exit)
        assert.matches("must be a JSON value", r.stderr)
    end)

    it("has a character for half a pair of surrogates", function()
        local replaced = "\239\191\189"
        local lua = values.new()
        for text, means in pairs {
            ['"\\ud800"'] = replaced, ['"a\\udc00b"'] = "a" .. replaced .. "b",
            ['"\\ud800\\ud83d\\ude00"'] = replaced .. "\240\159\152\128",
            ['"\\\\ud800"'] = "\\ud800", ['"\\ud800\\\\"'] = replaced .. "\\",
        } do
            assert.equal(means, (select(2, lua:from_json(text))))
            local connection = raw.connect(rt.socket)
            assert(connection:send(frame_of("apps.echo", "echo", text)))
            local _, _, said = connection:frame()
            connection:close()
            assert.same({ means }, said.values)
        end
    end)
end)
