-- The command as a user types it: what it prints, where, and its exit status.
local cjson = require "cjson"
local process = require "support.process"
local tempdir = require "support.tempdir"

local dirty = process.run_dirty

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

describe("dirty", function()
    it("prints the versions of all parts", function()
        for _, flag in ipairs { "--version", "-V" } do
            local r = dirty { flag }
            assert.equal(0, r.exit)
            local version = assert(tempdir.read("VERSION")):match("%S+")
            contains(r.stdout, "dirty " .. version .. "\n")
            contains(r.stdout, jit.version .. "\n")
            assert.truthy(r.stdout:match("\nlibuv 1%.%d+%.%d+\n"))
            contains(r.stdout, "\nlua-cjson " .. cjson._VERSION .. "\n")
            contains(r.stdout, "\nprotocol 1\n")
        end
    end)

    it("has help with examples, units, defaults and exit statuses for each command", function()
        contains(dirty({ "--help" }).stdout, "Examples:")
        for _, command in ipairs { "serve", "check", "call", "status", "stop", "config", "reload",
            "scale", "kill", "cancel", "reopen-logs", "stack", "ping", "metrics" } do
            contains(dirty({ "--help" }).stdout, "   " .. command .. " ")
            local r = dirty { command, "--help" }
            assert.equal(0, r.exit)
            assert.equal("", r.stderr)
            contains(r.stdout, "Usage: dirty " .. command)
            contains(r.stdout, "Exit status:")
            for line in r.stdout:gmatch("[^\n]+") do
                assert.is_true(#line <= 100, line)
            end
        end
        contains(dirty({ "serve", "--help" }).stdout, "Default: 300.")
    end)

    it("names a wrong flag or command and the nearest valid one", function()
        for _, case in ipairs {
            { { "serve", "--wrokers", "2" }, "dirty serve: unknown option '--wrokers' "
                .. "(did you mean '--workers'?)" },
            { { "serve", "--max_queue=5" }, "(did you mean '--max-queue'?)" },
            { { "call", "--timout=5", "a", "b" }, "(did you mean '--timeout'?)" },
            { { "sttaus" }, "dirty: unknown command 'sttaus' (did you mean 'status'?)" },
            { {}, "dirty: a command is required" },
            { { "call", "apps.echo" }, "dirty call: missing argument 'action'" },
            { { "serve", "--workers" }, "option '--workers' requires an argument" },
            { { "status", "more" }, "dirty status: too many arguments: \"more\"\n" },
            { { "stop", "now" }, "dirty stop: too many arguments: \"now\" (did you mean "
                .. "'--now'?)\n" },
            { { "serve", "words" }, "dirty serve: too many arguments: \"words\"; use --app "
                .. "words\n" },
            { { "check", "words", "more" }, "dirty check: too many arguments: \"words\"; use "
                .. "--app words\n" },
            { { "scale", "1", "2" }, "dirty scale: too many arguments: \"2\"\n" },
            { { "ping", "-5" }, "dirty ping: too many arguments: \"-5\"\n" },
            { { "--socket", "/x", "status" }, "dirty: option '--socket' must follow the command: "
                .. "dirty COMMAND --socket …\n" },
            { { "-s", "/x", "status" }, "option '-s' must follow the command" },
            { { "--sockte", "/x", "status" }, "dirty: unknown option '--sockte'\n" },
            { { "serve", "--max-memory", "3m" }, "dirty serve: unknown option '--max-memory': "
                .. "max_memory has no flag, it is set in dirty.conf.lua\n" },
            { { "check", "--max_rss=3m" }, "max_rss has no flag, it is set in dirty.conf.lua" },
            { { "status", "--max-memory" }, "dirty status: unknown option '--max-memory'\n" },
            { { "help", "sevre" }, "unknown command 'sevre' (did you mean 'serve'?)" },
        } do
            local r = dirty(case[1])
            assert.equal(2, r.exit)
            assert.equal("", r.stdout)
            contains(r.stderr, case[2])
            contains(r.stderr, "--help'\n")
        end
    end)

    it("accepts help instead of --help", function()
        for _, case in ipairs { { { "help" }, { "--help" } },
            { { "help", "serve" }, { "serve", "--help" } } } do
            local r = dirty(case[1])
            assert.same({ 0, "" }, { r.exit, r.stderr })
            assert.equal(dirty(case[2]).stdout, r.stdout)
        end
    end)

    it("says so when it can't write", function()
        local r = dirty({ "--version" }, { stdout_path = "/dev/full" })
        assert.equal(1, r.exit)
        contains(r.stderr, "can't write to stdout")
    end)

    describe("dirty in a directory of another user", function()
        local dir, trap
        -- What the command and the runtime load by name; each would leave a mark.
        local NAMES = { "argparse", "cjson", "ffi", "helper", "dirty/init", "dirty/cli",
            "dirty/cli/parser", "dirty/config", "dirty/lane", "dirty/fault", "dirty/json",
            "dirty/sys", "dirty/core" }
        -- Templates that are looked for in that directory, whatever comes before and behind.
        local RELATIVE = { "./?.lua;;", "%s/?.lua;;", "%s/?.lua;./?.lua;./?/init.lua;;", "?.lua;;",
            ";;?.lua", "%s/?.lua;?.lua;;./?.lua", ".//?.lua;/nowhere/?.lua;;", "../here/?.lua;;",
            false }

        before_each(function()
            dir = tempdir.new()
            trap = dir .. "/trapped"
            assert.equal(0, process.run({ "mkdir", "-p", dir .. "/here/dirty/cli" }).exit)
            for _, name in ipairs(NAMES) do
                tempdir.write(("%s/here/%s.lua"):format(dir, name),
                    ("io.open(%q, 'a'):write(%q, '\\n')"):format(trap, name))
                tempdir.write(("%s/here/%s.so"):format(dir, name), "no library")
            end
        end)
        after_each(function() tempdir.remove(dir) end)

        -- Run a command there with each LUA_PATH; its last result.
        local function run(args)
            local r
            for _, path in ipairs(RELATIVE) do
                path = path and path:format(dir .. "/nowhere")
                r = dirty(args, { cwd = dir .. "/here", env = {
                    LUA_PATH = path, LUA_CPATH = path and path:gsub("%.lua", ".so") } })
                assert.is_nil(tempdir.read(trap), ("%s with LUA_PATH=%s"):format(args[1],
                    tostring(path)))
                assert.not_equal(70, r.exit, r.stderr)
            end
            return r
        end

        it("does not load modules from there, whatever LUA_PATH says", function()
            for _, args in ipairs { { "--version" }, { "--help" }, { "status", "-s", "/nowhere/s" },
                { "call", "-s", "/nowhere/s", "a", "b", '{"a":1}' }, { "stop", "-s", "/nowhere/s" },
                { "stack", "-s", "/nowhere/s" }, { "reload", "-s", "/nowhere/s" },
                { "ping", "-s", "/nowhere/s" }, { "metrics", "-s", "/nowhere/s" },
                { "config", "--json" } } do
                run(args)
            end
        end)

        it("does not load them for the configuration file either", function()
            local conf = tempdir.write(dir .. "/c.lua", "local ok, why = pcall(require, 'helper')\n"
                .. "assert(not ok and why:find('not found'))\nworkers = 0")
            assert.equal(0, run({ "serve", "--config", conf }).exit)
            assert.equal(0, run({ "config", "--config", conf }).exit)
        end)

        it("searches there for apps and their modules, not for the runtime's own", function()
            tempdir.write(dir .. "/here/words.lua", [[
                local helper = require "helped"
                return { count = function(_, text) return helper(text) end }]])
            tempdir.write(dir .. "/here/helped.lua", "return string.len")
            local r = run { "check", "--app", "words" }
            assert.equal(0, r.exit, r.stdout .. r.stderr)
            contains(r.stdout, "app words (module words): ok, ")
        end)
    end)

    it("reports an internal error with a traceback and status 70", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        tempdir.write(dir .. "/evil.lua", "string.format = nil")
        local conf = tempdir.write(dir .. "/c.lua", "string.format = nil")
        local r = dirty { "config", "--config", conf }
        assert.equal(70, r.exit)
        contains(r.stderr, "internal error")
        contains(r.stderr, "traceback")
    end)
end)

describe("an installed dirty", function()
    it("finds its modules from where it is, and says so if there are none", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        for _, argv in ipairs {
            { "mkdir", "-p", dir .. "/bin", dir .. "/share/lua" },
            { "cp", process.dirty(), dir .. "/bin/dirty" },
        } do
            assert.equal(0, process.run(argv).exit)
        end
        local env = { LUA_PATH = dir .. "/none/?.lua;;", LUA_CPATH = ";;" }
        local r = process.run({ dir .. "/bin/dirty", "--version" }, { cwd = "/", env = env })
        assert.equal(70, r.exit)
        contains(r.stderr, "module 'dirty.cli' not found")
        assert.equal(0, process.run({ "cp", "-r", "lua", dir .. "/share/lua/5.1" }).exit)
        r = process.run({ dir .. "/bin/dirty", "--version" }, { cwd = "/", env = env })
        assert.equal(0, r.exit, r.stderr)
        contains(r.stdout, "dirty ")
    end)
end)

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

describe("dirty serve", function()
    it("says that workers = 0 disables the runtime", function()
        local r = dirty { "serve", "--workers", "0", "--app", "apps.echo" }
        assert.equal(0, r.exit)
        contains(r.stderr, "workers = 0 (flag --workers): the dirty runtime is disabled")
    end)

    it("asks for an app when there is none", function()
        local r = dirty({ "serve" }, { cwd = "/" })
        assert.equal(2, r.exit)
        contains(r.stderr, "give --app SPEC")
    end)

    it("refuses a log file that can't be opened", function()
        local r = dirty { "serve", "--app", "apps.echo", "--log-file", "/nowhere/d.log" }
        assert.equal(2, r.exit)
        contains(r.stderr, "/nowhere/d.log")
    end)
end)

describe("dirty call", function()
    it("refuses wrong arguments before it connects", function()
        for _, case in ipairs {
            { { "a", "b", "@/nowhere/file" }, "@/nowhere/file: No such file" },
            { { "a", "b", "@/" }, "@/: " },
            { { "a", "b", "@-", "@-" }, "@- can be given once" },
            { { "a b", "c" }, "printable ASCII" },
            { { "@arbiter", "stop" }, 'the app "@arbiter": names that start with @ belong '
                .. "to the runtime; use its commands: status, metrics, reload," },
            { { "@other", "a" }, "belong to the runtime" },
            { { "a", "" }, "1 to 255 bytes" },
            { { "--priority", "10", "a", "b" }, '--priority "10"' },
            { { "--metadata", "{", "a", "b" }, '--metadata "{"' },
            { { "--timeout", "0", "a", "b" }, "must be a number of seconds from 0.001" },
            { { "--socket", "/" .. ("x"):rep(107), "a", "b" }, "at most 107" },
        } do
            local args = { "call" }
            for _, arg in ipairs(case[1]) do
                args[#args + 1] = arg
            end
            local r = dirty(args)
            assert.equal(2, r.exit, case[2])
            assert.equal("", r.stdout)
            contains(r.stderr, case[2])
        end
    end)

    it("exits 5 when nothing serves there, as status and stop do", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        for _, args in ipairs { { "call", "a", "b" }, { "status" }, { "stop" } } do
            table.insert(args, 2, "--socket=" .. dir .. "/none.sock")
            local r = dirty(args)
            assert.equal(5, r.exit)
            assert.equal("", r.stdout)
            contains(r.stderr, "CONNECTION: ")
            contains(r.stderr, dir .. "/none.sock")
        end
    end)
end)

describe("output to a terminal", function()
    local printable = require "dirty.cli.printable"

    it("has escapes in place of what it would take for a command", function()
        for text, wanted in pairs {
            ["plain\ttext"] = "plain\ttext", ["\27[2J"] = "\\x1b[2J", ["a\rb"] = "a\\x0db",
            ["\0\7\8\127"] = "\\x00\\x07\\x08\\x7f", [""] = "",
            ["\155" .. "1m"] = "\\x9b1m", ["\194\155" .. "1m"] = "\\u009b1m",
            ["\194\160\195\169\226\130\172"] = "\194\160\195\169\226\130\172",
            ["\240\159\144\159"] = "\240\159\144\159", ["\240\159\144"] = "\\xf0\\x9f\\x90",
            ["\226\128\174x"] = "\\u202ex", ["\226\129\166x"] = "\\u2066x",
            ["\226\128\168"] = "\\u2028", ["\195"] = "\\xc3", ["\195\27"] = "\\xc3\\x1b",
            ["\192\155"] = "\\xc0\\x9b", ["\224\130\155"] = "\\xe0\\x82\\x9b",
            ["\237\160\128"] = "\\xed\\xa0\\x80",
            ["\244\144\128\128"] = "\\xf4\\x90\\x80\\x80",
        } do
            assert.equal(wanted, printable.value(text))
            assert.equal(wanted, printable.line(text))
            assert.equal(wanted, printable.block(text))
        end
        assert.equal("a\nb\n", printable.value("a\r\nb\n"))
        assert.equal("a\\nb\\n", printable.line("a\nb\n"))
        assert.equal("a\n    b\n    \n    c", printable.block("a\nb\n\nc\n\n"))
    end)

    it("is the same JSON", function()
        local value = {}
        for code = 0, 127 do
            value[#value + 1] = string.char(code)
        end
        value[#value + 1] = "\194\155\226\128\174\195\169"
        local text = cjson.encode(value)
        assert.same(value, cjson.decode(printable.json(text)))
        assert.equal('["\\u009b","\\u202e\195\169","\\u001b[2J","\\ufffd"]\n', printable.json(
            '["\194\155","\226\128\174\195\169","\27[2J","\155"]\n'))
    end)

    it("is written by one module alone", function()
        local files = process.run({ "sh", "-c", "grep -lE 'io[.](stdout|stderr|write)|print[(]' "
            .. "lua/dirty/cli.lua lua/dirty/cli/*.lua" })
        assert.equal("lua/dirty/cli/say.lua\n", files.stdout)
    end)
end)

describe("the page of dirty status", function()
    local page = require "dirty.cli.status_page"
    local units = require "dirty.cli.units"

    local function text_of(status)
        return table.concat(page.lines(status), "\n") .. "\n"
    end

    it("shows what there is and passes over what there is not", function()
        local null = cjson.null
        for _, answer in ipairs {
            {}, { arbiter = null, workers = null, apps = null, queue = null, counters = null },
            { arbiter = 5, workers = "x", apps = { a = 1 }, counters = { errors = true } },
            { workers = { {}, { lanes = { {}, { app = "a" } } }, null }, apps = { [""] = {} } },
            { workers = { { pid = null, lanes = { { lua_bytes = "?" } }, apps = { 1, true } } } },
            { queue = { oldest_ms = "late" }, counters = { new = 7, names = { a = 1 } } },
            { reload = null }, { reload = { state = null, last = null } },
            { reload = { state = "covering", last = { number = 1 } } },
            { reload = 7, arbiter = { supervisor_pid = null, restarts = "?" } },
            { workers = { { retry_in_ms = "?", boot_failures = null, last_exit = {} } },
                apps = { a = { circuit = "open", retry_in_ms = null, ready = null } } },
        } do
            assert.truthy(text_of(answer):find("counters: ", 1, true))
            assert.is_string(page.not_ready(answer))
        end
        assert.truthy(text_of({ counters = { new = 7 } }):find("new 7", 1, true))
    end)

    it("tells what went wrong, and what is about to happen", function()
        local text = text_of {
            arbiter = { pid = 9, supervisor_pid = 8, restarts = 2, last_exit = "signal 9" },
            queue = { length = 3, limit = 5, oldest_ms = 1500 },
            reload = { number = 4, state = "covering",
                last = { number = 3, result = "failed", ago_s = 61, reason = "no such app" } },
            workers = {
                { number = 1, state = "ready", last_exit = "exit status 0", lanes = {
                    { app = "a", action = "b", state = "running", running_ms = 2500 } } },
                { number = 2, state = "waiting", last_exit = "signal 11 (SIGSEGV)",
                    boot_failures = 6, circuit = "open", retry_in_ms = 3200 },
            },
            apps = { a = { workers = 2, ready = 0, circuit = "open", retry_in_ms = 3200,
                queued = 3, max_queue = 5, oldest_ms = 1500 } },
        }
        for _, part in ipairs {
            "under supervisor pid 8, restarted 2 times, last after: signal 9",
            "queue 3 of 5, oldest waits 1.5 s", "reload 4: covering\n",
            "reload 3: failed, 1 m 1 s ago: no such app", "running a.b for 2.5 s",
            "worker 2: last exit: signal 11 (SIGSEGV); 6 boots failed in a row; circuit open; "
                .. "next boot in 3.2 s", "0 of 2  open, retry in 3.2 s  3 of 5  1.5 s",
        } do
            contains(text, part)
        end
        assert.falsy(text:find("worker 1:", 1, true))
    end)

    it("says why the runtime is not ready", function()
        assert.is_nil(page.not_ready { ready = true })
        assert.equal("the runtime is serving: app a has no ready worker (of 2), its circuit is "
            .. "open; app c has no ready worker (of 1)", page.not_ready { ready = false,
            arbiter = { state = "serving" }, apps = { a = { ready = 0, workers = 2,
                circuit = "open" }, b = { ready = 1, workers = 1 }, c = { ready = 0, workers = 1,
                circuit = "closed" } } })
        assert.equal("the runtime is draining", page.not_ready { ready = false,
            arbiter = { state = "draining" }, apps = { a = { ready = 1 } } })
    end)

    it("says times and sizes as people do", function()
        assert.equal("0.3 s", units.duration(0.25))
        assert.equal("1 m 30 s", units.duration(90))
        assert.equal("2 h 0 m", units.duration(7201))
        assert.equal("3 d 1 h", units.duration(3 * 86400 + 3600))
        assert.equal("-", units.duration(nil))
        assert.equal("999 B", units.size(999))
        assert.equal("1.5 MB", units.size(1.5e6))
        assert.equal("-", units.size(cjson.null))
    end)
end)

describe("a configuration that does not end", function()
    local dir
    before_each(function() dir = tempdir.new() end)
    after_each(function() tempdir.remove(dir) end)

    local function each(path, ...)
        local began = os.time()
        for _, command in ipairs { "serve", "check", "config" } do
            local r = process.run_dirty({ command, "--config", path, "--app", "apps.echo",
                "--socket", dir .. "/s", "--boot-timeout", "1" })
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
        assert.is_true(each(path, path, "is a FIFO", "must be a regular file") < 3)
        each("/dev/zero", "/dev/zero is a device")
        local path_of_socket = dir .. "/sock"
        local script = ([[
            local s = require "posix.sys.socket"
            local fd = s.socket(s.AF_UNIX, s.SOCK_STREAM, 0)
            assert(s.bind(fd, { family = s.AF_UNIX, path = %q }))]]):format(path_of_socket)
        assert.equal(0, process.run({ process.LUAJIT, "-e", script }).exit)
        each(path_of_socket, "is a socket")
    end)

    it("is ended after a time, whatever it does", function()
        for _, text in ipairs { "while true do end", "os.execute('sleep 63')",
            ("io.open('%s/fifo')"):format(dir) } do
            process.run { "mkfifo", dir .. "/fifo" }
            each(tempdir.write(dir .. "/c.lua", text), dir .. "/c.lua", "ran for more than 1 s",
                "--boot-timeout")
        end
        assert.equal(1, process.run({ "pgrep", "-f", "^sleep 63" }).exit)
    end)
end)
