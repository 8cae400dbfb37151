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

        -- Run a command there with each LUA_PATH, or some; its last result.
        local function run(args, paths)
            local r
            for _, path in ipairs(paths or RELATIVE) do
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
            run { "call", "-s", "/nowhere/s", "a", "b", '{"a":1}' }
        end)

        -- LUA_PATH has been read before the command is: one form, and none.
        it("does not load modules from there, whatever the command is", function()
            for _, args in ipairs { { "--version" }, { "--help" }, { "status", "-s", "/nowhere/s" },
                { "stop", "-s", "/nowhere/s" }, { "stack", "-s", "/nowhere/s" },
                { "reload", "-s", "/nowhere/s" },
                { "ping", "-s", "/nowhere/s" }, { "metrics", "-s", "/nowhere/s" },
                { "config", "--json" } } do
                run(args, { "%s/?.lua;./?.lua;./?/init.lua;;", false })
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
