local checks = require "support.wire_checks"
local fixtures = require "support.fixtures"
local pack = require "dirty.wire.pack"
local wire = require "dirty.wire"

local codec = wire.new()
local RESPONSE, CHUNK = codec.RESPONSE, codec.CHUNK

local function frame_of(...)
    local pieces, len = assert(...)
    local frame = table.concat(pieces)
    assert.equal(#frame, len)
    return frame
end

local function file_text(path)
    local file = assert(io.open(path))
    local text = file:read("*a")
    file:close()
    return text
end

describe("the fixtures in Lua", function()
    it("decode to what they say", function() checks.run("meaning") end)
    it("are read the same by a reader", function() checks.run("reading") end)
    it("are written byte for byte", function() checks.run("writing") end)
    it("are incomplete when they are cut", function() checks.run("cutting") end)
    it("give the fault they should", function() checks.run("fault") end)

    it("pass in every Lua that a client may run in", function()
        for _, lua in ipairs { "lua5.1", "lua5.4" } do
            local command = ("LUA_PATH='./lua/?.lua;./spec/?.lua;;' %s "
                .. "spec/support/wire_checks.lua 2>&1"):format(lua)
            local pipe = io.popen(command)
            local output = pipe:read("*a")
            pipe:close()
            assert.truthy(output:find("^%d+ passed\n$"), lua .. ": " .. output)
        end
    end)
end)

describe("the head of a request", function()
    it("is the same with FFI and without", function()
        local names = codec:encode_names(("a"):rep(255), "b")
        local deadlines = { false, 0, 1, 2 ^ 32 - 1, 2 ^ 32, 1.5e18 + 0.75, 2 ^ 63 - 1024, 2 ^ 63,
            2 ^ 70 }
        for _, id in ipairs { 0, 1, 255, 2 ^ 31, 2 ^ 32 - 1, 2 ^ 32, 2 ^ 53 - 1 } do
            for _, len in ipairs { 0, 300, 2 ^ 31, 2 ^ 32 - 1 } do
                for _, deadline_ns in ipairs(deadlines) do
                    local head = { id, len, 2 ^ 32 - 1 - id % 2, 9, 3, 65535 - id % 2, names,
                        deadline_ns or nil }
                    assert.equal(pack.joined(unpack(head, 1, 8)), pack.written(unpack(head, 1, 8)))
                end
            end
        end
    end)

    it("has no room for what does not fit", function()
        local long = ("x"):rep(600)
        assert.equal(pack.joined(1, 2, 3, 4, 0, 0, long, 5),
            pack.written(1, 2, 3, 4, 0, 0, long, 5))
        assert.has_error(function() pack.written(1, 2, 2 ^ 32, 4, 0, 0, "", 5) end)
        assert.has_error(function() pack.written(1, 2, 3, 4, 0, 65536, "", 5) end)
    end)
end)

describe("the faults in Lua", function()
    it("are those of the C header, in the same words", function()
        local header, source = file_text("runtime/wire/fault.h"), file_text("runtime/wire/fault.c")
        source = source:gsub('"%s*\n%s*"', "") -- join texts that go on in the next line
        local count = 0
        for name, number in header:gmatch("DIRTY_WIRE_([%u_]+) = (-%d+)") do
            local text = source:match("%[%-DIRTY_WIRE_" .. name .. '%]%s*=%s*{%s*"' .. name
                .. '",%s*"(.-)"}')
            assert.truthy(text, name .. " (" .. number .. ") is not in fault.c")
            assert.equal((text:gsub('\\"', '"')), codec.FAULTS[name])
            count = count + 1
        end
        for _ in pairs(codec.FAULTS) do
            count = count - 1
        end
        assert.equal(0, count)
    end)

    it("have a fixture each", function()
        local left = {}
        for name in pairs(codec.FAULTS) do
            left[name] = true
        end
        for _, f in ipairs(fixtures.load("invalid")) do
            left[f.fault] = nil
        end
        assert.same({}, left)
    end)
end)

describe("ids", function()
    local function round(id)
        local _, _, back = codec:decode_header(frame_of(codec:encode_end(id)))
        return back
    end

    it("below 2^53 are numbers", function()
        local edge = 2 ^ 32
        for _, id in ipairs { 0, 1, 255, 256, edge / 2, edge - 1, edge, edge + 1, 2 ^ 53 - 1 } do
            assert.equal(id, round(id))
        end
    end)

    it("from there up are strings", function()
        for _, id in ipairs { "\0\32\0\0\0\0\0\0", "\255\255\255\255\255\255\255\255" } do
            assert.equal(id, round(id))
        end
    end)
end)

describe("values", function()
    local function round(...)
        local count = select("#", ...)
        local frame = frame_of(codec:encode_values(RESPONSE, 1, { ... }, count))
        local back, back_count = codec:decode_values(frame:sub(17))
        assert.equal(count, back_count)
        return unpack(back, 1, back_count)
    end

    it("come back unchanged", function()
        local list = { "", "a\0\255b", true, false, 0, -1, 0.1, 1e300, 2 ^ 53 + 2, 1 / 3,
            { 1, 2, { x = "y" } } }
        assert.same(list, { round(unpack(list)) })
    end)

    it("keep nils, at the end too", function()
        assert.equal(3, select("#", round(nil, 1, nil)))
        assert.same({ nil, 1, nil }, { round(nil, 1, nil) })
    end)

    it("keep every double at the top", function()
        for _ = 1, 2000 do
            local n = (math.random() - 0.5) * 10 ^ math.random(-300, 300)
            assert.equal(n, (round(n)))
        end
    end)

    it("of JSON's null are nil at the top and dirty.null inside", function()
        local null = require("cjson").null
        local top, inside = round(null, { null })
        assert.is_nil(top)
        assert.equal(null, inside[1])
    end)

    it("that can't be sent name their place", function()
        local cyclic = {}
        cyclic[1] = cyclic
        local deep = {}
        for _ = 1, 1001 do
            deep = { deep }
        end
        for _, bad in ipairs { print, coroutine.create(print), 0 / 0, 1 / 0, -1 / 0, { 0 / 0 },
            { [1000] = 1 }, { [print] = 1 }, cyclic, deep } do
            local pieces, fault, text = codec:encode_values(RESPONSE, 1, { "x", bad }, 2)
            assert.is_nil(pieces)
            assert.equal("BAD_VALUE", fault)
            assert.truthy(text:find("^#2 "), text)
        end
    end)

    it("may nest as deep as max_depth", function()
        local shallow = wire.new { max_depth = 3 }
        assert.truthy(shallow:encode_values(RESPONSE, 1, { { { {} } } }, 1))
        assert.is_nil((shallow:encode_values(RESPONSE, 1, { { { { {} } } } }, 1)))
        assert.truthy(shallow:decode_json("[[[]]]"))
        assert.is_nil((shallow:decode_json("[[[[]]]]")))
    end)

    it("don't change with the settings of the shared cjson", function()
        local cjson = require "cjson"
        cjson.encode_invalid_numbers(true)
        cjson.decode_max_depth(1)
        finally(function()
            cjson.encode_invalid_numbers(false)
            cjson.decode_max_depth(1000)
        end)
        assert.is_nil((wire.new():encode_values(RESPONSE, 1, { { 0 / 0 } }, 1)))
        assert.truthy(wire.new():decode_json("[[[]]]"))
    end)

    it("are bytes where they are strings, also of bad UTF-8 inside JSON", function()
        assert.equal("\255\254", (round("\255\254")))
        assert.equal("\255\254", (round({ "\255\254" }))[1])
    end)
end)

describe("limits", function()
    local function request_of(len, limits)
        return wire.new(limits):encode_request(1, { app = "a", action = "b" },
            { ("x"):rep(len) }, 1)
    end

    it("of a payload hold to the byte, both ways", function()
        -- 12 bytes of route and 5 of the value's head
        local limits = { max_message = 117 }
        assert.truthy(request_of(100, limits))
        local pieces, fault = request_of(101, limits)
        assert.is_nil(pieces)
        assert.equal("TOO_LONG", fault)
        local tight = wire.new(limits)
        assert.equal(1, (tight:decode_header(frame_of(request_of(100, {})):sub(1, 16))))
        assert.equal("TOO_LONG",
            select(2, tight:decode_header(frame_of(request_of(101, {})):sub(1, 16))))
    end)

    it("of values hold, both ways", function()
        local few = wire.new { max_args = 2 }
        for _, kind in ipairs { RESPONSE, CHUNK } do
            assert.truthy(few:encode_values(kind, 1, { 1, 2 }, 2))
            assert.equal("TOO_MANY", select(2, few:encode_values(kind, 1, { 1, 2, 3 }, 3)))
            local three = frame_of(codec:encode_values(kind, 1, { 1, 2, 3 }, 3))
            assert.equal("TOO_MANY", select(2, few:decode_values(three:sub(17))))
        end
        local call = { app = "a", action = "b" }
        assert.equal("TOO_MANY", select(2, few:encode_request(1, call, {}, 3)))
        local three = frame_of(codec:encode_request(1, call, {}, 3))
        assert.equal("TOO_MANY", select(2, few:decode_request(three:sub(17))))
        assert.truthy(few:encode_request(1, call, {}, 2))
    end)

    it("of errors are their own", function()
        local tight = wire.new { max_message = 10 }
        local long = frame_of(codec:encode_error(1, 3, ("m"):rep(70000),
            '{"a":"' .. ("d"):rep(262144 - 8) .. '"}'))
        local _, len = assert(tight:decode_header(long))
        assert.equal(codec.ERROR_PAYLOAD_MAX, len)
        local said = assert(tight:decode_error(long:sub(17)))
        assert.equal(65536, #said.message)
    end)
end)

describe("a request that no server would accept", function()
    local function fault_of(call)
        return (select(2, codec:encode_request(1, call, {}, 0)))
    end

    it("is not written", function()
        for _, name in ipairs { "", "a b", "a\0b", "a\n", "\127", "\195\169", ("x"):rep(256) } do
            assert.equal("BAD_NAME", fault_of { app = name, action = "b" })
            assert.equal("BAD_NAME", fault_of { app = "a", action = name })
        end
        for _, priority in ipairs { -1, 10, 0.5, 0 / 0 } do
            assert.equal("BAD_PRIORITY", fault_of { app = "a", action = "b", priority = priority })
        end
    end)

    it("has defaults for what is left out", function()
        local request = assert(codec:decode_request(frame_of(
            codec:encode_request(1, { app = "a", action = "b" }, {}, 0)):sub(17)))
        assert.same({ 0, 5, false }, { request.budget_ms, request.priority, request.has_metadata })
    end)

    it("carries a deadline as near as a double tells it", function()
        local function round(ns)
            local call = { app = "a", action = "b", deadline_ns = ns, metadata = "1" }
            local request = assert(codec:decode_request(frame_of(
                codec:encode_request(1, call, { "arg" }, 1)):sub(17)))
            assert.same({ 1, { "arg" } }, { request.metadata, request.args })
            return request.deadline_ns
        end
        for _, ns in ipairs { 0, 1, 2 ^ 32 - 1, 2 ^ 32, 2 ^ 53 - 1, 2 ^ 53, 2 ^ 62 } do
            assert.equal(ns, round(ns))
        end
        assert.equal(1, round(1.75))
        assert.equal(2 ^ 63, round(2 ^ 63))
        assert.equal(2 ^ 63, round(math.huge))
        for _, wrong in ipairs { -1, 0 / 0 } do
            assert.equal("BAD_EXTENSION",
                fault_of { app = "a", action = "b", deadline_ns = wrong })
        end
        assert.is_nil(codec:decode_request(frame_of(
            codec:encode_request(1, { app = "a", action = "b" }, {}, 0)):sub(17)).deadline_ns)
    end)

    it("carries metadata of any kind", function()
        for _, metadata in ipairs { { trace = "x" }, 5, true, { 1, { 2 } } } do
            local call = { app = "a", action = "b", metadata = assert(codec:json(metadata)) }
            local frame = frame_of(codec:encode_request(1, call, { "arg" }, 1))
            local request = assert(codec:decode_request(frame:sub(17)))
            assert.same(metadata, request.metadata)
            assert.same({ "arg" }, request.args)
        end
        assert.equal("BAD_VALUE", select(2, codec:json(print)))
    end)
end)

describe("an array of pieces that is used again", function()
    it("holds the last message only", function()
        local pieces, call = {}, { app = "a", action = "b" }
        codec:encode_request(1, call, { "one", "two", { 3 } }, 3, pieces)
        local again = codec:encode_request(2, call, { "x" }, 1, pieces)
        assert.equal(pieces, again)
        local fresh = codec:encode_request(2, call, { "x" }, 1)
        assert.same(fresh, again)
    end)
end)

describe("a reader", function()
    it("takes large values by themselves, and uses itself again", function()
        local reader = codec:reader()
        local list = { ("a"):rep(100000), { n = 1 }, "", ("b"):rep(20000) }
        local frame = frame_of(codec:encode_values(RESPONSE, 7, list, 4))
        for _ = 1, 2 do
            local at, largest, asked = 1, 0, 0
            local want = reader:start()
            while want > 0 do
                largest, asked = math.max(largest, want), asked + 1
                local bytes = frame:sub(at, at + want - 1)
                at = at + want
                want = assert(reader:take(bytes))
            end
            assert.equal(100000, largest)
            assert.equal(2 + 4 + 3, asked) -- header, count, four heads, three that are not empty
            assert.same({ RESPONSE, 7, 4 }, { reader.kind, reader.id, reader.count })
            assert.same(list, reader.values)
        end
    end)

    it("finds the same faults in a large payload as in a small one", function()
        local big = ("x"):rep(20000)
        local frame = frame_of(codec:encode_values(RESPONSE, 1, { big, "y" }, 2))
        local function broken(at, bytes)
            return (select(2, checks.read(codec, frame:sub(1, at - 1) .. bytes
                .. frame:sub(at + #bytes))))
        end
        assert.equal("BAD_TAG", broken(19, "m"))
        assert.equal("BAD_COUNT", broken(17, "\0\1"))
        assert.equal("BAD_COUNT", broken(17, "\0\3"))
        assert.equal("TOO_MANY", broken(17, "\1\0"))
        assert.equal("TRUNCATED", broken(20, "\0\1\0\0"))
        assert.equal("TRUNCATED", broken(16 + 2 + 5 + #big + 2, "\0\0\0\2"))
        assert.equal("BAD_JSON", broken(19, "j"))
    end)
end)

describe("garbage", function()
    local seed = tonumber(os.getenv("DIRTY_SEED")) or os.time()

    local function survives(bytes)
        for _, side in ipairs { "server", "client" } do
            local ok, kind, fault = pcall(checks.decode, codec, bytes, side)
            assert.truthy(ok, ("DIRTY_SEED=%d: %s"):format(seed, tostring(kind)))
            assert.truthy(kind or fault == "MORE" or codec.FAULTS[fault], tostring(fault))
        end
    end

    it("is rejected without a crash", function()
        math.randomseed(seed)
        for _ = 1, 5000 do
            local bytes = {}
            for i = 1, math.random(0, 100) do
                bytes[i] = string.char(math.random(0, 255))
            end
            local payload = table.concat(bytes)
            survives(payload)
            survives("DW\1" .. string.char(math.random(1, 5), 0, 0, 0, #payload)
                .. "\0\0\0\0\0\0\0\1" .. payload)
        end
    end)

    it("in valid messages is rejected without a crash", function()
        math.randomseed(seed)
        for _, f in ipairs(fixtures.load("valid")) do
            for _ = 1, #f.frame < 1000 and 200 or 2 do
                local at = math.random(#f.frame)
                survives(f.frame:sub(1, at - 1) .. string.char(math.random(0, 255))
                    .. f.frame:sub(at + 1))
            end
        end
    end)
end)
