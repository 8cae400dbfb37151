-- `dirty config`, and a configuration that does not end.
local cjson = require "cjson"
local process = require "support.process"
local tempdir = require "support.tempdir"

local dirty = process.run_dirty

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

describe("dirty config", function()
    local dir
    before_each(function() dir = tempdir.new() end)
    after_each(function() tempdir.remove(dir) end)

    it("prints each value and where it is from", function()
        tempdir.write(dir .. "/dirty.conf.lua", "\nthreads = 2\napps = { 'apps.echo:2' }")
        local r = dirty({ "config", "--workers", "4" },
            { cwd = dir, env = { DIRTY_SOCKET = "/tmp/d.sock" } })
        assert.equal(0, r.exit)
        contains(r.stdout, '\nsocket = "/tmp/d.sock" -- environment DIRTY_SOCKET\n')
        contains(r.stdout, "\nworkers = 4 -- flag --workers\n")
        contains(r.stdout, "\nthreads = 2 -- file dirty.conf.lua:2\n")
        contains(r.stdout, "\ntimeout = 300 -- default\n")
        contains(r.stdout, 'name = "apps.echo", module = "apps.echo", workers = 2')
    end)

    it("takes variables of the environment before the file, and flags before them", function()
        tempdir.write(dir .. "/dirty.conf.lua", "socket = '/tmp/f'; workers = 1; timeout = 9")
        local env = { DIRTY_SOCKET = "/tmp/e", DIRTY_WORKERS = "3", DIRTY_LOG_FORMAT = "json",
            DIRTY_TIMEOUT = "", DIRTY_FAST_PATH = "false", DIRTY_MAX_RSS = "1g",
            DIRTY_APPS = "apps.echo:2, apps.image" }
        local r = dirty({ "config", "--workers", "4" }, { cwd = dir, env = env })
        assert.equal(0, r.exit, r.stderr)
        for _, line in ipairs {
            'socket = "/tmp/e" -- environment DIRTY_SOCKET', "workers = 4 -- flag --workers",
            'log_format = "json" -- environment DIRTY_LOG_FORMAT',
            "timeout = 9 -- file dirty.conf.lua:1",
            "fast_path = false -- environment DIRTY_FAST_PATH",
            "max_rss = 1073741824 -- environment DIRTY_MAX_RSS",
            "apps = { -- environment DIRTY_APPS",
        } do
            contains(r.stdout, "\n" .. line .. "\n")
        end
        contains(r.stdout, '{ name = "apps.echo", module = "apps.echo", workers = 2 }')
        contains(r.stdout, 'name = "apps.image"')
        tempdir.write(dir .. "/named.lua", "workers = 6")
        r = dirty({ "config" }, { cwd = "/", env = { DIRTY_CONFIG = "named.lua",
            DIRTY_CHDIR = dir } })
        contains(r.stdout, "\nworkers = 6 -- file named.lua:1\n")
        for name, part in pairs { DIRTY_WORKERS = "many", DIRTY_FAST_PATH = "yes",
            DIRTY_APPS = "1:2:3:4" } do
            r = dirty({ "config" }, { cwd = dir, env = { [name] = part } })
            assert.equal(2, r.exit)
            contains(r.stderr, "dirty config: " .. name)
        end
    end)

    it("prints Lua that it reads again", function()
        local first = dirty({ "config", "--app", "a.b:C:2", "--max-queue", "7" }, { cwd = dir })
        tempdir.write(dir .. "/dirty.conf.lua", first.stdout)
        local second = dirty({ "config", "--json" }, { cwd = dir })
        assert.equal(0, second.exit, second.stderr)
        local conf = cjson.decode(second.stdout)
        assert.equal("dirty.conf.lua", conf.file)
        assert.equal(7, conf.options.max_queue.value)
        assert.same({ { name = "a.b:C", module = "a.b", object = "C", workers = 2 } }, conf.apps)
    end)

    it("takes the user's default socket", function()
        local unset = { DIRTY_SOCKET = false, XDG_RUNTIME_DIR = false }
        local uid = require("posix.unistd").geteuid()
        contains(dirty({ "config" }, { cwd = dir, env = unset }).stdout,
            uid == 0 and 'socket = "/run/dirty/dirty.sock" -- default for root'
            or ('socket = "/tmp/dirty-%d/dirty.sock" -- default for this user'):format(uid))
        contains(dirty({ "config" },
            { cwd = dir, env = { DIRTY_SOCKET = false, XDG_RUNTIME_DIR = "/run/user/7" } }).stdout,
            'socket = "/run/user/7/dirty.sock" -- environment XDG_RUNTIME_DIR')
    end)

    it("defaults workers to the CPUs that may be used", function()
        local r = process.run({ "taskset", "-c", "0", process.dirty(), "config" }, { cwd = dir })
        contains(r.stdout, "\nworkers = 1 -- default: usable CPUs\n")
    end)

    it("refuses what is wrong with status 2, naming it", function()
        local conf = tempdir.write(dir .. "/c.lua", "timeuot = 5")
        for _, case in ipairs {
            { { "--config", conf }, 'c.lua:1: there is no option "timeuot"' },
            { { "--config", conf }, "did you mean 'timeout'?" },
            { { "--config", dir .. "/none.lua" }, "No such file" },
            { { "--timeout", "5s" }, "written without a unit: 5\n" },
            { { "--timeout", "5m" }, "written without a unit: 300\n" },
            { { "--timeout", "1.5 min" }, "written without a unit: 90\n" },
            { { "--timeout", "2h" }, "written without a unit: 7200\n" },
            { { "--timeout", "250ms" }, "written without a unit: 0.25\n" },
            { { "--timeout", "5x" }, "2147483\n" },
            { { "--timeout", "-5" }, "--timeout \"-5\": must be" },
            { { "--app", "apps/echo.lua" }, 'write "apps.echo"' },
            { { "--socket", "/" .. ("x"):rep(107) }, "at most 107" },
            { { "--socket-user", "no-such-user" }, 'socket_user = "no-such-user"' },
            { { "--chdir", dir .. "/none" }, "can't change to this directory" },
            { { "--lua-path", "/srv" }, "a ? for the module" },
        } do
            local args = { "config" }
            for _, arg in ipairs(case[1]) do
                args[#args + 1] = arg
            end
            local r = dirty(args, { cwd = "/" })
            assert.equal(2, r.exit, case[2])
            assert.equal("", r.stdout)
            contains(r.stderr, "dirty config: ")
            contains(r.stderr, case[2])
        end
    end)

    it("accepts -s like the other commands", function()
        contains(dirty({ "config", "-s", "/run/x.sock" }).stdout,
            'socket = "/run/x.sock" -- flag --socket')
    end)

    it("looks for everything in --chdir", function()
        tempdir.write(dir .. "/dirty.conf.lua", "log_file = 'x.log'")
        local r = dirty({ "config", "--chdir", dir }, { cwd = "/" })
        contains(r.stdout, ('log_file = "%s/x.log" -- file dirty.conf.lua:1'):format(dir))
    end)
end)

describe("a configuration that does not end", function()
    local dir
    before_each(function() dir = tempdir.new() end)
    after_each(function() tempdir.remove(dir) end)

    -- What each command says of it; the seconds that they took.
    local function each(boot_timeout, path, ...)
        local began = os.time()
        for _, command in ipairs { "serve", "check", "config" } do
            local r = process.run_dirty({ command, "--config", path, "--app", "apps.echo",
                "--socket", dir .. "/s", "--boot-timeout", boot_timeout })
            assert.equal(2, r.exit, r.stderr)
            for i = 1, select("#", ...) do
                local part = select(i, ...)
                assert.truthy(r.stderr:find(part, 1, true), part .. " is not in:\n" .. r.stderr)
            end
        end
        return os.time() - began
    end

    it("is refused where it is no file", function()
        local path = dir .. "/fifo"
        assert(process.run({ "mkfifo", path }).exit == 0)
        assert.is_true(each("9", path, path, "is a FIFO",
            "must be a regular file") < 9)
        each("1", "/dev/zero", "/dev/zero is a device")
        local path_of_socket = dir .. "/sock"
        local script = ([[
            local s = require "posix.sys.socket"
            local fd = s.socket(s.AF_UNIX, s.SOCK_STREAM, 0)
            assert(s.bind(fd, { family = s.AF_UNIX, path = %q }))]]):format(path_of_socket)
        assert.equal(0, process.run({ process.LUAJIT, "-e", script }).exit)
        each("1", path_of_socket, "is a socket")
    end)

    it("is ended after a time, whatever it does", function()
        for _, text in ipairs { "while true do end", "os.execute('sleep 63')",
            ("io.open('%s/fifo')"):format(dir) } do
            process.run { "mkfifo", dir .. "/fifo" }
            each("1", tempdir.write(dir .. "/c.lua", text), dir .. "/c.lua",
                "ran for more than 1 s",
                "--boot-timeout")
        end
        assert.equal(1, process.run({ "pgrep", "-f", "^sleep 63" }).exit)
    end)
end)
