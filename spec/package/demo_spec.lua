-- `make demo` without the make: what it says, what it leaves, and how it fails.
local process = require "support.process"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

describe("examples/demo.sh", function()
    local tmp, out, thumbnail

    before_each(function()
        tmp, out = tempdir.new(), tempdir.new() -- the user's own thumbnail is left alone
        thumbnail = out .. "/thumbnail.jpg"
    end)

    after_each(function()
        tempdir.remove(tmp)
        tempdir.remove(out)
    end)

    local function options(seconds)
        return { seconds = seconds, env = { TMPDIR = tmp, DEMO_DIR = out,
            DIRTY_BUILD = process.BUILD } }
    end

    -- Nothing of the runtime that the demo told of may be left, neither process nor file.
    local function assert_nothing_left(stdout)
        local pids = 0
        for _, line in ipairs { "process (%d+) is the arbiter", "(%d+) %d+ are workers",
            "%d+ (%d+) are workers" } do
            local pid = stdout:match(line)
            if pid then
                pids = pids + 1
                wait.until_true(function()
                    return not tempdir.read("/proc/" .. pid .. "/stat")
                end, 10, "process " .. pid .. " ended")
            end
        end
        assert.equal(3, pids)
        assert.equal("", process.run({ "ls", tmp }).stdout)
    end

    it("makes a thumbnail of a photograph and says who did what", function()
        local r = process.run({ "examples/demo.sh" }, options(60))
        assert.equal("", r.stderr)
        assert.equal(0, r.exit)
        assert.matches("6028 x 3391, 20%.4 megapixels, 4379037 bytes", r.stdout)
        local worker = r.stdout:match("answered +by worker (%d+) in %d+ ms")
        local one, two = r.stdout:match("(%d+) (%d+) are workers")
        assert.is_true(worker == one or worker == two)
        assert.matches("arbiter pid " .. r.stdout:match("process (%d+) is"), r.stdout)
        assert.matches("The thumbnail is in " .. thumbnail:gsub("%p", "%%%0") .. "\n$", r.stdout)
        assert.equal("\255\216\255", tempdir.read(thumbnail):sub(1, 3))
        assert_nothing_left(r.stdout)
    end)

    it("fails with the reason for what is no image, and cleans up", function()
        local r = process.run({ "examples/demo.sh", "/etc/passwd" }, options(60))
        assert.equal(1, r.exit)
        assert.matches("; JPEG, PNG and WebP are supported", r.stderr)
        assert.matches("demo: the call failed\n", r.stderr)
        assert_nothing_left(r.stdout)
    end)

    it("fails with the reason for a photograph that is not there", function()
        local r = process.run({ "examples/demo.sh", tmp .. "/none.jpg" }, options(10))
        assert.equal(1, r.exit)
        assert.matches("demo: no photograph .*/none.jpg", r.stderr)
    end)

    it("cleans up when it is interrupted", function()
        local demo = process.start({ "examples/demo.sh" }, options())
        finally(function()
            demo:close()
        end)
        wait.until_true(function()
            return demo:stdout():find("are workers", 1, true)
        end, 30, "the demo has started the runtime")
        demo:signal(signal.SIGTERM)
        assert.same({ exit = 1 }, demo:wait(20))
        assert_nothing_left(demo:stdout())
    end)
end)
