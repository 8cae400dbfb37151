-- What supervisor, keeper and arbiter call and that could wait for somebody: each is made to
-- wait, and the runtime goes on (docs/blocking-calls.md has the list).
local document = require "support.document"
local fcntl = require "posix.fcntl"
local notify_socket = require "support.notify_socket"
local process = require "support.process"
local raw = require "support.raw"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local unistd = require "posix.unistd"
local wait = require "support.wait"
local wire = require "dirty.wire"

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

local function start(o)
    local rt = runtime.start(o)
    defer(function() rt:close() end)
    return rt
end

-- A status of another arbiter than the one with this pid.
local function wait_for_another(rt, old_pid, seconds)
    local status
    wait.until_true(function()
        status = rt:call("@arbiter", "status")
        return status and status.arbiter.pid ~= old_pid
    end, seconds or 5, "another arbiter")
    return status
end

describe("a service manager that does not read", function()
    local function start_unread(name)
        local notify = notify_socket.open(name)
        defer(function() notify:close() end)
        local fillers = notify:fill()
        local rt = start { apps = { "apps.echo" }, args = { "--workers", "1" },
            env = { NOTIFY_SOCKET = name, WATCHDOG_USEC = "100000" } }
        return rt, notify, fillers
    end

    it("holds up no arbiter, no signal and no end", function()
        local rt = start_unread("@dirty-spec-unread-" .. unistd.getpid())
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        wait_for_another(rt, arbiter)
        local reload = rt:command("reload", { "--wait" })
        assert.equal(0, reload.exit, reload.stderr)
        local at = wait.now()
        assert.same({ exit = 0 }, rt:stop(5))
        assert.is_true(wait.now() - at < 3 * wait.SLOW)
        local _, lines = rt:log():gsub('msg="the service manager [^\n]*', "")
        assert.equal(1, lines) -- said once, not each time
    end)

    it("is told in order what matters, once it reads again", function()
        local rt, notify, fillers = start_unread("@dirty-spec-again-" .. unistd.getpid())
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return rt:status().reload.result == "done" end, 10, "reloaded")
        assert.is_true(#notify:take() >= fillers)
        local _, at = notify:wait("^STATUS=Starting$", fillers + 1)
        _, at = notify:wait("^READY=1\nMAINPID=" .. rt.pid .. "\n", at)
        _, at = notify:wait("^RELOADING=1\n", at)
        _, at = notify:wait("^READY=1\nSTATUS=Reloaded$", at)
        for i = fillers + 1, at do
            assert.are_not.equal("WATCHDOG=1", notify.messages[i]) -- what is late is of no use
        end
        notify:wait("^WATCHDOG=1$", at)
        contains(rt:log(), 'msg="the service manager reads again"')
        assert.same({ exit = 0 }, rt:stop(5))
        notify:wait("^STOPPING=1\n", at)
    end)
end)

-- A pipe that nobody reads and that is full: what is written to its `path` waits for ever.
local function full_pipe()
    local dir = tempdir.new()
    local path = dir .. "/pipe"
    assert(stat.mkfifo(path, 384))
    local reader = assert(fcntl.open(path, fcntl.O_RDONLY + fcntl.O_NONBLOCK))
    local writer = assert(fcntl.open(path, fcntl.O_WRONLY + fcntl.O_NONBLOCK))
    for _, piece in ipairs { ("x"):rep(4096), "x" } do
        while unistd.write(writer, piece) do end
    end
    unistd.close(writer)
    defer(function()
        unistd.close(reader)
        tempdir.remove(dir)
    end)
    return path
end

-- The slowest of calls over so many seconds; each must be answered.
local function slowest_call(rt, seconds)
    local worst, ends = 0, wait.now() + seconds
    repeat
        local at = wait.now()
        assert.equal("x", (rt:client { timeout = 20 }:execute("apps.echo", "echo", "x")))
        worst = math.max(worst, wait.now() - at)
        wait.moment()
    until wait.now() > ends
    return worst
end

-- What a hook may do that takes for ever. Some are not ended by a signal.
local WAYS = {
    print = "for _ = 1, 100 do print(('x'):rep(3000)) end while true do end",
    poll = "while true do ffi.C.poll(nil, 0, 60000) end",
    lock = [[
        local lock = ffi.new "uint64_t[8]"
        ffi.C.pthread_mutex_lock(lock)
        ffi.C.pthread_mutex_lock(lock)]],
    fifo = "os.execute('mkfifo ' .. dir .. '/never') io.open(dir .. '/never', 'w')",
    execute = "os.execute('sleep 1021')",
    popen = "kept = io.popen('sleep 1022') kept:read('*a')",
    match = "local text = ('a'):rep(40) text:find(('a*'):rep(40) .. 'b')",
}

describe("a worker_exit that does not return", function()
    for name, way in pairs(WAYS) do
        it("holds up no call, whatever it does: " .. name, function()
            local rt = start { stdout_path = full_pipe(), config = [[
                workers = 2
                apps = { "apps.echo" }
                local dir, kept = debug.getinfo(1, "S").source:match "@(.*)/"
                local ffi = require "ffi"
                ffi.cdef "int poll(void *, unsigned long, int); int pthread_mutex_lock(void *);"
                function worker_exit() ]] .. way .. " end" }
            local before = rt:status()
            kill(before.workers[1].pid, signal.SIGKILL)
            wait.until_true(function()
                return rt:log():find('msg="worker ended" worker=1', 1, true)
            end, 5, "its end")
            assert.is_true(slowest_call(rt, 1) < 1.5 * wait.SLOW)
            wait.until_true(function()
                local worker = rt:status().workers[1]
                return worker.generation == 2 and worker.state == "ready"
            end, 5, "the next worker")
            assert.equal(before.arbiter.pid, rt:status().arbiter.pid)
            contains(rt:log(), 'hook=worker_exit error="ended: it ran for more than 2000 ms')
            local at = wait.now()
            assert.same({ exit = 0 }, rt:stop(8))
            assert.is_true(wait.now() - at < 4 * wait.SLOW)
            assert.falsy(rt:log():find("killed by", 1, true))
        end)
    end
end)

-- A terminal that nobody reads.
local function silent_terminal()
    local master = assert(stdlib.openpt(fcntl.O_RDWR + fcntl.O_NOCTTY))
    assert(stdlib.grantpt(master) and stdlib.unlockpt(master))
    defer(function() unistd.close(master) end)
    return stdlib.ptsname(master)
end

describe("a log that nobody reads", function()
    for name, open in pairs { pipe = full_pipe, terminal = silent_terminal } do
        it("holds up nobody: a " .. name, function()
            local rt = runtime.launch { stderr_path = open(), apps = { "talker" },
                args = { "--workers", "2" }, files = { ["talker.lua"] = [[
                    local talker = {}
                    function talker:talk(count)
                        for _ = 1, count do print(("word "):rep(100)) end
                        return true
                    end
                    function talker.leave() os.exit(1) end
                    return talker]] } }
            defer(function() rt:close() end)
            wait.until_true(function()
                return rt:command("status", { "--ready" }).exit == 0
            end, 20, "ready")
            for _ = 1, 20 do
                wait.until_true(function() return rt:call("talker", "talk", 20) end, 5, "an answer")
                rt:call("talker", "leave")
            end
            local arbiter = rt:status().arbiter.pid
            kill(arbiter, signal.SIGKILL)
            wait_for_another(rt, arbiter)
            rt:signal(signal.SIGUSR1)
            assert.same({ exit = 0 }, rt:stop(8))
        end)
    end
end)

describe("what a configuration leaves behind", function()
    local function reload(rt, last, first)
        for number = first or 1, last do
            rt:signal(signal.SIGHUP)
            wait.until_true(function()
                local now = rt:status().reload
                return now.number == number and now.result == "done"
            end, 10, "reloaded")
        end
    end

    it("holds up no end, though its finalizers wait for ever", function()
        local rt = start { config = [[
            workers = 1
            apps = { "apps.echo" }
            local ffi = require "ffi"
            ffi.cdef "int poll(void *, unsigned long, int);"
            local kept = newproxy(true)
            getmetatable(kept).__gc = function()
                while true do ffi.C.poll(nil, 0, 60000) end
            end
            package.loaded.kept = kept]] }
        local at = wait.now()
        assert.same({ exit = 0 }, rt:stop(10))
        assert.is_true(wait.now() - at < 6 * wait.SLOW)
        assert.falsy(rt:log():find("the arbiter hangs", 1, true))
    end)

    it("holds up no call when a reload collects it", function()
        local rt = start { config = [[
            workers = 1
            apps = { "apps.echo" }
            local program = io.popen "exec sleep 1031" -- its end is waited for when it is collected
            function worker_exit() return program end]] }
        local arbiter = rt:status().arbiter.pid
        reload(rt, 3)
        assert.is_true(slowest_call(rt, 1) < 3 * wait.SLOW)
        assert.equal(arbiter, rt:status().arbiter.pid)
        assert.same({ exit = 0 }, rt:stop(8))
    end)

    it("but what the present one has started lives on", function()
        local rt = start { config = [[
            workers = 1
            apps = { "apps.echo" }
            local program = io.popen "exec sleep 1032"
            function worker_exit() return program end]] }
        local function count()
            local n = 0
            for _, entry in ipairs(rt:tree()) do
                n = n + (entry.title == "sleep 1032" and 1 or 0)
            end
            return n
        end
        reload(rt, 3)
        -- that of the supervisor's copy, and that of the arbiter's present configuration
        wait.until_true(function() return count() == 2 end, 10, "two programs")
        assert.is_true(slowest_call(rt, 3) < 3 * wait.SLOW)
        assert.equal(2, count())
    end)

    it("closes nothing of ours when a child collects it", function()
        local rt = start { config = [[
            workers = 2
            threads = 2
            apps = { "apps.echo" }
            local function leave() for _ = 1, 50 do io.open "/dev/null" end end
            local function collect() collectgarbage() collectgarbage() end
            leave()
            function on_starting() leave() end
            function post_fork() collect() leave() end
            function worker_init() collect() end
            function worker_exit() collect() leave() print "gone" end]] }
        for number = 1, 3 do
            local generation = rt:status().workers[1].generation
            rt:call("apps.echo", "crash")
            reload(rt, number, number)
            assert.is_true(rt:status().workers[1].generation > generation)
        end
        assert.is_true(slowest_call(rt, 1) < 3 * wait.SLOW)
        assert.falsy(rt:log():find("level=error", 1, true))
        assert.same({ exit = 0 }, rt:stop(8))
    end)

    it("may print to what nobody reads, also while another arbiter comes up", function()
        local rt = start { stdout_path = full_pipe(), config = [[
            workers = 1
            apps = { "apps.echo" }
            if io.open "/proc/self/cmdline":read "*a":find("dirty: ", 1, true) then
                for _ = 1, 300 do print(("words "):rep(500)) end
            end
            function on_starting() for _ = 1, 300 do print(("more "):rep(500)) end end
            function worker_exit() end]] }
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return rt:status().reload.result == "done" end, 10, "reloaded")
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        wait_for_another(rt, arbiter)
        assert.falsy(rt:log():find("the configuration can't be read", 1, true))
        wait.until_true(function() return rt:log():find('text="more', 1, true) end, 5, "its words")
        assert.same({ exit = 0 }, rt:stop(5))
    end)
end)

describe("a keeper that is stuck", function()
    it("is replaced with its arbiter when that has died, whatever arbiter_timeout is", function()
        local rt = start { config = "workers = 1 arbiter_timeout = 0 apps = { 'apps.echo' }" }
        local arbiter = rt:status().arbiter.pid
        kill(tree.find(rt:tree(), "^dirty: keeper").pid, signal.SIGSTOP)
        kill(arbiter, signal.SIGKILL)
        wait_for_another(rt, arbiter, 15)
        contains(rt:log(), "its keeper does not end")
    end)

    it("holds up no end", function()
        local rt = start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        kill(tree.find(rt:tree(), "^dirty: keeper").pid, signal.SIGSTOP)
        local list = rt:tree()
        rt:signal(signal.SIGTERM)
        rt:wait(8)
        tree.wait_gone(list, 2)
    end)
end)

describe("a directory service that does not answer", function()
    if unistd.geteuid() ~= 0 then
        pending("can be tried by root only: the others set no user")
        return
    end

    it("holds up no arbiter", function()
        local dir = tempdir.new()
        assert(stat.chmod(dir, tonumber("755", 8)) == 0)
        defer(function() tempdir.remove(dir) end)
        local rt = start { apps = { "apps.echo" }, cwd = dir, args = { "--workers", "1", "--user",
            "nobody", "--group", "nogroup", "--lua-path", unistd.getcwd() .. "/?.lua" }, env = {
            LATE_NAMES = dir .. "/late",
            LD_PRELOAD = unistd.getcwd() .. "/" .. process.BUILD .. "/preload/late_names.so",
            ASAN_OPTIONS = (os.getenv "ASAN_OPTIONS" or "") .. ":verify_asan_link_order=0" } }
        tempdir.write(dir .. "/late", "")
        local arbiter = rt:status().arbiter.pid
        kill(arbiter, signal.SIGKILL)
        wait_for_another(rt, arbiter)
        assert.same({ exit = 0 }, rt:stop(5))
    end)
end)

describe("callers that do not read their answers", function()
    it("hold up nobody else", function()
        local rt = start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        local ask = table.concat((assert(wire.new():encode_request(1, { app = "@arbiter",
            action = "status", budget_ms = 20000 }, {}, 0))))
        for _ = 1, 20 do
            local caller = raw.connect(rt.socket)
            defer(function() caller:close() end)
            caller:send(ask:rep(2000), 0.2) -- until no more is taken
        end
        assert.is_true(slowest_call(rt, 1) < 1.5 * wait.SLOW)
        assert.same({ exit = 0 }, rt:stop(5))
    end)
end)

describe("docs/blocking-calls.md", function()
    local text = document.text "docs/blocking-calls.md"

    it("names specs that there are, for each call that can be made to wait", function()
        local calls = 0
        for _, heading in ipairs { "## Supervisor", "## Subreaper", "## Arbiter" } do
            for _, row in ipairs(document.rows(document.section(text, heading))) do
                local count = document.each_test(row[4], function(path, name)
                    assert.is_true(document.has_test(path, name), ("%s: %s: %s"):format(row[1],
                        tostring(path), name))
                end)
                local reason = row[4]:match "^nothing to wait for" or row[4]:match "^can't be made"
                    or row[4]:match "^nobody is served"
                assert.truthy(count > 0 or reason, row[1])
                calls = calls + 1
            end
        end
        assert.is_true(calls > 30)
    end)

    -- Of what the three processes are made of, without comments.
    local function calls_of(path)
        local source, found = tempdir.read(path):gsub("/%*.-%*/", ""), {}
        for before, name in source:gmatch "([%w_.>]?)%f[%w_]([%a_][%w_]*)%(" do
            found[name] = before == "" or before:find "[%w_.>]" == nil or found[name]
        end
        return found
    end

    it("names all calls that may wait, with the files that they are in", function()
        local section = document.section(text, "## Where they are")
        local listed, waits = {}, {}
        for _, row in ipairs(document.rows(section)) do
            local calls = {}
            for _, name in ipairs(document.quoted(row[2])) do
                calls[name] = true
            end
            listed[row[1]:match "`(.*)`"] = calls
        end
        local looked_for = section:match "These names are looked for:(.-)\n\n"
        for _, name in ipairs(document.quoted(looked_for)) do
            waits[name] = true
        end
        local files = process.run { "find", "runtime/base", "runtime/supervisor",
            "runtime/arbiter", "runtime/cli", "runtime/worker/probe.c", "-name", "*.c" }.stdout
        for path in files:gmatch "%S+" do
            local calls = listed[path:match "^runtime/(.*)$"] or {}
            for name in pairs(calls_of(path)) do
                assert.is_true(not waits[name] or calls[name],
                    ("%s calls %s, which is not in docs/blocking-calls.md"):format(path, name))
            end
        end
        for file, names in pairs(listed) do
            local called = calls_of("runtime/" .. file)
            for name in pairs(names) do
                assert.is_true(called[name], file .. " has no call of " .. name)
            end
        end
    end)
end)
