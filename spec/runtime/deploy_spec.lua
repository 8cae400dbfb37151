-- Releases of an application in directories of their own, and a symlink that names the current
-- one: a deploy moves it and reloads. Old releases are removed at some time.
local process = require "support.process"
local signal = require "posix.signal"
local stdlib = require "posix.stdlib"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local SITE = [[
    local unistd = require "posix.unistd"
    local Site = {}
    function Site:init()
        local file = io.open "fails"
        if file then
            file:close()
            error "this release does not start"
        end
    end
    function Site:which() return %d, unistd.getcwd() end
    return Site]]

describe("a deploy that changes a symlink", function()
    local dir, server, socket

    local function release(number, files)
        local home = dir .. "/releases/" .. number
        process.run { "mkdir", "-p", home }
        tempdir.write(home .. "/site.lua", SITE:format(number))
        for name, text in pairs(files or {}) do
            tempdir.write(home .. "/" .. name, text)
        end
        return home
    end

    local function link(number)
        local made = process.run { "ln", "-sfn", "releases/" .. number, dir .. "/current" }
        assert.equal(0, made.exit, made.stderr)
    end

    local function remove(number)
        process.run { "rm", "-rf", dir .. "/releases/" .. number }
    end

    before_each(function()
        dir = assert(stdlib.realpath(tempdir.new()))
        socket = dir .. "/s"
        release(1)
        release(2)
        link(1)
    end)

    after_each(function()
        if server then
            server:signal(signal.SIGTERM)
            pcall(server.wait, server, 10)
            server:close()
            server = nil
        end
        tempdir.remove(dir)
    end)

    local function log()
        return server:stderr()
    end

    local function start(args, o)
        local argv = { process.dirty(), "serve", "--socket", socket }
        for _, arg in ipairs(args) do
            argv[#argv + 1] = arg
        end
        server = process.start(argv, o)
        wait.until_true(function()
            return log():find('msg="ready"', 1, true) or server:ended()
        end, 20, "ready")
        assert.is_false(server:ended(), log())
    end

    local function configure(text)
        return tempdir.write(dir .. "/dirty.conf.lua", text)
    end

    local function client()
        return require("dirty").client { socket = socket, timeout = 20 }
    end

    local function serves(number)
        local which, where = client():execute("site", "which")
        assert.same({ number, dir .. "/releases/" .. number }, { which, where })
    end

    local function reload()
        return process.run_dirty({ "reload", "--wait", "--socket", socket }, { seconds = 30 })
    end

    local function reloaded()
        local r = reload()
        assert.equal(0, r.exit, r.stderr)
    end

    local function status()
        return assert(client():status())
    end

    -- Kill the worker and wait for the one that takes its place.
    local function replace_worker()
        local old = status().workers[1].pid
        assert(signal.kill(old, signal.SIGKILL))
        wait.until_true(function()
            local worker = status().workers[1]
            return worker.pid ~= old and worker.state == "ready"
        end, 20, "another worker")
    end

    local function kill_arbiter()
        local old = status().arbiter.pid
        assert(signal.kill(old, signal.SIGKILL))
        wait.until_true(function()
            local now = client():status()
            return now and now.arbiter.pid ~= old and now.workers[1]
                and now.workers[1].state == "ready"
        end, 20, "another arbiter")
    end

    it("is followed by a reload if chdir names the symlink", function()
        start { "--config", configure(("workers = 1; apps = { 'site' }; chdir = '%s/current'")
            :format(dir)) }
        serves(1)
        link(2)
        replace_worker()
        serves(1) -- no reload yet
        reloaded()
        serves(2)
        remove(1)
        replace_worker()
        serves(2)
        reloaded()
        serves(2)
        link(3)
        release(3)
        reloaded()
        serves(3)
    end)

    it("is followed if --chdir names it, with the configuration of the release", function()
        release(1, { ["dirty.conf.lua"] = "workers = 1; apps = { 'site' }" })
        release(2, { ["dirty.conf.lua"] = [[
            local more = dofile "more.lua"
            workers = more.workers
            function worker_init() end
            apps = { "site" }]], ["more.lua"] = "return { workers = 2 }" })
        start { "--chdir", dir .. "/current" }
        serves(1)
        link(2)
        reloaded()
        serves(2)
        assert.equal(2, #status().workers)
        remove(1)
        reloaded()
        serves(2)
    end)

    it("is followed if the runtime was started in the symlink", function()
        release(1, { ["dirty.conf.lua"] = "workers = 1; apps = { 'site' }" })
        release(2, { ["dirty.conf.lua"] = "workers = 1; apps = { 'site' }; timeout = 7" })
        start({}, { cwd = dir .. "/current", env = { PWD = dir .. "/current" } })
        serves(1)
        link(2)
        reloaded()
        serves(2)
        assert.equal(7000, status().apps.site.timeout_ms)
    end)

    it("ignores a $PWD that is another directory", function()
        start({ "--app", "site", "--workers", "1" }, { cwd = dir .. "/releases/1",
            env = { PWD = dir .. "/releases/2" } })
        serves(1)
        reloaded()
        serves(1)
    end)

    it("that fails to start changes nothing, whatever dies meanwhile", function()
        start { "--config", configure(("workers = 1; apps = { 'site' }; chdir = '%s/current'")
            :format(dir)) }
        release(2, { fails = "" })
        link(2)
        local r = reload()
        assert.equal(6, r.exit)
        assert.truthy(r.stderr:find("this release does not start", 1, true), r.stderr)
        serves(1)
        replace_worker()
        serves(1)
        os.remove(dir .. "/releases/2/fails")
        reloaded()
        serves(2)
    end)

    it("is followed without a reload when the old release is gone", function()
        start { "--config", configure(("workers = 1; apps = { 'site' }; chdir = '%s/current'")
            :format(dir)) }
        link(2)
        remove(1)
        replace_worker()
        serves(2)
        assert.truthy(log():find("the working directory was removed: using the one that has its "
            .. "name now", 1,
            true), log())
    end)

    it("is followed by the next arbiter", function()
        start { "--config", configure(("workers = 1; apps = { 'site' }; chdir = '%s/current'")
            :format(dir)) }
        link(2)
        kill_arbiter()
        serves(2)
        link(3)
        release(3)
        remove(1)
        remove(2)
        kill_arbiter()
        serves(3)
        reloaded()
        serves(3)
    end)

    it("can name its directory in the configuration instead", function()
        local text = "workers = 1; apps = { 'site' }; chdir = '%s/releases/%d'"
        start { "--config", configure(text:format(dir, 1)) }
        serves(1)
        configure(text:format(dir, 2))
        reloaded()
        serves(2)
        configure(text:format(dir, 3))
        local r = reload()
        assert.equal(6, r.exit)
        assert.truthy(r.stderr:find("/releases/3\"", 1, true)
            and r.stderr:find("can't change to this directory: No such file", 1, true), r.stderr)
        serves(2)
        replace_worker()
        serves(2)
    end)

    it("keeps a relative log file and pidfile at the directory's name", function()
        process.run { "mkdir", dir .. "/log" }
        for number = 1, 2 do
            assert.equal(0, process.run({ "ln", "-s", dir .. "/log",
                dir .. "/releases/" .. number .. "/log" }).exit)
        end
        local path = configure(("workers = 1; apps = { 'site' }; chdir = '%s/current'; "
            .. "log_file = 'log/dirty.log'; pidfile = 'log/dirty.pid'"):format(dir))
        server = process.start { process.dirty(), "serve", "--socket", socket, "--config", path }
        wait.until_true(function()
            return (tempdir.read(dir .. "/log/dirty.log") or ""):find('msg="ready"', 1, true)
        end, 20, "ready")
        link(2)
        reloaded()
        remove(1)
        reloaded()
        serves(2)
        assert.equal(0, process.run_dirty({ "reopen-logs", "--socket", socket }).exit)
        assert.equal(tostring(server.pid) .. "\n", tempdir.read(dir .. "/log/dirty.pid"))
    end)

    it("is the directory in which the arbiter's hooks run", function()
        local text = [[
            workers = 1
            apps = { "site" }
            chdir = "%s/current"
            function worker_exit()
                local file = io.open("exits", "a")
                file:write "x"
                file:close()
            end]]
        start { "--config", configure(text:format(dir)) }
        replace_worker()
        local function ran_in(number)
            wait.until_true(function()
                return tempdir.read(("%s/releases/%d/exits"):format(dir, number))
            end, 10, "the hook in release " .. number)
        end
        ran_in(1)
        link(2)
        reloaded()
        replace_worker()
        ran_in(2)
    end)
end)
