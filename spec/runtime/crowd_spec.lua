-- One event-driven client with 256 connections at a runtime whose processes are being killed:
-- every callback exactly once, with the right payload. CROWD_SECONDS makes it long
-- (`make crowd`).

local cjson = require "cjson"
local process = require "support.process"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local SECONDS = tonumber(os.getenv "CROWD_SECONDS" or "")
-- Valgrind and the sanitizers don't go together: the plain build's.
local PLAIN = (os.getenv "DIRTY_CORE" or process.BUILD .. "/lua"):gsub("/lua$", "")

describe("an event-driven client with 256 connections", function()
    local dir

    before_each(function() dir = tempdir.new() end)
    after_each(function() tempdir.remove(dir) end)

    local function run(o)
        local argv = { o.build .. "/crowd/crowd", "--program", process.dirty(),
            "--socket", dir .. "/s", "--calm", "0.3", "--storm", tostring(o.storm),
            "--slow", tostring(math.ceil(wait.SLOW * (o.slow or 1))) }
        for i, word in ipairs(o.wrap or {}) do
            table.insert(argv, i, word)
        end
        local r = process.run(argv, { seconds = (o.storm + 120) * wait.SLOW })
        assert.equal(0, r.exit, r.stdout .. r.stderr:sub(-4000))
        local report = cjson.decode(r.stdout)
        assert.equal(256, report.connections)
        assert.equal(report.accepted, report.ended)
        assert.is_true(report.kills > 3)
        assert.is_true(report.values.small > 100)
        assert.is_true(report.errors.cancel > 0 and report.errors.leave > 0)
    end

    it("gets exactly one correct outcome per call while workers are killed", function()
        run { build = process.BUILD, storm = SECONDS and SECONDS / 2 or 2 }
    end)

    it("does so in valgrind, which finds nothing", function()
        run { build = PLAIN, storm = SECONDS and SECONDS / 2 or 1.5, slow = 5,
            wrap = { "valgrind", "--quiet", "--leak-check=full", "--error-exitcode=99",
                "--errors-for-leak-kinds=all" } }
    end)
end)
