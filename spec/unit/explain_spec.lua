local cjson = require("cjson").new()
local explain = require("dirty.explain").explain

cjson.encode_invalid_numbers(false)

local OPTIONS = { max_depth = 1000, null = cjson.null }

local function told(value)
    return explain(value, "result 1", "cjson's words", OPTIONS)
end

describe("explain", function()
    it("names the place of a value that is not JSON", function()
        assert.equal("result 1 is a function, and can't be sent", told(print))
        assert.equal("result 1: .rows[3].fn is a function, and can't be sent",
            told({ rows = { 1, 2, { fn = print } } }))
        assert.equal('result 1: ["two words"][1] is a thread, and can\'t be sent',
            told({ ["two words"] = { coroutine.create(print) } }))
        assert.equal("result 1: [1.5] is nan, which JSON can't express, and can't be sent",
            told({ [1.5] = 0 / 0 }))
    end)

    it("names tables that can't be encoded", function()
        local cycle = { {} }
        cycle[1].back = cycle
        assert.equal("result 1: [1].back contains itself, and can't be sent", told(cycle))
        assert.truthy(told({ x = { [true] = 1 } }):find(
            "result 1: .x has a key that is a boolean", 1, true))
        assert.truthy(told({ [1] = 1, [21] = 1 }):find("is a sparse array: 2 elements", 1, true))
    end)

    it("does not report a table that occurs twice as a cycle", function()
        local shared = { 1 }
        assert.equal("result 1: .c is a function, and can't be sent",
            told({ a = shared, b = shared, c = print }))
    end)

    it("cuts a long key", function()
        local text = told({ [("k"):rep(1000)] = print })
        assert.is_true(#text < 120)
    end)

    it("falls back on the encoder's own words", function()
        assert.equal("result 1 can't be encoded: cjson's words", told({ fine = true }))
    end)

    it("agrees with cjson about what can be sent", function()
        local deep = {}
        for _ = 1, 1000 do
            deep = { deep }
        end
        local values = {
            {}, { 1, 2 }, { a = { b = cjson.null } }, { [1] = 1, [10] = 1 }, { [1] = 1, [11] = 1 },
            { [5] = 1, [1] = 1, [3] = 1, [11] = 1, [9] = 1, [7] = 1 }, { 1, a = 2 }, { [2.5] = 1 },
            { [1] = 1, [21] = 1 }, { f = print }, { 0 / 0 }, { -math.huge }, deep,
        }
        for i, value in ipairs(values) do
            local encodes = pcall(cjson.encode, value)
            local found = not told(value):find("cjson's words", 1, true)
            assert.equal(not encodes, found, "value " .. i)
        end
    end)
end)
