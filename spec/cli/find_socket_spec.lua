-- How the commands for operators find the socket: --socket, $DIRTY_SOCKET, the configuration, the
-- default; and which configuration they run.
local process = require "support.process"
local runtime = require "support.runtime"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"

local UNSET = { DIRTY_SOCKET = false, DIRTY_CONFIG = false, XDG_RUNTIME_DIR = false }

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local function with(env)
    local out = {}
    for name, value in pairs(UNSET) do
        out[name] = value
    end
    for name, value in pairs(env or {}) do
        out[name] = value
    end
    return out
end

describe("the socket of a command", function()
    local dir, rt
    setup(function() rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } } end)
    teardown(function() rt:close() end)
    before_each(function()
        dir = tempdir.new()
        assert(stat.chmod(dir, tonumber("755", 8)))
    end)
    after_each(function() tempdir.remove(dir) end)

    local function ping(args, env)
        return process.run_dirty({ "ping", unpack(args or {}) }, { cwd = dir, env = with(env) })
    end

    local function configure(text, name)
        return tempdir.write(dir .. "/" .. (name or "dirty.conf.lua"), text)
    end

    local function answers(args, env)
        local r = ping(args, env)
        assert.equal(0, r.exit, r.stderr)
    end

    local function finds(path, args, env)
        local r = ping(args, env)
        assert.equal(5, r.exit, r.stderr)
        contains(r.stderr, path)
    end

    it("is that of --config, $DIRTY_CONFIG, or ./dirty.conf.lua", function()
        local text = ("socket = %q"):format(rt.socket)
        configure(text, "other.lua")
        answers { "--config", "other.lua" }
        answers({}, { DIRTY_CONFIG = dir .. "/other.lua" })
        configure(text)
        answers()
        local r = process.run_dirty({ "call", "apps.echo", "length", "four" },
            { cwd = dir, env = with() })
        assert.equal("4\n", r.stdout, r.stderr)
    end)

    it("is first that of --socket, then of the environment", function()
        configure(("socket = %q"):format(rt.socket))
        finds(dir .. "/env", {}, { DIRTY_SOCKET = dir .. "/env" })
        finds(dir .. "/env", { "--config", "dirty.conf.lua" }, { DIRTY_SOCKET = dir .. "/env" })
        finds(dir .. "/flag", { "--socket", dir .. "/flag" }, { DIRTY_SOCKET = rt.socket })
        answers({}, { DIRTY_SOCKET = "" })
    end)

    it("is relative to where the file's runtime works, and the default one without", function()
        configure "socket = 'here.sock'"
        finds(dir .. "/here.sock")
        configure "workers = 2"
        finds("/tmp/xdg-of-spec/dirty.sock", {}, { XDG_RUNTIME_DIR = "/tmp/xdg-of-spec" })
    end)

    it("is not that of a file that others can change", function()
        local path = configure(("os.execute 'touch %s/ran'; socket = %q"):format(dir, rt.socket))
        local function is_refused(word)
            local r = ping({}, { XDG_RUNTIME_DIR = dir })
            assert.equal(5, r.exit, r.stderr)
            contains(r.stderr, "./dirty.conf.lua is not used, others can change or replace it")
            contains(r.stderr, word)
            assert.is_nil(tempdir.read(dir .. "/ran"))
        end
        assert(stat.chmod(path, tonumber("666", 8)))
        is_refused("the file")
        assert(stat.chmod(path, tonumber("644", 8)))
        assert(stat.chmod(dir, tonumber("777", 8)))
        is_refused("the directory")
        if unistd.geteuid() == 0 then
            assert(stat.chmod(dir, tonumber("755", 8)))
            assert(unistd.chown(path, 65534, 65534))
            is_refused("owner 65534")
        end
    end)

    it("is asked of a file that fails, ends or never ends without harm", function()
        for text, part in pairs {
            ["no_such_option = 1"] = "there is no option",
            ["os.exit(0)"] = "ended too early",
            ["error 'no vault'"] = "no vault",
        } do
            configure(text)
            local r = ping()
            assert.equal(2, r.exit)
            contains(r.stderr, "dirty ping: the configuration dirty.conf.lua: ")
            contains(r.stderr, part)
            answers { "--socket", rt.socket }
        end
    end)
end)
