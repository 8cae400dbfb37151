-- `dirty check` finds what `dirty serve` would fail on: the places of its files.
local process = require "support.process"
local runtime = require "support.runtime"
local socket = require "posix.sys.socket"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

describe("dirty check", function()
    local dir
    before_each(function()
        dir = tempdir.new()
        assert(stat.chmod(dir, tonumber("755", 8)))
    end)
    after_each(function() tempdir.remove(dir) end)

    local function run(command, args)
        local words = { command, "--config", "/dev/null", "--app", "apps.echo", "--workers", "1" }
        for _, arg in ipairs(args) do
            words[#words + 1] = arg
        end
        return process.run_dirty(words, { seconds = 20 })
    end

    -- It fails, and so does serve, with the same status.
    local function both_fail(status, part, args)
        local r = run("check", args)
        assert.equal(status, r.exit, r.stdout .. r.stderr)
        contains(r.stderr, part)
        contains(r.stdout, ": failed\n")
        assert.equal(status, run("serve", args).exit)
    end

    local function files()
        return process.run({ "ls", "-A", dir }).stdout
    end

    it("finds missing directories and files that are none", function()
        local sock = { "--socket", dir .. "/s" }
        both_fail(2, 'log_file = "' .. dir .. '/no/log" (flag --log-file): failed: ',
            { sock[1], sock[2], "--log-file", dir .. "/no/log" })
        both_fail(2, "pidfile = ", { sock[1], sock[2], "--pidfile", dir .. "/no/pid" })
        both_fail(3, "socket = ", { "--socket", dir .. "/no/s" })
        tempdir.write(dir .. "/file", "")
        both_fail(3, "no socket", { "--socket", dir .. "/file" })
        both_fail(2, "log_file = ", { sock[1], sock[2], "--log-file", dir })
    end)

    it("finds what the user may not write", function()
        if unistd.geteuid() ~= 0 then
            return
        end
        -- root opens such files with the rights of the directory's owner
        assert(stat.mkdir(dir .. "/theirs"))
        assert(unistd.chown(dir .. "/theirs", 65534, 65534))
        assert(stat.chmod(dir .. "/theirs", tonumber("555", 8)))
        both_fail(2, "log_file = ", { "--socket", dir .. "/s", "--log-file", dir .. "/theirs/log" })
        both_fail(3, "socket = ", { "--socket", dir .. "/theirs/s" })
    end)

    it("leaves no file", function()
        local r = run("check", { "--socket", dir .. "/s", "--log-file", dir .. "/log",
            "--pidfile", dir .. "/pid" })
        assert.equal(0, r.exit, r.stderr)
        assert.equal("", files())
    end)

    it("notes a runtime that serves on the socket", function()
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        finally(function() rt:close() end)
        local r = run("check", { "--socket", rt.socket })
        assert.equal(0, r.exit, r.stderr)
        contains(r.stdout, ("note: a runtime serves on the socket %s (arbiter pid %d)"):format(
            rt.socket, rt:status().arbiter.pid))
    end)

    it("fails if something else has the socket", function()
        local fd = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
        finally(function() unistd.close(fd) end)
        assert(socket.bind(fd, { family = socket.AF_UNIX, path = dir .. "/s" }))
        assert(socket.listen(fd, 5))
        both_fail(3, "does not answer as a runtime", { "--socket", dir .. "/s" })
    end)
end)
