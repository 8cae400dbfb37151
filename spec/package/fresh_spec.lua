-- build-aux/fresh.sh with a stand-in for mmdebstrap: however it ends, nothing of it is left.
-- `make check-trixie` runs the whole of it.
local machine = require "support.machine"
local process = require "support.process"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

describe("build-aux/fresh.sh", function()
    local lacking = machine.no_root() or machine.no_namespaces()
    if lacking then
        pending(lacking)
        return
    end
    local dir, tmp

    before_each(function()
        dir, tmp = tempdir.new(), tempdir.new()
    end)

    after_each(function()
        tempdir.remove(dir)
        tempdir.remove(tmp)
    end)

    -- Started with this as mmdebstrap, whose last argument is the root to make.
    local function start(mmdebstrap)
        tempdir.write(dir .. "/mmdebstrap", "#!/bin/bash\nroot=${!#}\n" .. mmdebstrap)
        assert.equal(0, process.run({ "chmod", "+x", dir .. "/mmdebstrap" }).exit)
        local fresh = process.start({ "build-aux/fresh.sh", "trixie", "demo" },
            { env = { PATH = dir .. ":" .. os.getenv "PATH", TMPDIR = tmp, MIRROR = false } })
        finally(function() fresh:close() end)
        return fresh
    end

    local function assert_nothing_left()
        assert.equal("", process.run({ "ls", tmp }).stdout)
        assert.falsy(tempdir.read("/proc/self/mountinfo"):find(tmp, 1, true))
    end

    it("takes away what it mounted where the chroot is of no use", function()
        local fresh = start 'mkdir -p "$root"/{proc,sys,dev,etc/dpkg/dpkg.cfg.d,usr/sbin}'
        assert.not_equal(0, fresh:wait(60).exit)
        assert.matches("chroot: failed to run command .sh.", fresh:stderr())
        assert_nothing_left()
    end)

    it("says what mmdebstrap said where that fails", function()
        local fresh = start "echo no such suite >&2; exit 1"
        assert.same({ exit = 1 }, fresh:wait(60))
        assert.equal("no such suite\nfresh: mmdebstrap failed\n", fresh:stderr())
        assert_nothing_left()
    end)

    it("ends everything when it is told to end", function()
        local fresh = start(('mkdir -p "$root"; sleep 1013 & echo >%s/begun; wait'):format(dir))
        wait.until_true(function() return tempdir.read(dir .. "/begun") end, 60, "begun")
        fresh:signal(signal.SIGTERM)
        assert.same({ exit = 143 }, fresh:wait(60))
        assert.equal("", process.run({ "pgrep", "-f", "sleep 1013" }).stdout)
        assert_nothing_left()
    end)

    it("takes its processes with it when it is killed", function()
        local fresh = start(('mkdir -p "$root"; sleep 1014 & echo >%s/begun; wait'):format(dir))
        wait.until_true(function() return tempdir.read(dir .. "/begun") end, 60, "begun")
        fresh:kill()
        wait.until_true(function()
            return process.run({ "pgrep", "-f", "sleep 1014" }).stdout == ""
        end, 20, "no process of it")
        assert.falsy(tempdir.read("/proc/self/mountinfo"):find(tmp, 1, true))
    end)
end)
