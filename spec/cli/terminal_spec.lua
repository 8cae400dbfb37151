-- What commands print of an app's words, or a peer's, on an operator's terminal.
local machine = require "support.machine"
local process = require "support.process"
local puppet_path = "spec/support/puppet.lua"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local terminal = require "support.terminal"
local wait = require "support.wait"

-- A title, a cleared screen, a return, a backspace; C1 as a byte, as UTF-8, and cut off; what
-- turns the writing round; a line of its own that nobody but the app has written.
local EVIL = "\27]0;owned\7\27[2Jbad\r\8\127 \155" .. "2J \194\155" .. "2J \226\128\174evil"
    .. "\226\128\168 \195\nready: all is well\n\27[8mhidden"

-- Lua text of it.
local QUOTED = EVIL:gsub(".", function(c) return ("\\%03d"):format(c:byte()) end)

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local function is_tame(output)
    local found = terminal.command_in(output)
    assert.is_nil(found, found and found .. "\nin:\n" .. output)
    -- it is seen, and stands on no line of its own
    assert.falsy(("\n" .. output):find("\nready: all is well", 1, true), output)
end

local function file_of(text)
    return (text:gsub("EVIL", (QUOTED:gsub("%%", "%%%%"))))
end

if machine.no_terminal() then
    it("on a terminal, are no commands to it", function() pending(machine.no_terminal()) end)
    return
end

describe("text of apps on a terminal", function()
    local rt, calls

    before_each(function() calls = {} end)
    after_each(function()
        for _, call in ipairs(calls) do
            call:close()
        end
        if rt then
            rt:close()
            rt = nil
        end
    end)

    local function tty(command, ...)
        return terminal.run_dirty { command, "--socket", rt.socket, ... }
    end

    it("is escaped when a call fails", function()
        rt = runtime.start { apps = { "evil" }, args = { "--workers", "1" }, files = {
            ["evil.lua"] = file_of [[
                local evil = {}
                function evil:raise() error("EVIL") end
                function evil:refuse() return nil, "EVIL" end
                function evil:object() error { evil = "EVIL" } end
                local function named() error("x") end
                evil.traced = loadstring("return function() error('y') end", "=EVIL")()
                function evil:json() return { ["EVIL"] = "EVIL" }, true end
                function evil:text() return "EVIL" end
                function evil:plain() return "caf\195\169 \240\159\144\159\n\tline 2" end
                function evil:texts() return "EVIL", "EVIL" end
                function evil:binary() return "\0\1\2EVIL" end
                function evil:ask() named() end
                return evil]] } }
        for _, action in ipairs { "raise", "refuse", "object", "traced" } do
            local r = tty("call", "evil", action)
            assert.equal(3, r.exit, r.output)
            contains(r.output, "dirty: APP: ")
            is_tame(r.output)
        end
        contains(tty("call", "evil", "raise").output,
            "\\x1b]0;owned\\x07\\x1b[2Jbad\\x0d\\x08\\x7f ")
        for _, action in ipairs { "json", "text", "texts" } do
            local r = tty("call", "evil", action)
            assert.equal(0, r.exit, r.output)
            assert.is_nil(terminal.command_in(r.output))
            contains(r.output, action == "json" and "\\u001b]0;owned" or "\\x1b]0;owned")
        end
        -- what is no command comes as it is
        assert.equal("caf\195\169 \240\159\144\159\n\tline 2\n",
            tty("call", "evil", "plain").output)
        local r = tty("call", "evil", "binary")
        assert.equal(1, r.exit)
        contains(r.output, "would garble the terminal")
        is_tame(r.output)
        -- scripts need every byte
        local piped = rt:command("call", { "evil", "text" })
        assert.equal(EVIL, piped.stdout)
        assert.equal(EVIL .. "\n" .. EVIL .. "\n", rt:command("call", { "evil", "texts" }).stdout)
        -- messages are for people, wherever they go
        is_tame(rt:command("call", { "evil", "raise" }).stderr)
    end)

    it("is escaped in the output of status, stack, reload and in the log", function()
        local flag
        rt = runtime.start {
            config = "workers = 1\nallow_stack = true\napps = { 'evil', 'apps.echo' }",
            files = { ["evil.lua"] = file_of [[
                local evil = {}
                function evil:init()
                    local dir = debug.getinfo(1, "S").source:match("@(.*)/")
                    if io.open(dir .. "/flag") then error("EVIL") end
                end
                evil.spin = loadstring("return function(_, path) repeat until io.open(path) end",
                    "=EVIL")()
                function evil:say()
                    print("EVIL")
                    io.stderr:write("EVIL\n")
                    local dirty = require "dirty"
                    dirty.log.error("EVIL", { ["EVIL"] = "EVIL", plain = "EVIL" })
                    require("dirty.host").log("error", "EVIL", "forged=EVIL")
                end
                return evil]] } }
        flag = rt.dir .. "/flag"
        local call = rt:start_call("evil", "spin", rt.dir .. "/stop")
        calls[1] = call
        local shown
        wait.until_true(function()
            shown = tty("stack")
            return shown.output:find("stack traceback:", 1, true)
        end, 10, "a traceback")
        contains(shown.output, "owned")
        is_tame(shown.output)
        is_tame(tty("stack", "--json").output)
        tempdir.write(rt.dir .. "/stop", "")
        call:wait()
        assert.equal(0, rt:command("call", { "evil", "say" }).exit)

        tempdir.write(flag, "")
        local r = tty("reload", "--wait")
        assert.equal(6, r.exit, r.output)
        contains(r.output, "owned")
        is_tame(r.output)
        is_tame(tty("reload", "--wait", "--json").output)
        signal.kill(rt:status().workers[1].pid, signal.SIGKILL)
        local said = { { "status" }, { "status", "--json" }, { "status", "--ready" }, { "metrics" },
            { "ping" } }
        wait.until_true(function()
            return tty("status").output:find("last exit: [^\n]*owned") ~= nil
        end, 20, "an exit in the status")
        for _, command in ipairs(said) do
            is_tame(tty(unpack(command)).output)
        end
        -- whoever reads the log by cat or tail is at a terminal too
        is_tame(rt:log())
        contains(rt:log(), "owned")
        for line in rt:log():gmatch("[^\n]+") do
            contains(line, "ts=")
        end
    end)

    it("is escaped in a JSON log", function()
        rt = runtime.start { config = "workers = 1\nlog_format = 'json'\napps = { 'evil' }",
            files = { ["evil.lua"] = file_of [[
                local evil = {}
                function evil:say()
                    print("EVIL")
                    require("dirty").log.error("EVIL", { plain = "EVIL" })
                end
                return evil]] } }
        assert.equal(0, rt:command("call", { "evil", "say" }).exit)
        wait.until_true(function() return select(2, rt:log():gsub("owned", "")) >= 3 end, 10,
            "its words in the log")
        is_tame(rt:log())
    end)
end)

describe("text of apps in dirty check", function()
    it("is escaped on the terminal of dirty check and dirty serve", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        for name, text in pairs {
            loads = 'error("EVIL")',
            inits = 'return { init = function() error("EVIL") end }',
            declares = 'return require("dirty").app { ["EVIL"] = 1 }',
            prints = 'io.stderr:write("EVIL\\n") print("EVIL") '
                .. 'return { init = function() print("EVIL") io.stdin:write("EVIL\\n") end }',
        } do
            tempdir.write(dir .. "/" .. name .. ".lua", file_of(text))
        end
        for _, app in ipairs { "loads", "inits", "declares", "prints" } do
            local r = terminal.run_dirty({ "check", "--app", app }, { cwd = dir })
            assert.equal(app == "prints" and 0 or 4, r.exit, r.output)
            contains(r.output, "owned")
            is_tame(r.output)
        end
        local r = terminal.run_dirty({ "serve", "--app", "loads", "--socket", dir .. "/s" },
            { cwd = dir })
        assert.equal(4, r.exit)
        contains(r.output, "owned")
        is_tame(r.output)
    end)

    it("can't be written to a terminal directly", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        tempdir.write(dir .. "/looks.lua", [[
            local unistd = require "posix.unistd"
            local out = {}
            for fd = 0, 2 do
                out[#out + 1] = tostring(unistd.isatty(fd))
            end
            out[#out + 1] = tostring(io.open("/dev/tty", "w"))
            error(table.concat(out, " "))]])
        local r = terminal.run({ "setsid", "-c", "-w", process.dirty(), "check", "--app", "looks" },
            { cwd = dir })
        contains(r.output, "looks.lua:7: nil nil nil nil\n")
    end)
end)

describe("text of a peer on a terminal", function()
    it("is escaped, whatever it sends", function()
        local dir = tempdir.new()
        local socket = dir .. "/s"
        local puppet = process.start({ "luajit", puppet_path, socket }, { stdin_path = "/dev/zero",
            env = { LUA_PATH = "./lua/?.lua;./lua/?/init.lua;./spec/?.lua;;" } })
        finally(function()
            puppet:close()
            tempdir.remove(dir)
        end)
        wait.until_true(function() return stat.stat(socket) end, 10, "the puppet's socket")
        local function tty(...)
            return terminal.run_dirty { "call", "--socket", socket, ... }
        end
        local evil = tempdir.write(dir .. "/evil", EVIL)
        local r = tty("x", "fail", "3", "@" .. evil,
            '{"traceback":"\\u001b[2Jx\\nready: all is well"}')
        assert.equal(3, r.exit, r.output)
        is_tame(r.output)
        -- what calls itself JSON and is not is refused, in words of ours
        r = tty("x", "json", "@" .. evil)
        assert.equal(1, r.exit, r.output)
        is_tame(r.output)
        -- JSON may hold what needs no escape there, and a terminal would take for a command
        local text = '"\194\155' .. '2J \226\128\174evil caf\195\169"'
        local json = "@" .. tempdir.write(dir .. "/json", text)
        assert.equal('"\\u009b2J \\u202eevil caf\195\169"\n', tty("x", "json", json).output)
        local piped = process.run_dirty { "call", "--socket", socket, "x", "json", json }
        assert.equal(text .. "\n", piped.stdout)
    end)
end)
