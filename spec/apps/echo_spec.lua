-- The sample app as plain Lua; spec/c/test_lane.c runs it in a lane.
package.path = "./?.lua;" .. package.path

local dirty = require "dirty"
local echo = require "apps.echo"
local wait = require "support.wait"

describe("apps.echo", function()
    it("declares what it needs", function()
        assert.same({ timeout = 60 }, dirty.declared(echo))
    end)

    it("returns nothing, or all it was given", function()
        assert.equal(1, select("#", echo:noop()))
        assert.is_nil(echo:noop())
        assert.equal(4, select("#", echo:echo(1, nil, "x", nil)))
        assert.same({ 1, "x" }, { echo:echo(1, "x") })
    end)

    it("measures bytes", function()
        assert.equal(3, echo:length("a\0b"))
    end)

    it("says which argument is wrong, and what it must be", function()
        local milliseconds = "milliseconds, a number from 0 up"
        for _, case in ipairs {
            { "length: its argument must be a string, not 5", "length", 5 },
            { "length: its argument must be a string, not a nil", "length" },
            { "sleep: its argument must be " .. milliseconds .. ", not a string", "sleep", "5" },
            { "sleep: its argument must be " .. milliseconds .. ", not -1", "sleep", -1 },
            { "spin: its argument must be " .. milliseconds .. ", not a table", "spin", {} },
            { "count: its argument must be a number from 0 up, not a nil", "count" },
        } do
            local ok, err = pcall(echo[case[2]], echo, case[3])
            assert.is_false(ok)
            assert.equal(case[1], err)
        end
    end)

    it("raises", function()
        assert.has_error(function() echo:fail("so") end, "so")
    end)

    it("counts in a stream", function()
        local seen = {}
        for i in echo:count(3) do
            seen[#seen + 1] = i
        end
        assert.same({ 1, 2, 3 }, seen)
        assert.is_nil(echo:count(0)())
    end)

    it("sleeps without a CPU and spins with one", function()
        local function cpu_of(action, ms)
            local before = os.clock()
            return echo[action](echo, ms), os.clock() - before
        end
        local value, slept = cpu_of("sleep", 60)
        assert.equal(60, value)
        -- where others compute, one spin may get little of the CPU
        wait.until_true(function()
            local rounds, spun = cpu_of("spin", 60)
            assert.is_true(rounds > 0)
            return spun > 0.01 and spun > 4 * slept
        end, 20, "spinning to take more CPU than sleeping")
    end)
end)
