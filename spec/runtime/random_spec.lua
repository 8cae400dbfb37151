-- A short run of what `make random` does at length: clients that pipeline, split, stall,
-- half-close, hang up around deadlines and break the protocol, at a runtime that is being
-- killed, reloaded and stopped.
local aftermath = require "support.aftermath"
local random = require "support.random"

local SECONDS = aftermath.SANITIZED and 4 or 2

describe("a runtime at random clients", function()
    local function run(seed)
        local _, report = random.prove(random.round(seed, SECONDS))
        assert.is_true(report.asks > 200)
        assert.is_true(report.values.echo > 10)
        assert.is_true(report.hang_ups > 10 and report.half_closes > 10)
        assert.is_true(report.errors.TIMEOUT > 10 and report.errors.PROTOCOL > 10)
        return report
    end

    -- Another seed each time: what it finds is told with it.
    local seed = random.new_seed()

    it("gives every request what the protocol allows, under kills, reloads and a stop", function()
        assert.is_true(run(seed).kills > 5)
    end)

    it("does so with several lanes in a worker", function()
        assert.is_true(run(seed + 1).kills > 3)
    end)
end)
