-- A short run of what `make chaos` does at length: workers are killed under load, and every
-- call is accounted for.
local chaos = require "support.chaos"

describe("a runtime whose workers are killed under load", function()
    local function run(o)
        local report, log = chaos.run(o)
        if #report.problems > 0 then
            error(chaos.describe(report) .. "\n" .. log:sub(-6000), 0)
        end
        return report
    end

    it("gives every call one correct outcome, and recovers", function()
        local report = run { workers = 4, threads = 1, grace = 0.5, margin_ms = 1500, calm = 0.3,
            strength_ms = 3000, storm = 2.5, reload = 20, scale = 10, behead = 15, brood = 1 }
        assert.is_true(report.kills > 10)
        assert.is_true(report.outcomes.value > 100)
        assert.is_true(report.once > 10)
    end)

    it("does so with several lanes in a worker", function()
        local report = run { workers = 2, threads = 4, grace = 0.5, margin_ms = 1500, calm = 0.3,
            strength_ms = 3000, storm = 2, reload = 20, scale = 10, brood = 1 }
        assert.is_true(report.kills > 10)
        assert.is_true(report.outcomes.value > 100)
    end)
end)
