-- Ten thousand callers that wait at once for one lane.
local chaos = require "support.chaos"
local process = require "support.process"
local raw = require "support.raw"
local runtime = require "support.runtime"
local wire = require "dirty.wire"

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

    it("keeps a bounded part of each large request in memory", function()
        local report = chaos.queue { count = 500, bytes = 100000 }
        assert.equal(500, report.values)
        assert.equal(0, report.unordered)
        if not SANITIZED then
            local each = (report.rss_waiting - report.rss_before) / report.callers
            assert.is_true(each < 12 * 1024, each)
        end
    end)
end)

describe("a long call", function()
    it("delays only its own worker: short calls pass it", function()
        local codec = wire.new()
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "2" } }
        local connections = {}
        finally(function()
            for _, connection in ipairs(connections) do
                connection:close()
            end
            rt:close()
        end)
        local function send(i, ms)
            assert(connections[i]:send(table.concat((codec:encode_request(i,
                { app = "apps.echo", action = "sleep", budget_ms = 20000 }, { ms }, 1)))))
        end
        for i = 1, 5 do
            connections[i] = raw.connect(rt.socket)
        end
        send(1, 3000)
        for _ = 1, 10 do
            for i = 2, 5 do
                send(i, 1)
            end
            for i = 2, 5 do
                assert.equal(codec.RESPONSE, (connections[i]:frame()))
            end
        end
        assert.equal("timeout", select(2, connections[1]:frame(0)))
        local kind, id = connections[1]:frame()
        assert.equal(codec.RESPONSE, kind)
        assert.equal(1, id)
    end)
end)
