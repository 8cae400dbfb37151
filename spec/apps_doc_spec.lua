-- docs/apps.md: its examples are apps, and what it promises of them holds.
local function blocks()
    local file = assert(io.open("docs/apps.md"))
    local text = file:read("*a")
    file:close()
    local found = {}
    for code in text:gmatch("```lua\n(.-)```") do
        found[#found + 1] = code
    end
    return found
end

local function app(number)
    return assert(loadstring(blocks()[number], "docs/apps.md"))()
end

describe("docs/apps.md", function()
    it("has examples that compile", function()
        assert.equal(6, #blocks())
        for _, code in ipairs(blocks()) do
            assert.is_function(loadstring(code))
        end
    end)

    it("greets", function()
        local greeter = app(1)
        greeter:init({ word = "good day" })
        assert.same({ "good day, Ada", { bytes = 3 } }, { greeter:greet("Ada") })
        assert.same({ nil, "who?" }, { greeter:greet("") })
    end)

    it("calls by itself", function()
        assert.same({ "anything", 2 }, { app(2):call("anything", nil, nil) })
    end)

    it("fails with a table", function()
        assert.equal(3, app(3):order(3))
        assert.equal("LIMIT", select(2, app(3):order(11)).code)
    end)

    it("cleans up and lets the error go on", function()
        local import = app(5)
        local seen
        assert.equal(7, import:run("a", function()
            seen = import.running
            return 7
        end))
        assert.equal("a", seen)
        assert.is_false((pcall(import.run, import, "b", function() error("late") end)))
        assert.is_nil(import.running)
    end)

    it("streams a file", function()
        local lines = app(4):lines("VERSION")
        assert.is_string(lines())
        assert.is_nil(lines())
        assert.is_nil((app(4):lines("no/such/file")))
    end)
end)
