-- Ten thousand callers that wait at once for one lane.
local chaos = require "support.chaos"
local process = require "support.process"

local SANITIZED = process.BUILD:find("san", 1, true) ~= nil

describe("a queue of ten thousand callers", function()
    it("is served in order, none is lost, and its memory is given back", function()
        local report = chaos.queue { count = 10000 }
        assert.equal(10000, report.longest)
        assert.equal(10000, report.values)
        assert.equal(0, report.unordered)
        if not SANITIZED then
            local each = (report.rss_waiting - report.rss_before) / report.callers
            assert.is_true(each < 2048, each)
            assert.is_true(report.rss_after < report.rss_before + 3 * 2 ^ 20, report.rss_after)
        end
    end)

    it("costs a bounded part of each large request", function()
        local report = chaos.queue { count = 500, bytes = 100000 }
        assert.equal(500, report.values)
        assert.equal(0, report.unordered)
        if not SANITIZED then
            local each = (report.rss_waiting - report.rss_before) / report.callers
            assert.is_true(each < 12 * 1024, each)
        end
    end)
end)
