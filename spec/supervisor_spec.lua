-- The supervisor: what becomes of the tree when one of its processes ends, signals,
-- systemd, rights.
local fcntl = require "posix.fcntl"
local notify_socket = require "support.notify_socket"
local options = require "dirty.config.options"
local machine = require "support.machine"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

-- What a test has to undo, the last first, however it ends.
local undone = {}

local function defer(undo)
    undone[#undone + 1] = undo
end

after_each(function()
    while #undone > 0 do
        pcall(table.remove(undone))
    end
end)

local function kill(pid, number)
    assert(signal.kill(pid, number))
end

-- An app that starts processes of its own: in its group, and out of session and family.
local SPAWNER = [[
local app = {}
function app:spawn(seconds)
    os.execute("sleep " .. seconds .. " &")
    os.execute("setsid sh -c 'sleep " .. seconds .. " & sleep " .. seconds .. "' &")
    return true
end
return app]]

local function start_spawner(o)
    o = o or {}
    o.apps, o.files = { "apps.echo", "spawner" }, { ["spawner.lua"] = SPAWNER }
    o.args = o.args or { "--workers", "2" }
    return runtime.start(o)
end

-- All processes of the tree, once the app's four are among them.
local function spawn_children(rt, seconds)
    assert(rt:call("spawner", "spawn", seconds))
    local found
    wait.until_true(function()
        found = 0
        for _, entry in ipairs(rt:tree()) do
            found = found + (entry.title:find("^sleep " .. seconds .. "$") and 1 or 0)
        end
        return found == 3
    end, 10, function() return "three sleeping children, there are " .. found end)
    return rt:tree()
end

-- A status of another arbiter than the one with this pid.
local function wait_for_another(rt, old_pid, seconds)
    local status
    wait.until_true(function()
        status = rt:call("@arbiter", "status")
        return status and status.arbiter.pid ~= old_pid
    end, seconds or 10, "another arbiter")
    return status
end

local function wait_busy(rt, action)
    wait.until_true(function()
        for _, worker in ipairs(rt:status().workers) do
            if worker.lanes[1].action == action then
                return true
            end
        end
    end, 10, "a lane that runs " .. action)
end

describe("the tree", function()
    it("is a supervisor, a keeper, the arbiter and its workers, each with its title", function()
        local rt = start_spawner()
        defer(function() rt:close() end)
        local status = rt:status()
        local titles, list = {}, rt:tree()
        for i, entry in ipairs(list) do
            titles[i] = entry.title
        end
        assert.same({ "dirty: supervisor " .. rt.socket, "dirty: keeper " .. rt.socket,
            "dirty: arbiter " .. rt.socket }, { titles[1], titles[2], titles[3] })
        table.sort(titles)
        assert.equal("dirty: worker 1 [apps.echo spawner] " .. rt.socket, titles[4])
        assert.equal(5, #titles)
        assert.equal(status.arbiter.pid, list[3].pid)
        assert.equal(status.arbiter.supervisor_pid, list[1].pid)
        for i = 2, #list do
            assert.equal(list[i].pid, list[i].group)
            assert.equal(list[2].pid, list[i].session)
        end
        assert.are_not.equal(list[1].session, list[2].session)
    end)

    it("has its titles whole, however short the command line was", function()
        local dir = tempdir.new()
        local apps, list = {}, {}
        for i = 1, 40 do
            apps[i] = ("app_with_a_long_name_%d"):format(i)
            list[i] = apps[i] .. " = { module = 'apps.echo' }"
        end
        tempdir.write(dir .. "/dirty.conf.lua",
            ("workers = 2; socket = '%s/s'; apps = { %s }"):format(dir, table.concat(list, ", ")))
        local p = process.start({ "env", "-i", process.dirty(), "serve" }, { cwd = dir })
        defer(function()
            p:signal(signal.SIGTERM)
            p:wait(10)
            p:close()
            tempdir.remove(dir)
        end)
        wait.until_true(function() return p:stderr():find('msg="ready"', 1, true) end, 20, "ready")
        local found = {}
        for _, entry in ipairs(tree.below(p.pid)) do
            found[entry.title] = true
        end
        for _, title in ipairs { "dirty: supervisor", "dirty: keeper", "dirty: arbiter" } do
            assert.is_true(found[title .. " " .. dir .. "/s"], title)
        end
        for number = 1, 2 do
            local some
            for title in pairs(found) do
                local own, rest = title:match("^dirty: worker " .. number .. " %[(.*)%] (.*)$")
                some = some or rest == dir .. "/s" and own
            end
            assert.truthy(some, "worker " .. number)
            for _, name in ipairs(apps) do
                assert.truthy((" " .. some .. " "):find(" " .. name .. " ", 1, true), name)
            end
        end
    end)

    it("shares with a worker the pages of its own lanes alone", function()
        -- the probes of a start and of a reload, and each worker, tell when they load the app
        local rt = runtime.start { apps = { "reader" }, args = { "--workers", "3", "--threads",
            "2" }, files = { ["reader.lua"] = [[
                local function read(path)
                    local file = io.open(path)
                    local text = file:read("*a")
                    file:close()
                    return text
                end
                local dir = debug.getinfo(1, "S").source:match("@(.*)/")
                if read("/proc/self/cmdline"):find("dirty: probe", 1, true) then
                    local file = io.open(dir .. "/probe", "w")
                    file:write(read("/proc/self/maps"))
                    file:close()
                end
                return { read = function() end }]] } }
        defer(function() rt:close() end)
        -- who has each page, by the page's inode
        local function pages_of(maps, name, owners)
            local count = 0
            for inode in maps:gmatch("rw%-s %x+ %x+:%x+ (%d+) +/dev/zero") do
                assert.is_nil(owners[inode], name)
                owners[inode] = name
                count = count + 1
            end
            return count
        end
        local function check_workers()
            local owners = {}
            for _, worker in ipairs(rt:status().workers) do
                assert.equal(2, pages_of(tempdir.read(("/proc/%d/maps"):format(worker.pid)),
                    worker.number, owners))
            end
        end
        check_workers()
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return rt:status().reload.result == "done" end, 20, "a reload")
        check_workers()
        assert.equal(0, pages_of(assert(tempdir.read(rt.dir .. "/probe")), "probe", {}))
    end)

    it("is all gone after a stop, with what apps have started", function()
        local rt = start_spawner()
        defer(function() rt:close() end)
        local list = spawn_children(rt, 1001)
        assert.same({ exit = 0 }, rt:stop())
        assert.is_nil(tree.alive(list))
        assert.is_nil(stat.lstat(rt.socket))
        assert.is_nil(stat.lstat(rt.socket .. ".lock"))
    end)
end)

describe("what an app has started", function()
    -- A process in a session of its own, when the app loads and when it is called; its number
    -- of seconds tells it from others.
    local APP = [[
        local app = {}
        local function spawn(seconds)
            return os.execute("setsid sh -c 'sleep " .. seconds .. "; true' &")
        end
        spawn(1020)
        function app:spawn(seconds) return spawn(seconds) end
        function app:hold(seconds)
            self.held = io.popen("sleep " .. seconds)
            return true
        end
        function app:churn() -- a new orphan every 50 ms
            return os.execute("setsid sh -c 'while :; do (sleep 0.02 &); sleep 0.05; done' &")
        end
        function app:exit() os.exit(3) end
        return app]]

    local rt

    local function sleeps(seconds)
        local list = {}
        for _, entry in ipairs(rt:tree()) do
            if entry.title == "sleep " .. seconds then
                list[#list + 1] = entry
            end
        end
        return list
    end

    local function wait_sleeps(seconds, count)
        local list
        wait.until_true(function()
            list = sleeps(seconds)
            return #list == count
        end, 10, function()
            return ("%d times sleep %d, there are %d"):format(count, seconds, #list)
        end)
        return list
    end

    -- Wait until both workers are ready, each has what it started when it loaded its app, and
    -- nothing is there that another process has started.
    local function wait_settled()
        local owners, workers
        wait.until_true(function()
            owners, workers = {}, {}
            for _, entry in ipairs(sleeps(1020)) do
                local env = tempdir.read(("/proc/%d/environ"):format(entry.pid)) or ""
                owners[#owners + 1] = tonumber(env:match("DIRTY_OWNER=(%d+)")) or 0
            end
            for _, worker in ipairs(rt:status().workers) do
                workers[#workers + 1] = worker.state == "ready" and worker.pid or -1
            end
            table.sort(owners)
            table.sort(workers)
            return #workers == 2 and table.concat(owners, " ") == table.concat(workers, " ")
        end, 10, function()
            return ("owners %s are workers %s"):format(table.concat(owners, " "),
                table.concat(workers, " "))
        end)
    end

    local function wait_generation(number, generation)
        wait.until_true(function()
            local worker = rt:status().workers[number]
            return worker.generation == generation and worker.state == "ready"
        end, 10, "a replacement")
    end

    before_each(function()
        rt = runtime.start { apps = { "starter" }, args = { "--workers", "2" },
            files = { ["starter.lua"] = APP } }
        defer(function() rt:close() end)
    end)

    it("ends with its worker, however that ends, in whatever session it is", function()
        wait_settled() -- what the probe has started is gone
        kill(rt:status().workers[1].pid, signal.SIGKILL)
        wait_generation(1, 2)
        wait_settled()
        assert.equal("WORKER_LOST", select(3, rt:call("starter", "exit")).code)
        wait_settled()
        assert(rt:call("starter", "hold", 1022))
        wait_sleeps(1022, 1)
        assert.equal(0, rt:command("reload", { "--wait" }).exit) -- within its 10 s
        wait_settled()
        wait_sleeps(1022, 0)
        contains(rt:log(), 'msg="what a worker left is ended"')
    end)

    -- Of the two workers the one that has answered the only call, and the other.
    local function find_owner()
        local workers = rt:status().workers
        local number = workers[1].lanes[1].served > 0 and 1 or 2
        return workers[number], workers[3 - number]
    end

    it("ends with its worker while processes of another come and go", function()
        wait_settled()
        assert(rt:call("starter", "churn"))
        local _, other = find_owner()
        kill(other.pid, signal.SIGKILL)
        wait_generation(other.number, 2)
        wait_settled()
    end)

    it("lives on with its worker while others die", function()
        assert(rt:call("starter", "spawn", 1021))
        local entry = wait_sleeps(1021, 1)[1]
        local owner, other = find_owner()
        wait_settled()
        for generation = 2, 3 do
            kill(rt:status().workers[other.number].pid, signal.SIGKILL)
            wait_generation(other.number, generation)
            wait_settled()
        end
        assert.is_true(tree.is_alive(entry))
        kill(owner.pid, signal.SIGKILL)
        wait_sleeps(1021, 0)
        assert.is_false(tree.is_alive(entry))
    end)
end)

describe("when the arbiter is killed", function()
    it("another serves on the same path within a second, and nothing old lives", function()
        local started_at = wait.now()
        local rt = start_spawner()
        local start_took = wait.now() - started_at
        defer(function() rt:close() end)
        local old = spawn_children(rt, 1002)
        local inode = stat.lstat(rt.socket).st_ino
        local calls = {}
        for i = 1, 4 do
            calls[i] = rt:start_call("apps.echo", "sleep", "60000")
        end
        wait.until_true(function() return rt:status().queue.length == 2 end, 10, "a queue")
        local arbiter = rt:status().arbiter.pid
        local killed_at = wait.now()
        kill(arbiter, signal.SIGKILL)
        assert.equal("x", (rt:call("apps.echo", "echo", "x")))
        -- where others compute, a start takes its time too
        assert.is_true(wait.now() - killed_at < 1.5 * wait.SLOW + 2 * start_took,
            wait.now() - killed_at)
        table.remove(old, 1) -- the supervisor
        assert.is_nil(tree.alive(old))
        assert.equal(inode, stat.lstat(rt.socket).st_ino)
        for _, call in ipairs(calls) do
            assert.same({ exit = 5 }, call:wait(5))
            call:close()
        end
        local status = rt:status()
        assert.same({ 1, "signal 9 SIGKILL", rt.pid }, { status.arbiter.restarts,
            status.arbiter.last_exit, status.arbiter.supervisor_pid })
        contains(rt:command("status").stdout, ("under supervisor pid %d, restarted 1 times, "
            .. "last after: signal 9 SIGKILL"):format(rt.pid))
        for _, part in ipairs { 'msg="arbiter ended" how="signal 9 SIGKILL"',
            'msg="the arbiter is started again" restarts=1',
            'msg="what the arbiter left is gone"' } do
            contains(rt:log(), part)
        end
        assert.same({ exit = 0 }, rt:stop())
    end)

    it("the next one has the configuration as it is now", function()
        local rt = runtime.start { config = [[
            workers, socket_mode = 1, "0600"
            apps = { "apps.echo" }]] }
        defer(function() rt:close() end)
        tempdir.write(rt.dir .. "/dirty.conf.lua", [[
            workers, socket_mode = 2, "0666"
            apps = { "apps.echo", other = { module = "apps.echo" } }]])
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        local status = wait_for_another(rt, arbiter)
        assert.equal(2, #status.workers)
        assert.equal("x", (rt:call("other", "echo", "x")))
        assert.equal(tonumber("666", 8), stat.lstat(rt.socket).st_mode % 512)
    end)

    -- What is wrong with the file when the next arbiter reads it, and what the log says then.
    local BROKEN = {
        { "broken", "workers = = 1", "dirty.conf.lua:1: unexpected symbol" },
        { "endless", "workers = 1 while true do end", "dirty.conf.lua: it took too long" },
        { "endless in the arbiter alone, for its hooks", [[
            apps = { 'apps.echo' }
            function on_starting() end
            if io.open("/proc/self/cmdline"):read("*a"):find("dirty: probe", 1, true) then
                return
            end
            while true do end]], "ran for more than 2" },
    }

    for _, case in ipairs(BROKEN) do
        it("and the configuration is " .. case[1] .. ", the next serves with that of the start",
            function()
                local good = "workers = 1\nboot_timeout = 2\napps = { 'apps.echo' }"
                local rt = runtime.start { config = good }
                defer(function() rt:close() end)
                local path = rt.dir .. "/dirty.conf.lua"
                tempdir.write(path, case[2])
                local arbiter = rt:status().arbiter.pid
                kill(arbiter, signal.SIGKILL)
                assert.equal("patience", (rt:call("apps.echo", "echo", "patience")))
                local status = wait_for_another(rt, arbiter)
                assert.same({ 1, 1 }, { status.arbiter.restarts, #status.workers })
                contains(rt:log(), "the configuration can't be read")
                contains(rt:log(), case[3])
                tempdir.write(path, (good:gsub("workers = 1", "workers = 2")))
                local r = rt:command("reload", { "--wait" })
                assert.equal(0, r.exit, r.stderr)
                assert.equal(2, #rt:status().workers)
                assert.equal(1, rt:status().arbiter.restarts)
            end)
    end

    it("and the configuration has hooks, those are as it is now", function()
        local rt = runtime.start { config = "workers = 1\napps = { 'apps.echo' }" }
        defer(function() rt:close() end)
        tempdir.write(rt.dir .. "/dirty.conf.lua", [[
            workers, apps = 2, { "apps.echo" }
            function on_starting() print "hooked" end]])
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        assert.equal(2, #wait_for_another(rt, arbiter).workers)
        wait.until_true(function()
            return (rt.process:stdout() .. rt:log()):find("hooked", 1, true)
        end, 10, "a hook")
    end)

    -- Kill every arbiter by its keeper until so many died in a row.
    local function kill_until(rt, quick_deaths)
        wait.until_true(function()
            local keeper = tree.find(rt:tree(), "^dirty: keeper")
            if keeper then
                signal.kill(keeper.pid, signal.SIGKILL)
            end
            return rt:log():find("quick_deaths=" .. quick_deaths, 1, true)
        end, 30, function() return quick_deaths .. " tries\n" .. rt:log() end)
    end

    it("again and again, the next one is started after a pause, which HUP ends", function()
        local rt = runtime.start { apps = { "apps.echo" } }
        defer(function() rt:close() end)
        kill_until(rt, 9)
        contains(rt:log(), "in_ms=100 quick_deaths=4")
        contains(rt:log(), "in_ms=3200 quick_deaths=9")
        local call = rt:start_call("apps.echo", "echo", "patience")
        local at = wait.now()
        rt:signal(signal.SIGHUP)
        assert.same({ exit = 0 }, call:wait(10))
        assert.is_true(wait.now() - at < 3 * wait.SLOW)
        assert.equal("patience", call:stdout())
        call:close()
        assert.same({ exit = 0 }, rt:stop())
    end)

    it("while no arbiter runs, TERM ends it", function()
        local rt = runtime.start { apps = { "apps.echo" } }
        defer(function() rt:close() end)
        kill_until(rt, 8)
        assert.same({ exit = 0 }, rt:stop(5))
        assert.is_nil(stat.lstat(rt.socket))
    end)
end)

-- Apps whose code breaks on the disk take neither the runtime nor other apps with them.
describe("when code on the disk is broken", function()
    local GOOD = "return { value = function() return %q end }"
    local rt

    local function write(name, text)
        tempdir.write(rt.dir .. "/" .. name .. ".lua", text)
    end

    local function start_shops()
        rt = runtime.start { config = [[
            workers = 2
            boot_timeout = 10
            apps = { "fruit", "meat", "bread" }]], files = { ["fruit.lua"] = GOOD:format("apple"),
                ["meat.lua"] = GOOD:format("ham"), ["bread.lua"] = GOOD:format("bun") } }
        defer(function() rt:close() end)
    end

    local function wait_value(app, value)
        wait.until_true(function() return rt:call(app, "value") == value end, 20,
            function() return app .. " gives " .. value .. "\n" .. rt:log() end)
    end

    local function assert_apart(app, reason)
        local _, _, info = rt:call(app, "value")
        assert.equal("NO_WORKERS", info.code)
        assert.equal("no", info.started)
        contains(info.message, reason)
        assert.is_true(info.retry_after_ms > 0)
        contains(rt:status().apps[app].apart, reason)
    end

    it("a new arbiter serves the other apps, and that one once it is good again", function()
        start_shops()
        write("meat", "return {{")
        write("bread", "return { init = function() error 'no flour' end, value = print }")
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        local value, err = rt:call("fruit", "value")
        assert.equal("apple", value, tostring(err) .. rt:log())
        local status = wait_for_another(rt, arbiter)
        assert.equal(1, status.arbiter.restarts)
        assert_apart("meat", "meat.lua:1: unexpected symbol near '<eof>'")
        wait.until_true(function() return type(rt:status().apps.bread.apart) == "string" end, 10,
            "bread is set apart")
        assert_apart("bread", "no flour")
        contains(rt:command("status").stdout, "app meat can't boot and is set apart: ")
        for _ = 1, 20 do
            assert.equal("apple", (rt:call("fruit", "value")))
        end
        -- the breaker's next try
        write("meat", GOOD:format("beef"))
        wait_value("meat", "beef")
        assert_apart("bread", "no flour")
        -- a reload deals all to all
        write("bread", GOOD:format("bagel"))
        assert.equal(0, rt:command("reload", { "--wait" }).exit)
        assert.equal("bagel", (rt:call("bread", "value")))
        status = rt:status()
        for _, app in pairs(status.apps) do
            assert.equal(2, app.workers)
            assert.are_not.equal("string", type(app.apart))
        end
        assert.equal(2, #status.workers)
        assert.equal(1, status.arbiter.restarts)
    end)

    it("a worker that dies takes no other app with it, and all is as before by itself", function()
        start_shops()
        write("bread", "error 'no oven'")
        for number = 1, 2 do
            kill(rt:status().workers[number].pid, signal.SIGKILL)
        end
        wait_value("fruit", "apple")
        wait.until_true(function() return type(rt:status().apps.bread.apart) == "string" end, 10,
            "bread is set apart")
        assert_apart("bread", "no oven")
        wait.until_true(function()
            local apps = rt:status().apps
            return apps.fruit.ready == 2 and apps.meat.ready == 2
        end, 10, "two for the others")
        -- nobody has asked for what is in the file now
        tempdir.write(rt.dir .. "/dirty.conf.lua", "workers = 3 error 'half edited'")
        write("bread", GOOD:format("roll"))
        wait_value("bread", "roll")
        wait.until_true(function()
            local status = rt:status()
            return status.apps.bread.ready == 2 and #status.workers == 2
        end, 20, "a reload")
        contains(rt:log(), "apps that were set apart boot again")
        assert.equal("roll", (rt:call("bread", "value")))
    end)

    it("all of it: a new arbiter says so to each caller", function()
        rt = runtime.start { apps = { "fruit:1" },
            files = { ["fruit.lua"] = GOOD:format("apple") } }
        defer(function() rt:close() end)
        write("fruit", "return {{")
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        local _, _, info = rt:call("fruit", "value")
        assert.equal("NO_WORKERS", info.code)
        contains(info.message, "fruit.lua:1: unexpected symbol near '<eof>'")
        write("fruit", GOOD:format("pear"))
        wait_value("fruit", "pear")
        assert.equal(1, rt:status().arbiter.restarts)
    end)
end)

describe("when the arbiter hangs", function()
    -- An arbiter that may be silent for a second.
    local function start_impatient(config)
        local rt = runtime.start { config = "arbiter_timeout = 1\nworkers = 1\n"
            .. "apps = { 'apps.echo' }\n" .. (config or "") }
        defer(function() rt:close() end)
        return rt
    end

    it("it is killed, counted, and another serves on the same path", function()
        local rt = start_impatient()
        local old = rt:status().arbiter
        assert.equal(0, old.hangs)
        local call = rt:start_call("apps.echo", "sleep", "60000")
        wait_busy(rt, "sleep")
        local list = rt:tree()
        kill(old.pid, signal.SIGSTOP)
        assert.equal("x", (rt:call("apps.echo", "echo", "x")))
        assert.same({ exit = 5 }, call:wait())
        call:close()
        table.remove(list, 1)
        assert.is_nil(tree.alive(list))
        local arbiter = rt:status().arbiter
        assert.are_not.equal(old.pid, arbiter.pid)
        assert.same({ 1, 1, "killed: it said nothing for arbiter_timeout" },
            { arbiter.hangs, arbiter.restarts, arbiter.last_exit })
        contains(rt:log(), 'msg="the arbiter hangs: it is killed" '
            .. 'reason="it said nothing for arbiter_timeout" hangs=1')
        contains(rt:command("status").stdout, "restarted 1 times (1 had hung), last after: killed")
        contains(rt:command("metrics").stdout, "dirty_arbiter_hangs_total 1\n")
    end)

    it("it is let live where the supervisor has slept too, or for less than the limit", function()
        local rt = start_impatient()
        local list = rt:tree()
        local arbiter = list[3].pid
        for _ = 1, 2 do
            for i = 1, #list do
                kill(list[i].pid, signal.SIGSTOP)
            end
            local at = wait.now()
            wait.until_true(function() return wait.now() - at > 1.5 end, 10, "it has slept")
            for i = 1, #list do
                kill(list[i].pid, signal.SIGCONT)
            end
            assert.equal("x", (rt:call("apps.echo", "echo", "x")))
        end
        assert.equal(arbiter, rt:status().arbiter.pid)
    end)

    -- A configuration with hooks, whose file does what `way` says when a reload runs it in
    -- the arbiter.
    local function reload_way(way, rest)
        local rt = start_impatient([[
            local dir = debug.getinfo(1, "S").source:match "@(.*)/"
            local ffi = require "ffi"
            ffi.cdef "int poll(void *, unsigned long, int);"
            local function way()
                ]] .. way .. [[

            end
            for _ = 1, 1000 do pcall(function() return 1 end) end -- it is compiled
            function worker_exit() end
            if io.open(dir .. "/go")
                and io.open("/proc/self/cmdline"):read("*a"):find "dirty: arbiter" then
                os.remove(dir .. "/go")
                way()
            end
            ]] .. (rest or ""))
        tempdir.write(rt.dir .. "/go", "")
        return { rt = rt, arbiter = rt:status().arbiter.pid }
    end

    it("in the configuration's file: that is ended with an error, whatever it does", function()
        local ways = {
            spin = "while true do pcall(function() while true do end end) end",
            wait = "ffi.C.poll(nil, 0, 60000)",
            read = "io.popen('exec sleep 1011'):read('*a')",
            execute = "os.execute('exec sleep 1012')",
        }
        local runtimes = {}
        for name, way in pairs(ways) do
            runtimes[name] = reload_way(way, "arbiter_timeout = 10")
        end
        for _, r in pairs(runtimes) do
            r.rt:signal(signal.SIGHUP)
        end
        for _, r in pairs(runtimes) do
            wait.until_true(function() -- once its child is killed it may return in time
                local result = r.rt:status().reload.result
                return result == "failed" or result == "done"
            end, 20, "an end of the reload")
        end
        contains(runtimes.spin.rt:status().reload.reason, "ended: it ran for more than 2000 ms")
        for _, r in pairs(runtimes) do
            assert.equal("x", (r.rt:call("apps.echo", "echo", "x")))
            assert.equal(r.arbiter, r.rt:status().arbiter.pid)
        end
    end)

    it("in what nothing ends, and is killed", function()
        local r = reload_way [[
            local text = ("a"):rep(40)
            text:find(("a*"):rep(40) .. "b") -- in C]]
        r.rt:signal(signal.SIGHUP)
        assert.equal(1, wait_for_another(r.rt, r.arbiter, 15).arbiter.hangs)
    end)
end)

describe("when another process of the tree is killed", function()
    it("no process is left after the supervisor, children of apps included", function()
        local rt = start_spawner()
        defer(function() rt:close() end)
        local list = spawn_children(rt, 1003)
        local busy = rt:start_call("apps.echo", "spin", "60000")
        wait_busy(rt, "spin")
        kill(rt.pid, signal.SIGKILL)
        tree.wait_gone(list, 5)
        assert.same({ exit = 5 }, busy:wait(5))
        busy:close()
        contains(rt:log(), "the supervisor is gone, ending everything")
        -- what it left in the file system is no obstacle
        local again = process.start { process.dirty(), "serve", "--socket", rt.socket, "--app",
            "apps.echo" }
        wait.until_true(function() return rt:call("apps.echo", "noop") or again:ended()
            or rt:is_ready(again:stderr()) end, 20, "a new runtime")
        again:signal(signal.SIGTERM)
        assert.same({ exit = 0 }, again:wait())
        again:close()
    end)

    it("the supervisor does the keeper's work", function()
        local rt = start_spawner()
        defer(function() rt:close() end)
        local list = spawn_children(rt, 1004)
        local keeper = tree.find(list, "keeper")
        local arbiter = rt:status().arbiter.pid
        kill(keeper.pid, signal.SIGKILL)
        wait_for_another(rt, arbiter)
        table.remove(list, 1)
        assert.is_nil(tree.alive(list))
        assert.equal("keeper: signal 9 SIGKILL", rt:status().arbiter.last_exit)
    end)

    it("arbiter and workers end even when supervisor and keeper go together",
        function()
            local rt = runtime.start { apps = { "apps.echo" } }
            defer(function() rt:close() end)
            local list = rt:tree()
            local keeper = tree.find(list, "keeper")
            kill(keeper.pid, signal.SIGSTOP)
            kill(rt.pid, signal.SIGKILL)
            kill(keeper.pid, signal.SIGKILL)
            tree.wait_gone(list, 5)
        end)
end)

describe("stopping", function()
    -- A runtime in a process group of its own with a call that runs.
    local function start_busy(o)
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" },
            wrap = o and o.wrap or { "setsid" } }
        local call = rt:start_call("apps.echo", "sleep", o and o.ms or "700")
        wait_busy(rt, "sleep")
        return rt, call
    end

    it("by TERM to the process group answers the running call", function()
        local rt, call = start_busy()
        defer(function() rt:close() end)
        local list = rt:tree()
        kill(-rt.pid, signal.SIGTERM)
        assert.same({ exit = 0 }, rt:wait())
        assert.same({ exit = 0 }, call:wait())
        call:close()
        assert.is_nil(tree.alive(list))
    end)

    it("refuses new callers at once while the last answer is waited for", function()
        local rt, call = start_busy()
        defer(function() rt:close() end)
        rt:signal(signal.SIGTERM)
        wait.until_true(function() return not stat.lstat(rt.socket) end, 5, "the path is gone")
        assert.is_false(call:ended())
        assert.equal(5, rt:command("call", { "apps.echo", "noop" }).exit)
        assert.same({ exit = 0 }, rt:wait())
        assert.same({ exit = 0 }, call:wait())
        call:close()
    end)

    it("by a second TERM or by QUIT ends what runs with SHUTDOWN", function()
        for _, numbers in ipairs { { signal.SIGTERM, signal.SIGTERM },
            { signal.SIGINT, signal.SIGTERM }, { signal.SIGQUIT } } do
            local rt, call = start_busy { ms = "60000" }
            defer(function() rt:close() end)
            for i, number in ipairs(numbers) do
                rt:signal(number)
                wait.until_true(function()
                    return select(2, rt:log():gsub("told to stop", "")) == i
                end, 5, "signal taken")
            end
            assert.same({ exit = 0 }, rt:wait(5))
            assert.same({ exit = 1 }, call:wait())
            contains(call:stderr(), "SHUTDOWN")
            call:close()
        end
    end)

    it("by Ctrl-C in a terminal answers the running call", function()
        local lacking = machine.no_terminal()
        if lacking then
            pending(lacking)
            return
        end
        local dir = tempdir.new()
        local socket, log = dir .. "/s", dir .. "/log"
        local master = assert(stdlib.openpt(fcntl.O_RDWR + fcntl.O_NOCTTY))
        assert(stdlib.grantpt(master) == 0 and stdlib.unlockpt(master) == 0)
        local terminal = stdlib.ptsname(master)
        -- a session whose first terminal is this one: its leader's group is in front
        local shell = process.start { "setsid", "sh", "-c", ('exec <%s >%s 2>&1; exec %s serve '
            .. '--app apps.echo --socket %s --workers 1 --log-file %s'):format(terminal, terminal,
            process.dirty(), socket, log) }
        defer(function()
            unistd.close(master)
            shell:close()
            tempdir.remove(dir)
        end)
        wait.until_true(function()
            return (tempdir.read(log) or ""):find('msg="ready"', 1, true)
        end, 20, function() return "ready\n" .. (tempdir.read(log) or "") end)
        local call = process.start { process.dirty(), "call", "--socket", socket, "apps.echo",
            "sleep", tostring(500 * wait.SLOW) }
        wait.until_true(function()
            return process.run_dirty({ "status", "--socket", socket }).stdout:find(
                "apps.echo.sleep", 1, true)
        end, 10, "a call that runs")
        local list = tree.below(shell.pid)
        assert.equal(5 - 1, #list)
        assert(unistd.write(master, "\3"))
        assert.same({ exit = 0 }, shell:wait())
        assert.same({ exit = 0 }, call:wait())
        call:close()
        assert.is_nil(tree.alive(list))
        contains(tempdir.read(log), "signal=SIGINT")
    end)

    it("kills an arbiter that does not end as told", function()
        local rt = runtime.start { apps = { "apps.echo" } }
        defer(function() rt:close() end)
        local list = rt:tree()
        kill(rt:status().arbiter.pid, signal.SIGSTOP)
        rt:signal(signal.SIGTERM)
        assert.same({ exit = 5 }, rt:wait(15))
        assert.is_nil(tree.alive(list))
        contains(rt:log(), "the arbiter hangs: it is killed\" reason=\"it does not end as told")
    end)

    it("ends what runs at once where graceful_timeout is 0", function()
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--graceful-timeout", "0" } }
        defer(function() rt:close() end)
        local call = rt:start_call("apps.echo", "sleep", "60000")
        wait_busy(rt, "sleep")
        assert.same({ exit = 0 }, rt:stop(4))
        assert.same({ exit = 1 }, call:wait())
        contains(call:stderr(), "SHUTDOWN")
        call:close()
    end)

    it("kills an arbiter that does not come up", function()
        local rt = runtime.launch { apps = { "slow" }, args = { "--boot-timeout", "0.5" },
            files = { ["slow.lua"] = "return { init = function() os.execute('sleep 1007') end, "
                .. "n = print }" } }
        defer(function() rt:close() end)
        wait.until_true(function() return tree.find(rt:tree(), "^sleep 1007") end, 10, "a boot")
        local list = rt:tree()
        kill(tree.find(list, "^dirty: arbiter").pid, signal.SIGSTOP)
        assert.same({ exit = 5 }, rt:wait(15))
        assert.is_nil(tree.alive(list))
        contains(rt:log(), "the arbiter hangs: it is killed\" reason=\"it does not come up")
    end)

    it("while the apps load ends at once", function()
        local rt = runtime.launch { apps = { "slow" }, files = { ["slow.lua"] =
            "os.execute('sleep 1005')\nreturn {}" } }
        defer(function() rt:close() end)
        wait.until_true(function() return tree.find(rt:tree(), "^sleep 1005") end, 10, "a load")
        local list = rt:tree()
        rt:signal(signal.SIGTERM)
        assert.same({ exit = 0 }, rt:wait(5))
        assert.is_nil(tree.alive(list))
    end)
end)

-- An end in the middle of something: it is quick, and leaves nothing.
describe("an end", function()
    -- While the file `load` is there the app does not come to the end of its loading, while
    -- `init` is there not to that of its init. Both are in C: nothing interrupts them.
    local APP = [[
        local dir = debug.getinfo(1, "S").source:match("@(.*)/")
        local function pass(gate)
            os.execute(("while test -e %s/%s; do sleep 0.01; done"):format(dir, gate))
        end
        pass "load"
        return { init = function() pass "init" end, value = function() return 1 end,
            hold = function() pass "hold" return 2 end,
            daemon = function() os.execute "setsid sleep 1030 &" return true end }]]
    local rt

    local function shut(gate)
        tempdir.write(rt.dir .. "/" .. gate, "")
    end

    local function wait_gate(gate)
        wait.until_true(function() return tree.find(rt:tree(), "/" .. gate .. ";") end, 10, gate)
    end

    local MOMENTS = {
        { "while the apps load", start = "load" },
        { "while workers boot", start = "init" },
        { "while a reload loads the apps", serves = function()
            shut "load"
            rt:signal(signal.SIGHUP)
            wait_gate "load"
        end },
        { "while a reload boots workers", serves = function()
            shut "init"
            rt:signal(signal.SIGHUP)
            wait_gate "init"
        end },
        { "while a stop waits for a call", serves = function()
            shut "hold"
            rt.call_under_way = rt:start_call("gated", "hold")
            wait_gate "hold"
            rt:signal(signal.SIGTERM)
            wait.until_true(function()
                return rt:log():find("stopping: finishing what was accepted", 1, true)
            end, 10, "a stop")
        end },
    }

    local ENDS = {
        { "TERM", function() kill(rt.pid, signal.SIGTERM) end, { exit = 0 } },
        { "INT to the group", function() kill(-rt.pid, signal.SIGINT) end, { exit = 0 } },
        { "a kill of the supervisor", function() kill(rt.pid, signal.SIGKILL) end,
            { signal = signal.SIGKILL } },
        { "a kill of supervisor and arbiter", function(list)
            kill(rt.pid, signal.SIGKILL) -- first: it would end with a status of its own
            signal.kill(list[3].pid, signal.SIGKILL)
        end, { signal = signal.SIGKILL } },
    }

    for _, moment in ipairs(MOMENTS) do
        it(moment[1] .. " is quick and leaves nothing behind, whatever it is by", function()
            for _, how in ipairs(ENDS) do
                rt = runtime.launch { apps = { "gated" }, args = { "--workers", "1" },
                    files = { ["gated.lua"] = APP, [moment.start or "none"] = "" },
                    wrap = { "setsid" } }
                defer(function() rt:close() end)
                if moment.start then
                    wait_gate(moment.start)
                else
                    wait.until_true(function() return rt:is_ready() end, 20, "ready")
                    assert(rt:call("gated", "daemon"))
                    moment.serves()
                end
                local list = rt:tree()
                how[2](list)
                assert.same(how[3], rt:wait(10), how[1])
                tree.wait_gone(list, 10)
                if rt.call_under_way then
                    assert.is_true(rt.call_under_way:wait(10).exit ~= 0)
                    rt.call_under_way:close()
                end
            end
        end)
    end
end)

describe("signals", function()
    it("HUP, TTIN and TTOU reach the arbiter, those sent while it boots too", function()
        local rt = runtime.launch { apps = { "slow" }, args = { "--workers", "1" }, files = {
            ["slow.lua"] = "os.execute('sleep 0.5')\nreturn { n = function() return 1 end }" } }
        defer(function() rt:close() end)
        wait.until_true(function() return rt:log():find("arbiter started", 1, true) end, 10,
            "an arbiter")
        rt:signal(signal.SIGUSR1)
        wait.until_true(function() return rt:is_ready() end, 20, "ready")
        rt:signal(signal.SIGTTIN)
        wait.until_true(function() return #rt:status().workers == 2 end, 10, "a second worker")
        rt:signal(signal.SIGTTOU)
        wait.until_true(function() return #rt:status().workers == 1 end, 10, "one worker")
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return rt:status().reload.number == 1 end, 10, "a reload")
    end)
end)

describe("what whoever started it had set", function()
    it("going as a child of its own lives on", function()
        local rt = start_spawner { wrap = { "sh", "-c", 'sleep 1040 & exec "$@"', "sh" } }
        defer(function() rt:close() end)
        local list = tree.below(rt.pid)
        local own = tree.find(list, "^sleep 1040")
        defer(function() signal.kill(own.pid, signal.SIGKILL) end)
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        wait_for_another(rt, arbiter)
        assert.is_true(tree.is_alive(own))
        assert.same({ exit = 0 }, rt:stop())
        assert.is_true(tree.is_alive(own))
    end)

    it("of signals is of no matter", function()
        local rt = start_spawner { wrap = { "sh", "-c", "trap '' CHLD HUP INT TERM QUIT USR1 "
            .. 'TTIN TTOU; exec "$@"', "sh" } }
        defer(function() rt:close() end)
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        wait_for_another(rt, arbiter)
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return rt:status().reload.result == "done" end, 10, "a reload")
        local list = spawn_children(rt, 1008)
        rt:signal(signal.SIGINT)
        assert.same({ exit = 0 }, rt:wait())
        assert.is_nil(tree.alive(list))
    end)
end)

describe("opening the logs again", function()
    it("by an action reaches every process of the tree", function()
        local dir = tempdir.new()
        local rt = runtime.launch { apps = { "apps.echo" },
            args = { "--log-file", dir .. "/log" } }
        defer(function()
            rt:close()
            tempdir.remove(dir)
        end)
        wait.until_true(function() return rt:is_ready(tempdir.read(dir .. "/log") or "") end, 20,
            "ready")
        assert(os.rename(dir .. "/log", dir .. "/log.1"))
        assert.is_true(rt:call("@arbiter", "reopen_logs"))
        local list = rt:tree()
        wait.until_true(function()
            for _, entry in ipairs(list) do
                local held = process.run { "ls", "-l", ("/proc/%d/fd"):format(entry.pid) }
                if held.stdout:find(dir .. "/log.1", 1, true) and
                    not entry.title:find("keeper") then -- it opens it when it has to say something
                    return false
                end
            end
            return true
        end, 10, "nobody holds the old file")
        local old = tempdir.read(dir .. "/log.1")
        kill(rt.pid, signal.SIGKILL)
        tree.wait_gone(list, 5)
        contains(tempdir.read(dir .. "/log"), "the supervisor is gone")
        assert.equal(old, tempdir.read(dir .. "/log.1"))
    end)
end)

describe("two starters", function()
    it("at the same time: one serves, the other ends with status 3", function()
        for _ = 1, 5 do
            local dir = tempdir.new()
            local both = {}
            for i = 1, 2 do
                both[i] = process.start { process.dirty(), "serve", "--app", "apps.echo",
                    "--workers", "1", "--socket", dir .. "/s" }
            end
            defer(function()
                both[1]:close()
                both[2]:close()
                tempdir.remove(dir)
            end)
            wait.until_true(function() return both[1]:ended() or both[2]:ended() end, 20,
                "one has ended")
            local loser = both[1]:ended() and both[1] or both[2]
            local winner = loser == both[1] and both[2] or both[1]
            assert.same({ exit = 3 }, loser.status)
            contains(loser:stderr(), "another runtime serves this socket")
            wait.until_true(function()
                return winner:stderr():find('msg="ready"', 1, true)
            end, 20, "the other serves")
            winner:signal(signal.SIGTERM)
            assert.same({ exit = 0 }, winner:wait())
        end
    end)
end)

describe("the pidfile", function()
    it("holds the supervisor's pid, stays while arbiters change, is never trusted", function()
        local dir = tempdir.new()
        local path, victim = dir .. "/d.pid", process.start { "sleep", "1006" }
        local rt
        defer(function()
            if rt then rt:close() end
            victim:close()
            tempdir.remove(dir)
        end)
        tempdir.write(dir .. "/target", "precious")
        assert(unistd.link(dir .. "/target", path, true))
        rt = runtime.start { apps = { "apps.echo" }, args = { "--pidfile", path } }
        assert.equal("precious", tempdir.read(dir .. "/target"))
        assert.equal(rt.pid .. "\n", tempdir.read(path))
        assert.equal(tonumber("644", 8), stat.lstat(path).st_mode % 512)
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        wait_for_another(rt, arbiter)
        assert.equal(rt.pid .. "\n", tempdir.read(path))
        -- somebody else's pid in it: neither removed nor killed
        tempdir.write(path, victim.pid .. "\n")
        assert.same({ exit = 0 }, rt:stop())
        assert.equal(victim.pid .. "\n", tempdir.read(path))
        assert.is_false(victim:ended())
    end)
end)

describe("a pidfile that can't be written", function()
    it("is said at the start, with status 2, and nothing is served", function()
        local dir = tempdir.new()
        defer(function() tempdir.remove(dir) end)
        assert(stat.mkdir(dir .. "/d"))
        for path, reason in pairs { ["/nowhere/d.pid"] = "No such file or directory",
            ["/proc/d.pid"] = "No such file or directory", [dir .. "/d"] = "Is a directory",
            [dir .. "/" .. ("x"):rep(250)] = "File name too long" } do
            local r = process.run_dirty { "serve", "--app", "apps.echo", "--socket", dir .. "/s",
                "--pidfile", path }
            assert.equal(2, r.exit, path .. ": " .. r.stderr)
            contains(r.stderr, ("dirty serve: pidfile = %q (flag --pidfile): %s"):format(path,
                reason))
        end
        assert.is_nil(stat.lstat(dir .. "/s"))
    end)

    it("any more once the runtime serves is written as soon as it can be", function()
        local dir = tempdir.new()
        assert(stat.mkdir(dir .. "/run"))
        local rt = runtime.launch { apps = { "gated" }, args = { "--pidfile", dir .. "/run/pid",
            "--workers", "1" }, files = { gate = "", ["gated.lua"] = [[
                local dir = debug.getinfo(1, "S").source:match("@(.*)/")
                os.execute(("while test -e %s/gate; do sleep 0.01; done"):format(dir))
                return { value = print }]] } }
        defer(function()
            rt:close()
            tempdir.remove(dir)
        end)
        wait.until_true(function() return tree.find(rt:tree(), "/gate;") end, 10, "a load")
        assert(unistd.rmdir(dir .. "/run"))
        assert(os.remove(rt.dir .. "/gate"))
        wait.until_true(function() return rt:is_ready() end, 20, "ready")
        contains(rt:log(), "pidfile can't be written")
        assert(stat.mkdir(dir .. "/run"))
        wait.until_true(function()
            return tempdir.read(dir .. "/run/pid") == rt.pid .. "\n"
        end, 10, "a pidfile")
        assert.same({ exit = 0 }, rt:stop())
        assert.is_nil(stat.lstat(dir .. "/run/pid"))
    end)
end)

describe("the service manager", function()
    local function start_notified(name, o)
        local notify = notify_socket.open(name)
        o = o or {}
        o.apps = o.apps or { "apps.echo", "leaks" }
        o.files = { ["leaks.lua"] = "return { env = function() return "
            .. "os.getenv 'NOTIFY_SOCKET', os.getenv 'WATCHDOG_USEC', os.getenv 'HOME' end }",
            ["gated.lua"] = o.gated }
        o.env = o.env or {}
        o.env.NOTIFY_SOCKET = name
        local rt = runtime.launch(o)
        return rt, notify
    end

    local function in_order(messages, patterns)
        local at = 1
        for _, message in ipairs(messages) do
            if patterns[at] and message:find(patterns[at]) then
                at = at + 1
            end
        end
        assert.is_nil(patterns[at], ("no %q in order in:\n%s"):format(tostring(patterns[at]),
            table.concat(messages, "\n--\n")))
    end

    for kind, name in pairs { path = os.tmpname(), abstract = "@dirty-spec-" .. unistd.getpid() } do
        it("is told of start, reload, restart and stop on a socket with a name of kind " .. kind,
            function()
                os.remove(name)
                local rt, notify = start_notified(name)
                defer(function()
                    rt:close()
                    notify:close()
                    os.remove(name)
                end)
                local ready = notify:wait("^READY=1\n")
                assert.truthy(ready:find("\nMAINPID=" .. rt.pid .. "\n", 1, true))
                assert.truthy(ready:find("\nSTATUS=Serving: socket=" .. rt.socket, 1, true))
                wait.until_true(function() return rt:is_ready() end, 5, "ready in the log")
                rt:signal(signal.SIGHUP)
                local reloading, at = notify:wait("^RELOADING=1\n")
                local usec = tonumber(reloading:match("\nMONOTONIC_USEC=(%d+)\n")) / 1e6
                assert.is_true(usec <= wait.now() and usec > wait.now() - 10)
                notify:wait("^READY=1\nSTATUS=Reloaded$", at)
                tempdir.write(rt.dir .. "/leaks.lua", "oops oops")
                rt:signal(signal.SIGHUP)
                notify:wait("^READY=1\nSTATUS=Reload failed, the old code goes on: app leaks", at)
                local arbiter = rt:status().arbiter.pid
                tempdir.write(rt.dir .. "/leaks.lua", "return { env = print }")
                kill(arbiter, signal.SIGKILL)
                notify:wait("^STATUS=The arbiter ended %(signal 9 SIGKILL%)")
                notify:wait("^READY=1\nMAINPID", at)
                assert.same({ exit = 0 }, rt:stop())
                in_order(notify:take(), { "^STATUS=Starting$", "^READY=1\nMAINPID", "^RELOADING=1",
                    "^READY=1\nSTATUS=Reloaded", "^RELOADING=1", "^READY=1\nSTATUS=Reload failed",
                    "^STATUS=The arbiter ended", "^READY=1\nMAINPID", "^STOPPING=1\nSTATUS=" })
                for _, message in ipairs(notify.messages) do
                    assert.is_nil(message:find("WATCHDOG", 1, true))
                end
            end)
    end

    it("is told of the watchdog only while the arbiter's loop turns", function()
        local name = "@dirty-spec-watchdog-" .. unistd.getpid()
        local rt, notify = start_notified(name, { env = { WATCHDOG_USEC = "400000" } })
        defer(function()
            rt:close()
            notify:close()
        end)
        notify:wait("^READY=1")
        local function count()
            local n = 0
            for _, message in ipairs(notify:take()) do
                n = n + (message == "WATCHDOG=1" and 1 or 0)
            end
            return n
        end
        local before, at = count(), wait.now()
        wait.until_true(function() return count() >= before + 5 end, 10, "five more")
        assert.is_true(wait.now() - at > 0.7) -- every 200 ms
        assert.same({}, { rt:call("leaks", "env"), (select(2, rt:call("leaks", "env"))) })
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGSTOP)
        defer(function()
            signal.kill(arbiter, signal.SIGCONT)
            rt:close()
            notify:close()
        end)
        local stopped_at = wait.now()
        local last = count()
        wait.until_true(function()
            if count() > last then
                last, stopped_at = count(), wait.now()
            end
            return wait.now() - stopped_at > 1 -- five times the interval
        end, 20, "no more")
        kill(arbiter, signal.SIGCONT)
        wait.until_true(function() return count() > last end, 10, "it goes on")
    end)

    it("is told of the watchdog while the next arbiter comes up", function()
        local name = "@dirty-spec-coming-" .. unistd.getpid()
        local rt, notify = start_notified(name, { env = { WATCHDOG_USEC = "400000" },
            apps = { "gated", "leaks" }, gated = [[
                local dir = debug.getinfo(1, "S").source:match("@(.*)/")
                os.execute(("while test -e %s/gate; do sleep 0.01; done"):format(dir))
                return { value = print }]] })
        local held
        defer(function()
            signal.kill(held or 0x7fffffff, signal.SIGCONT)
            rt:close()
            notify:close()
        end)
        wait.until_true(function() return rt:is_ready() end, 20, "ready")
        tempdir.write(rt.dir .. "/gate", "")
        kill(rt:status().arbiter.pid, signal.SIGKILL)
        wait.until_true(function() return tree.find(rt:tree(), "/gate;") end, 10, "a load")
        -- it stays where it is: its patience with the app never ends
        held = tree.below(tree.find(rt:tree(), "^dirty: keeper").pid)[2].pid
        kill(held, signal.SIGSTOP)
        local from = #notify:take()
        wait.until_true(function()
            local n = 0
            for i = from + 1, #notify:take() do
                n = n + (notify.messages[i] == "WATCHDOG=1" and 1 or 0)
            end
            return n >= 5
        end, 10, "five times WATCHDOG=1")
        kill(held, signal.SIGCONT)
        assert(os.remove(rt.dir .. "/gate"))
        notify:wait("^READY=1", from)
    end)

    it("gets no watchdog where the variables are for another process", function()
        local name = "@dirty-spec-other-" .. unistd.getpid()
        local rt, notify = start_notified(name, { env = { WATCHDOG_USEC = "20000",
            WATCHDOG_PID = "1" } })
        defer(function()
            rt:close()
            notify:close()
        end)
        notify:wait("^READY=1")
        for _ = 1, 20 do
            assert(rt:call("apps.echo", "sleep", 5))
        end
        for _, message in ipairs(notify:take()) do
            assert.is_nil(message:find("WATCHDOG", 1, true))
        end
    end)

    it("that is not there, or spoken to in another way, is no reason not to serve", function()
        for _, name in ipairs { "/nowhere/notify", "vsock:2:1234", "@", "x" } do
            local rt = runtime.start { apps = { "apps.echo" }, env = { NOTIFY_SOCKET = name } }
            defer(function() rt:close() end)
            contains(rt:log(), "the service manager")
            assert.same({ exit = 0 }, rt:stop())
        end
    end)

    it("finds nothing wrong with the unit in examples", function()
        local unit = tempdir.read("examples/systemd/dirty.service")
        local settings = {}
        for name, value in unit:gmatch("\n(%u%w+)=([^\n]*)") do
            settings[name] = value
        end
        assert.same({ "notify", "mixed", "on-failure", "/bin/kill -HUP $MAINPID", "main" },
            { settings.Type, settings.KillMode, settings.Restart, settings.ExecReload,
                settings.NotifyAccess })
        local stop_seconds = tonumber(settings.TimeoutStopSec)
        assert.is_true(stop_seconds > 2 * options.by_name.graceful_timeout.default + 5)
        local args = {}
        for word in settings.ExecStart:gmatch("%S+") do
            args[#args + 1] = word
        end
        table.remove(args, 1)
        args[1] = "config" -- the flags exist: only the file is missing
        contains(process.run_dirty(args).stderr, "/etc/dirty.conf.lua")
        if process.run({ "sh", "-c", "command -v systemd-analyze" }).exit ~= 0 then
            return
        end
        local dir = tempdir.new()
        defer(function() tempdir.remove(dir) end)
        tempdir.write(dir .. "/dirty.service",
            (unit:gsub("/usr/local/bin/dirty", process.dirty())))
        local r = process.run({ "systemd-analyze", "verify", dir .. "/dirty.service" },
            { seconds = 60 })
        assert.equal("", r.stderr)
        assert.equal(0, r.exit)
    end)
end)

describe("another user", function()
    local UID = 65534 -- nobody
    local lacking = machine.no_root() or machine.closed_to_others()
    if lacking then
        pending(lacking)
        return
    end

    -- Where that user may look: the apps' directory, not this checkout.
    local function start_as_nobody(o)
        local dir = tempdir.new()
        assert(stat.chmod(dir, tonumber("755", 8)) == 0)
        o.cwd = dir
        tempdir.write(dir .. "/who.lua", [[
            local ffi = require "ffi"
            ffi.cdef "int setuid(unsigned); int seteuid(unsigned); int getuid(void);"
            local loaded_by = ffi.C.getuid()
            local app = {}
            function app:loaded_by() return loaded_by end
            function app:regain()
                return ffi.C.setuid(0), ffi.C.seteuid(0), (io.open("/etc/shadow"))
            end
            function app:env() return os.getenv "USER", os.getenv "HOME", os.getenv "LOGNAME" end
            function app:adjust()
                local file = assert(io.open("/proc/self/oom_score_adj", "w"))
                return file:write("500") and file:close()
            end
            return app]])
        o.apps = { "who" }
        local rt = runtime.launch(o)
        assert(stat.chmod(rt.dir, tonumber("755", 8)) == 0)
        rt.apps_dir = dir
        wait.until_true(function()
            return rt:is_ready(o.log and tempdir.read(o.log)) or rt.process:ended()
        end, 20, function() return "ready\n" .. rt:log() end)
        return rt
    end

    local function close(rt)
        rt:close()
        tempdir.remove(rt.apps_dir)
    end

    local function ids_of(pid, what)
        return tempdir.read(("/proc/%d/status"):format(pid)):match("\n" .. what .. ":%s*([^\n]*)")
            :gsub("%s+", " "):gsub(" $", "")
    end

    it("is whom arbiter and workers run as, for good; the socket is theirs", function()
        local rt = start_as_nobody { args = { "--user", "nobody" } }
        defer(function() close(rt) end)
        local status = rt:status()
        for _, pid in ipairs { status.arbiter.pid, status.workers[1].pid } do
            assert.equal("65534 65534 65534 65534", (ids_of(pid, "Uid")))
            assert.equal("65534 65534 65534 65534", (ids_of(pid, "Gid")))
            assert.equal("65534", (ids_of(pid, "Groups")))
            assert.equal("0000000000000000", (ids_of(pid, "CapEff")))
            assert.equal("0000000000000000", (ids_of(pid, "CapPrm")))
        end
        assert.equal("0 0 0 0", (ids_of(rt.pid, "Uid")))
        local socket = stat.lstat(rt.socket)
        assert.same({ UID, UID }, { socket.st_uid, socket.st_gid })
        assert.equal(UID, (rt:call("who", "loaded_by")))
        assert.same({ -1, -1 }, { rt:call("who", "regain") })
        assert.same({ "nobody", "/nonexistent", "nobody" }, { rt:call("who", "env") })
        assert.is_true((rt:call("who", "adjust")))
        -- a caller of that user gets through, and may stop it
        local r = machine.run_as_nobody(process.dirty(), "status", "--socket", rt.socket)
        assert.equal(0, r.exit, r.stderr)
        -- the next arbiter is that user too, and ends with its parent
        kill(status.arbiter.pid, signal.SIGKILL)
        status = wait_for_another(rt, status.arbiter.pid)
        assert.equal("65534 65534 65534 65534", (ids_of(status.arbiter.pid, "Uid")))
        local list = rt:tree()
        kill(rt.pid, signal.SIGKILL)
        tree.wait_gone(list, 5)
    end)

    it("can open the log file again, and the pidfile is root's", function()
        local dir = tempdir.new()
        assert(stat.chmod(dir, tonumber("755", 8)) == 0)
        local rt = start_as_nobody { args = { "--user", "65534", "--group", "daemon", "--pidfile",
            dir .. "/pid", "--log-file", dir .. "/log" }, log = dir .. "/log" }
        defer(function()
            close(rt)
            tempdir.remove(dir)
        end)
        local function log()
            return tempdir.read(dir .. "/log") or ""
        end
        assert.equal(UID, stat.lstat(dir .. "/log").st_uid)
        assert.equal(0, stat.lstat(dir .. "/pid").st_uid)
        assert(os.rename(dir .. "/log", dir .. "/log.1"))
        rt:signal(signal.SIGUSR1)
        wait.until_true(function() return stat.lstat(dir .. "/log") end, 10, "a new file")
        assert.equal(UID, stat.lstat(dir .. "/log").st_uid)
        rt:stop()
        for _, who in ipairs { "supervisor", "arbiter" } do
            assert.truthy(log():find("who=" .. who, 1, true), who .. "\n" .. log())
        end
        assert.is_nil(log():find("can't be reopened", 1, true))
    end)

    it("is warned for who can reach neither socket nor configuration", function()
        local rt = start_as_nobody { config = "user = 'nobody'\nworkers = 1" }
        defer(function() close(rt) end)
        assert.is_nil(rt:log():find("can't re", 1, true))
        rt:stop()
        local dir = tempdir.new() -- 0700
        local closed = runtime.launch { apps = { "apps.echo" }, args = { "--socket", dir .. "/s",
            "--user", "nobody", "--config", tempdir.write(dir .. "/c.lua", "workers = 1") } }
        defer(function()
            close(rt)
            closed:close()
            tempdir.remove(dir)
        end)
        wait.until_true(function()
            return closed:log():find("can't reach the socket", 1, true) and
                closed:log():find("can't read the configuration", 1, true)
        end, 20, function() return "two warnings\n" .. closed:log() end)
    end)

    it("must exist, and is for root to name", function()
        for _, case in ipairs {
            { { "--user", "nosuch" }, 'user = "nosuch" (flag --user): there is no such user; '
                .. "make one: adduser --system --group nosuch\n" },
            { { "--group", "nosuch" }, 'group = "nosuch" (flag --group): there is no such group; '
                .. "make one: addgroup --system nosuch\n" },
            { { "--user", "54321" }, "give group too" },
        } do
            local rt = runtime.launch { apps = { "apps.echo" }, args = case[1] }
            defer(function() rt:close() end)
            assert.same({ exit = 2 }, rt:wait(10))
            contains(rt:log(), case[2])
        end
        -- the apps are tried as that user, as they will run
        local dir = tempdir.new()
        defer(function() tempdir.remove(dir) end)
        assert(stat.chmod(dir, tonumber("755", 8)) == 0)
        tempdir.write(dir .. "/tried.lua", [[
            local status = io.open("/proc/self/status"):read("*a")
            error("loaded by " .. status:match("Uid:%s*(%d+)"))]])
        local r = process.run_dirty({ "check", "--user", "nobody", "--app", "tried" },
            { cwd = dir })
        assert.equal(4, r.exit)
        contains(r.stdout, "loaded by 65534")
        local rt = runtime.launch { apps = { "apps.echo" }, args = { "--user", "root" },
            wrap = machine.AS_NOBODY }
        defer(function() rt:close() end)
        assert.same({ exit = 2 }, rt:wait(10))
        contains(rt:log(), "can be set by root only, this is uid 65534")
    end)
end)
