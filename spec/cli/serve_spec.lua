-- The commands against a running runtime: what they print and their exit statuses.
local cjson = require "cjson"
local machine = require "support.machine"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

-- An app that shows how values of each kind come out.
local SHOW = [[
local dir = debug.getinfo(1, "S").source:match("@(.*)/")
local show = {}
function show:picture() return "PNG\0\255bytes", { width = 2 } end
function show:list() return { 1, 2 }, "text", nil, true end
function show:nothing() end
function show:raise() error { code = 7 } end
function show:refuse() return nil, "not today" end
function show:each(count, failure)
    return coroutine.wrap(function()
        for i = 1, count do
            coroutine.yield(i, "line " .. i)
        end
        if failure then error(failure) end
    end)
end
function show:slowly()
    local step = 0
    return function()
        step = step + 1
        while step == 2 and not io.open(dir .. "/go") do os.execute("sleep 0.02") end
        return step <= 2 and step or nil
    end
end
function show:touch(path) assert(io.open(path, "w")):close() return "touched" end
function show:metadata() return require("dirty").request.metadata end
return show]]

describe("dirty call", function()
    local rt
    setup(function()
        rt = runtime.start { apps = { "apps.echo", "show" }, files = { ["show.lua"] = SHOW },
            args = { "--workers", "2" } }
    end)
    teardown(function() rt:close() end)

    local function call(args, o)
        return rt:command("call", args, o)
    end

    it("sends JSON as JSON, anything else as a string, and prints a value per line", function()
        local r = call { "apps.echo", "echo", "42", '{"a":[1,"x"]}', "hello", '"@q"', "-1.5",
            "true", "null", "[1" }
        assert.equal("", r.stderr)
        assert.equal(0, r.exit)
        assert.equal('42\n{"a":[1,"x"]}\nhello\n@q\n-1.5\ntrue\nnull\n[1\n', r.stdout)
    end)

    it("sends every argument as a string with --string", function()
        for arg, len in pairs { ["42"] = "2", ["null"] = "4", ["{}"] = "2" } do
            assert.equal(len .. "\n", call({ "--string", "apps.echo", "length", arg }).stdout)
        end
    end)

    it("sends the bytes of a file and of stdin, and prints bytes as they are", function()
        local bytes = ("\0\1\255\n\r%s"):rep(50000)
        local path = tempdir.write(rt.dir .. "/bytes", bytes)
        assert.equal(bytes, call({ "apps.echo", "echo", "@" .. path }).stdout)
        assert.equal(bytes, call({ "apps.echo", "echo", "@-" }, { stdin = bytes }).stdout)
        assert.equal(#bytes .. "\n", call({ "apps.echo", "length", "@" .. path }).stdout)
    end)

    it("prints nil and no value as null", function()
        assert.equal("null\n", call({ "apps.echo", "noop" }).stdout)
        assert.equal("null\n", call({ "show", "nothing" }).stdout)
        assert.equal("[1,2]\ntext\nnull\ntrue\n", call({ "show", "list" }).stdout)
    end)

    it("writes the first bytes to --output and the rest to stdout", function()
        local path = rt.dir .. "/picture"
        local r = call { "--output", path, "show", "picture" }
        assert.equal(0, r.exit)
        assert.equal('{"width":2}\n', r.stdout)
        assert.equal("PNG\0\255bytes", tempdir.read(path))
        assert.equal("[1,2]\nnull\ntrue\n", call({ "-o", path, "show", "list" }).stdout)
        assert.equal("text", tempdir.read(path))
        assert.equal("", call({ "-o", path, "apps.echo", "echo", "5" }).stdout)
        assert.equal("5", tempdir.read(path))
    end)

    it("says so when the output can't be written", function()
        local r = call({ "apps.echo", "echo", "x" }, { stdout_path = "/dev/full" })
        assert.equal(1, r.exit)
        contains(r.stderr, "can't write to stdout: No space left")
        local command = (" call --socket %s apps.echo echo x >&-"):format(rt.socket)
        r = process.run { "sh", "-c", process.dirty() .. command }
        assert.equal(1, r.exit)
        contains(r.stderr, "can't write to stdout: Bad file descriptor")
    end)

    it("calls nothing whose output it can't write, and keeps a file until there is some", function()
        local touched, kept = rt.dir .. "/touched", tempdir.write(rt.dir .. "/kept", "old")
        for path, reason in pairs { ["/nowhere/file"] = "No such file",
            [rt.dir] = "Is a directory" } do
            local r = call { "-o", path, "show", "touch", touched }
            assert.equal(2, r.exit)
            contains(r.stderr, "dirty call: --output " .. path .. ": " .. reason)
            assert.is_nil(tempdir.read(touched))
        end
        assert.equal(3, call({ "-o", kept, "show", "refuse" }).exit)
        assert.equal("old", tempdir.read(kept))
        assert.equal(3, call({ "-o", rt.dir .. "/none", "show", "refuse" }).exit)
        assert.is_nil(tempdir.read(rt.dir .. "/none"))
        assert.equal(0, call({ "-o", kept, "show", "touch", touched }).exit)
        assert.equal("touched", tempdir.read(kept))
        local r = call { "-o", "/dev/full", "show", "picture" }
        assert.equal(1, r.exit)
        contains(r.stderr, "dirty call: --output /dev/full: No space left")
    end)

    it("takes -o - for stdout", function()
        assert.equal("text", call({ "-o", "-", "apps.echo", "echo", "text" }).stdout)
    end)

    it("prints a stream with --stream, a value a line as they come", function()
        local r = call { "--stream", "show", "each", "3" }
        assert.same({ 0, "", "1\nline 1\n2\nline 2\n3\nline 3\n" },
            { r.exit, r.stderr, r.stdout })
        r = call { "--stream", "show", "list" } -- which does not stream
        assert.same({ 0, "[1,2]\ntext\nnull\ntrue\n" }, { r.exit, r.stdout })
        local slow = rt:start_call("--stream", "show", "slowly")
        finally(function() slow:close() end)
        wait.until_true(function() return slow:stdout() == "1\n" end, 10, "the first value")
        tempdir.write(rt.dir .. "/go", "")
        assert.equal(0, slow:wait().exit)
        assert.equal("1\n2\n", slow:stdout())
    end)

    it("writes the strings of a stream to --output, and the rest to stdout", function()
        local path = rt.dir .. "/lines"
        local r = call { "--stream", "-o", path, "show", "each", "2" }
        assert.same({ 0, "", "1\n2\n" }, { r.exit, r.stderr, r.stdout })
        assert.equal("line 1line 2", tempdir.read(path))
    end)

    it("tells how a stream failed after what came before", function()
        local r = call { "--stream", "show", "each", "1", "broken" }
        assert.same({ 3, "1\nline 1\n" }, { r.exit, r.stdout })
        assert.matches("^dirty: APP: .*broken\n", r.stderr)
        r = call { "--stream", "show", "nosuch" }
        assert.same({ 3, "" }, { r.exit, r.stdout })
    end)

    it("names --stream to whom an action streams without it", function()
        local r = call { "show", "each", "2" }
        assert.same({ 1, "" }, { r.exit, r.stdout })
        assert.equal("dirty: PROTOCOL: show.each streams its result, which `dirty call --stream` "
            .. "prints; this call has run, and was stopped\n", r.stderr)
    end)

    it("keeps bytes from a terminal that they would garble", function()
        local lacking = machine.no_terminal()
        if lacking then
            pending(lacking)
            return
        end
        local r = process.run { "script", "-qec", ("%s call --socket %s show picture"):format(
            process.dirty(), rt.socket), "/dev/null" }
        assert.equal(1, r.exit)
        contains(r.stdout, "would garble the terminal")
        assert.falsy(r.stdout:find("\255", 1, true))
    end)

    it("passes --metadata and --priority on", function()
        local r = call { "--metadata", '{"trace":"t1"}', "--priority", "0", "show", "metadata" }
        assert.equal('{"trace":"t1"}\n', r.stdout)
    end)

    it("has an exit status for each kind of failure, and tells code and message", function()
        for _, case in ipairs {
            { 3, "APP: ", { "apps.echo", "fail", "boom" }, "boom\n    stack traceback:" },
            { 3, "APP: ", { "show", "refuse" }, "not today" },
            { 3, "APP: ", { "show", "raise" }, "" },
            { 3, "ACTION_NOT_FOUND: ", { "show", "nosuch" }, "nosuch" },
            { 3, "APP_NOT_FOUND: ", { "apps.ehco", "echo" }, "apps.ehco" },
            { 4, "TIMEOUT: ", { "--timeout", "0.1", "apps.echo", "sleep", "5000" }, "apps.echo" },
            { 1, "WORKER_LOST: ", { "apps.echo", "crash" }, "SIGSEGV" },
        } do
            local r = call(case[3])
            assert.equal(case[1], r.exit, r.stderr)
            assert.equal("", r.stdout)
            contains(r.stderr, "dirty: " .. case[2])
            contains(r.stderr, case[4])
        end
    end)
end)

describe("dirty status", function()
    it("prints the state of everything, for people and as JSON", function()
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "2" } }
        finally(function() rt:close() end)
        assert.equal(0, rt:command("call", { "apps.echo", "noop" }).exit)
        rt:command("call", { "apps.echo", "fail", "x" })
        local r = rt:command("status", { "--json" })
        assert.equal(0, r.exit)
        local status = cjson.decode(r.stdout)
        assert.same({ rt.pid, 0 }, { status.arbiter.supervisor_pid, status.arbiter.restarts })
        assert.equal(2, #status.workers)
        assert.is_number(status.workers[1].pid)
        assert.equal(1, #status.workers[1].lanes)
        assert.equal(2, status.apps["apps.echo"].workers)
        assert.equal(0, status.queue.length)
        assert.equal(1, status.counters.errors.APP)
        assert.matches("^LuaJIT 2%.1", status.versions.luajit)
        assert.truthy(process.run_dirty({ "--version" }).stdout:find(
            "\n" .. status.versions.luajit .. "\n", 1, true))
        r = rt:command("status")
        assert.equal(0, r.exit)
        contains(r.stdout, ("arbiter pid %d, serving"):format(status.arbiter.pid))
        contains(r.stdout, tostring(status.workers[2].pid))
        contains(r.stdout, "errors: APP 1")
    end)
end)

describe("dirty stop", function()
    it("stops the runtime, which ends with status 0", function()
        local rt = runtime.start { apps = { "apps.echo" } }
        finally(function() rt:close() end)
        assert.equal(0, rt:command("stop").exit)
        assert.same({ exit = 0 }, rt:wait(10))
        assert.equal(5, rt:command("stop").exit)
    end)
end)

describe("dirty serve", function()
    it("calls the hooks in their order and their processes", function()
        local rt = runtime.start { config = [[
            workers = 1
            apps = { "apps.echo" }
            local function say(...)
                local file = io.open(os.getenv("HOOKS"), "a")
                file:write(table.concat({ ... }, " "), "\n")
                file:close()
            end
            function on_starting(arbiter) say("starting", arbiter.pid) end
            local function worker_hook(name)
                return function(worker)
                    say(name, worker.number, worker.generation, worker.pid,
                        table.concat(worker.apps, ","))
                end
            end
            post_fork = worker_hook "post_fork"
            worker_init = worker_hook "worker_init"
            function worker_exit(worker, status)
                say("exit", worker.number, worker.generation, worker.pid,
                    status.exit or status.signal .. status.name)
            end]], env = { HOOKS = "/tmp/dirty-spec-hooks-" .. unistd.getpid() } }
        local path = "/tmp/dirty-spec-hooks-" .. unistd.getpid()
        finally(function()
            rt:close()
            os.remove(path)
        end)
        local status = rt:status()
        local arbiter, first = status.arbiter.pid, status.workers[1].pid
        rt:command("call", { "apps.echo", "crash" })
        local second = wait.until_true(function()
            local pid = rt:status().workers[1].pid
            return pid ~= first and pid ~= cjson.null and rt:status().workers[1].state == "ready"
                and pid
        end, 10, "a second worker")
        assert.same({ exit = 0 }, rt:stop())
        local lines = {}
        for line in io.lines(path) do
            lines[#lines + 1] = line
        end
        assert.same({
            "starting " .. arbiter,
            ("post_fork 1 1 %d apps.echo"):format(first),
            ("worker_init 1 1 %d apps.echo"):format(first),
            ("exit 1 1 %d 11SIGSEGV"):format(first),
            ("post_fork 1 2 %d apps.echo"):format(second),
            ("worker_init 1 2 %d apps.echo"):format(second),
            ("exit 1 2 %d 0"):format(second),
        }, lines)
    end)

    it("logs a hook that raises and serves on", function()
        local rt = runtime.start { config = [[
            workers = 1
            apps = { "apps.echo" }
            function on_starting() error("no coffee") end
            function post_fork() error({}) end
            function worker_init(worker) local x = worker.nothing.at_all end
            function worker_exit() error() end]] }
        finally(function() rt:close() end)
        assert.equal("1\n", rt:command("call", { "apps.echo", "echo", "1" }).stdout)
        assert.same({ exit = 0 }, rt:stop())
        for _, part in ipairs { "hook=on_starting", "no coffee", "stack traceback",
            "hook=post_fork", "hook=worker_init", "dirty.conf.lua:5", "hook=worker_exit" } do
            contains(rt:log(), part)
        end
    end)

    it("gives apps their options and takes the limits they declare", function()
        local rt = runtime.start { config = [[
            workers = 2
            apps = {
                shop = { module = "shop", options = { greeting = "hello", list = { 1, 2 } } },
                other = { module = "shop", workers = 2, timeout = 0 },
            }]], files = { ["shop.lua"] = [[
            local Shop = require("dirty").app { workers = 1, timeout = 1.5, max_queue = 7 }
            function Shop:init(options) self.options = options end
            function Shop:get() return self.options.greeting, self.options.list end
            return Shop]] } }
        finally(function() rt:close() end)
        assert.equal("hello\n[1,2]\n", rt:command("call", { "shop", "get" }).stdout)
        local apps = rt:status().apps
        assert.same({ 1, 1500, 7 },
            { apps.shop.limit, apps.shop.timeout_ms, apps.shop.max_queue })
        assert.same({ 2, 0, 7 },
            { apps.other.limit, apps.other.timeout_ms, apps.other.max_queue })
    end)

    for _, case in ipairs {
        { "syntax", "local = 5", "syntax.lua:1:" },
        { "raises", "\n\nerror 'no model'", "raises.lua:3: no model" },
        { "returns", "local x = 1", "module 'returns'" },
        { "inits", "return { init = function() error('no disk') end, a = print }", "no disk" },
        { "dies", "local ffi = require 'ffi'\nffi.cdef 'int getpid(void); int kill(int, int);'"
            .. "\nffi.C.kill(ffi.C.getpid(), 9)", "signal 9" },
        { "declares", "return require('dirty').app { timeuot = 1 }", "timeuot" },
    } do
        local name, text, part = case[1], case[2], case[3]
        it(("ends with status 4 for an app that %s, and says where"):format(name), function()
            local rt = runtime.launch { apps = { name }, files = { [name .. ".lua"] = text } }
            finally(function() rt:close() end)
            assert.same({ exit = 4 }, rt:wait(20))
            contains(rt:log(), name)
            contains(rt:log(), part)
            assert.is_nil(stat.lstat(rt.socket))
        end)
    end

    it("says where it looked for a module that is not there", function()
        local rt = runtime.launch { apps = { "no.such" }, args = { "--lua-path", "/srv/x/?.lua" } }
        finally(function() rt:close() end)
        assert.same({ exit = 4 }, rt:wait(20))
        local first, second, third = rt:log():match("\n%s+(%S+)\n%s+(%S+)\n%s+(%S+)\n")
        assert.same({ "./no/such.lua", "./no/such/init.lua", "/srv/x/no/such.lua" },
            { first, second, third })
    end)

    it("ends with status 3 when the socket can't be had", function()
        local rt = runtime.start { apps = { "apps.echo" } }
        finally(function() rt:close() end)
        for socket, part in pairs { [rt.socket] = rt.socket, ["/nowhere/d.sock"] = "/nowhere" } do
            local r = process.run_dirty { "serve", "--app", "apps.echo", "--socket", socket }
            assert.equal(3, r.exit, r.stderr)
            contains(r.stderr, part)
        end
        assert.equal("1\n", rt:command("call", { "apps.echo", "echo", "1" }).stdout)
    end)

    it("writes pidfile and log file, and opens the log again on USR1", function()
        local dir = tempdir.new()
        local rt = runtime.launch { apps = { "apps.echo" }, cwd = dir, args = { "--chdir", dir,
            "--lua-path", unistd.getcwd() .. "/?.lua",
            "--pidfile", "d.pid", "--log-file", "d.log", "--log-level", "debug" } }
        finally(function()
            rt:close()
            tempdir.remove(dir)
        end)
        local function log_has(part)
            return function()
                return (tempdir.read(dir .. "/d.log") or ""):find(part, 1, true)
            end
        end
        wait.until_true(log_has 'msg="ready"', 20, "ready in the log file")
        assert.equal("", rt:log())
        assert.equal(tostring(rt.pid), tempdir.read(dir .. "/d.pid"):match("%d+"))
        os.rename(dir .. "/d.log", dir .. "/d.log.1")
        rt:signal(signal.SIGUSR1)
        wait.until_true(function() return stat.lstat(dir .. "/d.log") end, 10, "a new log file")
        assert.same({ exit = 0 }, rt:stop())
        assert.truthy(log_has "ended"())
        assert.is_nil(stat.lstat(dir .. "/d.pid"))
    end)

    it("applies the mode of the socket", function()
        local rt = runtime.start { apps = { "apps.echo" }, args = { "--socket-mode", "0640" } }
        finally(function() rt:close() end)
        assert.equal(tonumber("640", 8), stat.lstat(rt.socket).st_mode % 512)
    end)

    it("gives the socket to the user and the group it is told", function()
        local lacking = machine.no_root()
        if lacking then
            pending(lacking)
            return
        end
        local rt
        finally(function() if rt then rt:close() end end)
        for flags, owners in pairs {
            [{ "--socket-user", "65534", "--socket-group", "65533" }] = { 65534, 65533 },
            [{ "--socket-group", "65533" }] = { 0, 65533 },
            [{ "--socket-user", "nobody" }] = { 65534, unistd.getegid() },
        } do
            rt = runtime.start { apps = { "apps.echo" }, args = flags }
            local st = stat.lstat(rt.socket)
            assert.same(owners, { st.st_uid, st.st_gid })
            rt:close()
            rt = nil
        end
    end)
end)

describe("dirty check", function()
    local dir
    before_each(function() dir = tempdir.new() end)
    after_each(function() tempdir.remove(dir) end)

    local function check(apps, modules)
        local args = { "check", "--lua-path", dir .. "/?.lua", "--boot-timeout", "2" }
        for _, app in ipairs(apps) do
            args[#args + 1] = "--app=" .. app
        end
        for name, text in pairs(modules) do
            tempdir.write(dir .. "/" .. name .. ".lua", text)
        end
        return process.run_dirty(args, { cwd = dir, seconds = 20 })
    end

    it("boots every app, closes it and says so", function()
        local r = check({ "good", "good:Other:1" }, { good = ([[
            local function write(text)
                local file = io.open(%q, "a")
                file:write(text, "\n")
                file:close()
            end
            local app = { Other = { a = print } }
            function app:init() write "init" end
            function app:a() end
            function app:close() write "close" end
            return app]]):format(dir .. "/life") })
        assert.equal(0, r.exit, r.stdout .. r.stderr)
        contains(r.stdout, "app good (module good): ok, ")
        contains(r.stdout, "good.lua\n")
        contains(r.stdout, "2 apps, ")
        assert.equal("init\nclose\n", tempdir.read(dir .. "/life"))
    end)

    it("tells of each app that fails what it did, with file, line and traceback", function()
        local r = check({ "good", "syntax", "inits", "hangs", "dies", "missing", "good:Nope" }, {
            good = "return { a = print }",
            syntax = "\nlocal = 5",
            inits = "local x = {}\nfunction x:init() error('no disk') end\nreturn x",
            hangs = "local x = {}\nfunction x:init() while true do end end\nreturn x",
            dies = "os.exit(3)",
        })
        assert.equal(4, r.exit, r.stderr)
        for _, part in ipairs {
            "app good (module good): ok", "app syntax (module syntax): failed, load",
            "syntax.lua:2:", "app inits (module inits): failed, init", "inits.lua:2: no disk",
            "stack traceback:", "app hangs (module hangs): failed, init",
            "it took longer than 2 s, which is boot_timeout\n",
            "app dies (module dies): failed, load", "status 3",
            "app missing (module missing): failed, load", dir .. "/missing.lua",
            "object Nope): failed", "7 apps, ",
        } do
            contains(r.stdout, part)
        end
    end)

    it("refuses a wrong configuration with status 2", function()
        tempdir.write(dir .. "/dirty.conf.lua", "wrokers = 2")
        local r = process.run_dirty({ "check" }, { cwd = dir })
        assert.equal(2, r.exit)
        contains(r.stderr, "dirty.conf.lua:1")
        contains(r.stderr, "did you mean 'workers'?")
    end)
end)
