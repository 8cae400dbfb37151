-- The processes of a runtime: which there are, what apps start, and that all of them end.
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local supervision = require "support.supervision"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local wait = require "support.wait"

local contains, defer, kill, spawn_children, start_spawner, wait_busy, wait_for_another =
    supervision.contains, supervision.defer, supervision.kill, supervision.spawn_children,
    supervision.start_spawner, supervision.wait_busy, supervision.wait_for_another

after_each(supervision.undo)

describe("the tree", function()
    it("is a supervisor, a subreaper, the arbiter and its workers, each with its title", function()
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

    it("has complete titles, however short the command line was", function()
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

    it("shares only the pages of its own lanes with a worker", function()
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
                -- the page and the counters of each of its two lanes
                assert.equal(4, pages_of(tempdir.read(("/proc/%d/maps"):format(worker.pid)),
                    worker.number, owners))
            end
        end
        check_workers()
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return rt:status().reload.result == "done" end, 20, "a reload")
        check_workers()
        assert.equal(0, pages_of(assert(tempdir.read(rt.dir .. "/probe")), "probe", {}))
    end)

    it("is gone after a stop, with all processes that apps have started", function()
        local rt = start_spawner()
        defer(function() rt:close() end)
        local list = spawn_children(rt, 1001)
        assert.same({ exit = 0 }, rt:stop())
        assert.is_nil(tree.alive(list))
        assert.is_nil(stat.lstat(rt.socket))
        assert.is_nil(stat.lstat(rt.socket .. ".lock"))
    end)
end)

describe("processes that an app has started", function()
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

    it("end with their worker, however it ends, in any session", function()
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
        contains(rt:log(), 'msg="killed a process that a dead worker had started"')
    end)

    -- Of the two workers the one that has answered the only call, and the other.
    local function find_owner()
        local workers = rt:status().workers
        local number = workers[1].lanes[1].served > 0 and 1 or 2
        return workers[number], workers[3 - number]
    end

    it("end with their worker while processes of another one come and go", function()
        wait_settled()
        assert(rt:call("starter", "churn"))
        local _, other = find_owner()
        kill(other.pid, signal.SIGKILL)
        wait_generation(other.number, 2)
        wait_settled()
    end)

    it("live on with their worker while others die", function()
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

describe("when another process of the tree is killed", function()
    it("no process outlives the supervisor, including children of apps", function()
        local rt = start_spawner()
        defer(function() rt:close() end)
        local list = spawn_children(rt, 1003)
        local busy = rt:start_call("apps.echo", "spin", "60000")
        wait_busy(rt, "spin")
        kill(rt.pid, signal.SIGKILL)
        tree.wait_gone(list, 5)
        assert.same({ exit = 5 }, busy:wait(5))
        busy:close()
        contains(rt:log(), "the supervisor is gone: killing everything")
        -- what it left in the file system is no obstacle
        local again = process.start { process.dirty(), "serve", "--socket", rt.socket, "--app",
            "apps.echo" }
        wait.until_true(function() return rt:call("apps.echo", "noop") or again:ended()
            or rt:is_ready(again:stderr()) end, 20, "a new runtime")
        again:signal(signal.SIGTERM)
        assert.same({ exit = 0 }, again:wait())
        again:close()
    end)

    it("the supervisor does the subreaper's work", function()
        local rt = start_spawner()
        defer(function() rt:close() end)
        local list = spawn_children(rt, 1004)
        local keeper = tree.find(list, "keeper")
        local arbiter = rt:status().arbiter.pid
        kill(keeper.pid, signal.SIGKILL)
        wait_for_another(rt, arbiter)
        table.remove(list, 1)
        assert.is_nil(tree.alive(list))
        assert.equal("subreaper: signal 9 SIGKILL", rt:status().arbiter.last_exit)
    end)

    it("arbiter and workers end even if supervisor and subreaper die together",
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

describe("the program that starts dirty serve", function()
    it("keeps the children that it has started", function()
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

    it("can't disturb the runtime by its signal dispositions", function()
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
