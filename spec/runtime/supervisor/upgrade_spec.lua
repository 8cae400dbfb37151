-- `dirty upgrade`: another program takes the place of a running one.
local installation = require "support.installation"
local load = require "support.load"
local notify_socket = require "support.notify_socket"
local process = require "support.process"
local raw = require "support.raw"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local supervision = require "support.supervision"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local cjson = require "cjson"
local wire = require "dirty.wire"

local contains, defer, kill = supervision.contains, supervision.defer, supervision.kill

local VERSION = tempdir.read("VERSION"):match("%S+")
local NEXT = VERSION:gsub("%d", "9")

-- Its init waits while the file `gate` is there.
local SHOP = [[
    local dirty = require "dirty"
    local dir = debug.getinfo(1, "S").source:match("@(.*)/")
    local app = dirty.app()
    function app:init()
        os.execute(("while test -e %s/gate; do sleep 0.01; done"):format(dir))
    end
    function app:echo(value) return value end
    function app:wait(name)
        os.execute(("touch %s/began; while ! test -e %s/%s; do sleep 0.01; done")
            :format(dir, dir, name))
        return name
    end
    return app]]

local dir, program, rt, callers

before_each(function()
    dir = tempdir.new()
    program = installation.install(dir)
end)

after_each(function()
    if callers then
        callers:stop()
        callers = nil
    end
    supervision.undo()
    tempdir.remove(dir)
end)

local function start(o)
    o = o or {}
    o.program, o.files = program, { ["shop.lua"] = SHOP }
    o.config = o.config or "workers = 2\napps = { 'shop' }"
    rt = runtime.start(o)
    defer(function()
        os.remove(rt.dir .. "/gate")
        rt:command("stop", { "--now", "--wait", "--timeout", "20" }, { seconds = 30 })
        rt:close()
    end)
    return rt
end

local function upgrade(...)
    return rt:command("upgrade", { ... }, { seconds = 100 })
end

local function supervisor()
    return rt:status().arbiter.supervisor_pid
end

local function runs(pid)
    return tree.stat(pid) ~= nil
end

local function wait_state(state)
    wait.until_true(function() return rt:status().upgrade.state == state end, 20, state)
end

describe("an upgrade", function()
    it("lets the new program serve on the same socket, with its own version", function()
        start { args = { "--pidfile", dir .. "/pid" } }
        local old, socket = supervisor(), stat.lstat(rt.socket)
        local before = rt:tree()
        assert.same({ state = "none", last = cjson.null }, rt:status().upgrade)
        installation.replace(program, installation.with_version(program, VERSION, NEXT))
        local r = upgrade()
        assert.equal(0, r.exit, r.stderr)
        contains(r.stdout, ("upgrade 1: from %s to %s, done in "):format(VERSION, NEXT))
        local status = rt:status()
        assert.equal(NEXT, status.versions.dirty)
        assert.not_equal(old, status.arbiter.supervisor_pid)
        assert.equal(status.arbiter.supervisor_pid, tonumber((tempdir.read(dir .. "/pid"))))
        assert.equal(socket.st_ino, stat.lstat(rt.socket).st_ino)
        assert.same({ number = 1, result = "done", reason = cjson.null, from = VERSION, to = NEXT,
            at = status.upgrade.last.at }, status.upgrade.last)
        assert.same({ exit = 0 }, rt:wait())
        tree.wait_gone(before, 10)
        assert.equal("it", (rt:call("shop", "echo", "it")))
        assert.equal(status.arbiter.supervisor_pid, tonumber((tempdir.read(dir .. "/pid"))))
        -- and back: the signal, to the new supervisor
        installation.replace(program, tempdir.read(process.dirty()))
        kill(status.arbiter.supervisor_pid, signal.SIGUSR2)
        wait.until_true(function()
            return rt:status().versions.dirty == VERSION
        end, 20, "the first")
        assert.equal(2, rt:status().upgrade.last.number)
        -- the lock moved too, and the last one removes everything
        local second = runtime.launch { apps = { "apps.echo" }, args = { "--socket", rt.socket } }
        defer(function() second:close() end)
        assert.same({ exit = 3 }, second:wait(20))
        assert.equal(0, rt:command("stop", { "--wait" }).exit)
        assert.is_nil(stat.lstat(rt.socket))
        assert.is_nil(stat.lstat(rt.socket .. ".lock"))
        assert.is_nil(stat.lstat(dir .. "/pid"))
    end)

    it("finishes calls, and requests of which a part has come", function()
        start()
        local old = supervisor()
        local call = rt:start_call("shop", "wait", "go")
        defer(function() call:close() end)
        wait.until_true(function() return stat.lstat(rt.dir .. "/began") end, 20, "the call")
        local half, idle = raw.connect(rt.socket), rt:client()
        local bytes = table.concat((assert(wire.new():encode_request(7, { app = "shop",
            action = "echo" }, { "both" }, 1))))
        assert(half:send(bytes:sub(1, 20)))
        assert.equal(1, (idle:execute("shop", "echo", 1)))
        wait.until_true(function() return rt:status().arbiter.sessions >= 3 end, 20, "three")
        local r = upgrade()
        assert.equal(0, r.exit, r.stderr)
        assert.not_equal(old, supervisor())
        assert.equal(2, (idle:execute("shop", "echo", 2))) -- connects to the new one
        assert(half:send(bytes:sub(21)))
        assert.equal(7, (select(2, assert(half:frame()))))
        assert.is_true(runs(old))
        assert.is_nil(call:ended() or nil)
        tempdir.write(rt.dir .. "/go", "")
        assert.same({ exit = 0 }, call:wait(20))
        contains(call:stdout(), "go")
        assert.same({ exit = 0 }, rt:wait(20))
    end)

    it("ends nothing of the next one, however long the old runtime still has to serve", function()
        start()
        local call = rt:start_call("shop", "wait", "go")
        defer(function() call:close() end)
        wait.until_true(function() return stat.lstat(rt.dir .. "/began") end, 20, "the call")
        assert.equal(0, upgrade().exit)
        local second = supervisor()
        assert.equal(0, upgrade().exit)
        wait.until_true(function() return not runs(second) end, 20, "the end of the second")
        local third = supervisor()
        tempdir.write(rt.dir .. "/go", "")
        assert.same({ exit = 0 }, call:wait(20))
        assert.same({ exit = 0 }, rt:wait(20)) -- it has swept what it left
        assert.equal(third, supervisor())
        assert.equal(1, (rt:call("shop", "echo", 1)))
    end)

    it("tells the service manager which process it is to watch", function()
        local name = "@dirty-spec-upgrade-" .. unistd.getpid()
        local notify = notify_socket.open(name)
        defer(function() notify:close() end)
        start { env = { NOTIFY_SOCKET = name, WATCHDOG_USEC = "400000" } }
        local old = supervisor()
        local _, at = notify:wait("^READY=1\nMAINPID=" .. old)
        installation.replace(program, "#!/bin/sh\nexit 3\n")
        assert.equal(6, upgrade().exit)
        _, at = notify:wait("^RELOADING=1\nMONOTONIC_USEC=%d+\nSTATUS=Upgrading", at)
        _, at = notify:wait("^READY=1\nMAINPID=" .. old .. "\nSTATUS=Upgrade failed: ", at)
        installation.replace(program, tempdir.read(process.dirty()))
        assert.equal(0, upgrade().exit)
        local new = supervisor()
        _, at = notify:wait("^RELOADING=1", at)
        _, at = notify:wait("^MAINPID=" .. new .. "\nREADY=1", at)
        _, at = notify:wait("^READY=1\nMAINPID=" .. new .. "\nSTATUS=Serving: ", at)
        assert.same({ exit = 0 }, rt:wait())
        notify:wait("^WATCHDOG=1", at + 1)
        for _, message in ipairs(notify:take()) do
            assert.is_nil(message:find("STOPPING=1", 1, true))
        end
        assert.equal(0, rt:command("stop", { "--wait" }).exit)
        notify:wait("^STOPPING=1")
    end)

    it("loses no call under load, ten times between two versions", function()
        start { config = "workers = 3\napps = { 'shop', 'apps.echo' }" }
        local first = supervisor()
        local versions = { [VERSION] = tempdir.read(program),
            [NEXT] = installation.with_version(program, VERSION, NEXT) }
        local long = ("x"):rep(300000)
        callers = load.start(rt.socket, 6, function(client, number, n)
            local value, err
            if number == 1 then -- a connection for each call
                client = require("dirty").client { socket = rt.socket, timeout = 30 }
                value, err = client:execute("shop", "echo", n)
            elseif number == 2 then -- longer than the kernel's buffer
                value, err = client:execute("shop", "echo", long)
                value = value == long and n or nil
            elseif number == 3 then -- in flight at most moments
                value, err = client:execute("apps.echo", "sleep", 30)
                value = value ~= nil and n or nil
            elseif number == 4 and n % 5 == 0 then
                local r = process.run_dirty({ "call", "--socket", rt.socket, "shop",
                    "echo", tostring(n) }, { seconds = 30 })
                value, err = r.exit == 0 and n or nil, r.stderr
            else
                value, err = client:execute("shop", "echo", n)
            end
            return value == n or nil, err or ("the answer of another call: " .. tostring(value))
        end)
        for i = 1, 10 do
            local version = i % 2 == 1 and NEXT or VERSION
            installation.replace(program, versions[version])
            local r = upgrade("--json")
            assert.equal(0, r.exit, r.stderr)
            local result = cjson.decode(r.stdout)
            assert.same({ i, version }, { result.upgrade, result.to })
        end
        local report = callers:stop()
        assert.same({}, report.failures)
        assert.equal(0, report.hung)
        assert.is_true(report.calls > 100, report.calls .. " calls")
        assert.not_equal(first, supervisor())
        assert.same({ exit = 0 }, rt:wait(40))
    end)

    it("can be started only once at a time, and not beside a reload", function()
        start()
        tempdir.write(rt.dir .. "/gate", "")
        local old = supervisor()
        kill(old, signal.SIGUSR2)
        wait_state("starting")
        local r = upgrade()
        assert.equal(3, r.exit)
        contains(r.stderr, "not upgraded: an upgrade is running already")
        contains(rt:command("reload").stderr, "an upgrade is running: the new runtime reads the "
            .. "configuration when it starts")
        kill(old, signal.SIGUSR2)
        kill(old, signal.SIGHUP)
        wait.until_true(function()
            return rt:log():find('not upgraded" reason="an upgrade is running already', 1, true)
                and rt:log():find("not reloaded: an upgrade is running", 1, true)
        end, 20, "both in the log")
        os.remove(rt.dir .. "/gate")
        wait.until_true(function() return supervisor() ~= old end, 20, "the new one")
        assert.equal(1, rt:status().upgrade.last.number)
        -- a reload that is running
        tempdir.write(rt.dir .. "/gate", "")
        assert.equal(0, rt:command("reload").exit)
        r = upgrade()
        assert.equal(3, r.exit)
        contains(r.stderr, "not upgraded: a reload is running")
    end)

    it("goes on after its arbiter has died: the next arbiter knows of it", function()
        start()
        tempdir.write(rt.dir .. "/gate", "")
        local old = rt:status().arbiter
        kill(old.supervisor_pid, signal.SIGUSR2)
        wait_state("starting")
        kill(old.pid, signal.SIGKILL)
        os.remove(rt.dir .. "/gate")
        wait.until_true(function()
            local status = rt:call("@arbiter", "status")
            return status and status.arbiter.supervisor_pid ~= old.supervisor_pid
        end, 40, "the new runtime")
        assert.equal(5, (rt:call("shop", "echo", 5)))
        assert.same({ exit = 0 }, rt:wait(20))
    end)
end)

-- A program that speaks for itself on the channel: a report of the kind (octal), and its number.
local function speaker(kind, number, text, after)
    return ([[#!/usr/bin/env bash
        fd=$(echo "$DIRTY_HANDOVER" | cut -d: -f2)
        printf '\%s\000\000\000\000\000\000\000\%s\000\000\000%s' >&"$fd"
        %s]]):format(kind, number, text, after)
end

describe("an upgrade to a bad program", function()
    local CASES = {
        ["exits with 0"] = { "#!/bin/sh\nexit 0\n", "the new program ended with exit status 0" },
        ["exits with 1"] = { "#!/bin/sh\nexit 1\n", "the new program ended with exit status 1" },
        ["crashes"] = { "#!/bin/sh\nkill -SEGV $$\n",
            "the new program was ended by signal 11 SIGSEGV" },
        ["hangs"] = { "#!/bin/sh\nsleep 1000 & sleep 1000\n",
            "the new program was not ready in time" },
        ["is of no known format"] = { "garbage )(", "Exec format error" },
        ["may not be run"] = { "#!/bin/sh\n", "Permission denied", "600" },
        ["speaks another protocol"] = { speaker("144", "2", "7.8.9", "sleep 1000"),
            "(version 7.8.9) hands over by protocol 2, this runtime by 1: stop this one and "
                .. "start that one" },
        ["is ready, but not by the protocol"] = { speaker("2", "0", "", "sleep 1000"),
            "it is ready without having said which protocol it speaks" },
        ["is ready and takes nothing over"] = {
            speaker("144", "1", "7.8.9",
                "printf '\\2" .. ("\\000"):rep(11) .. "' >&$fd; exit 4"),
            "the new program ended with exit status 4" },
        ["says it in bytes that are no text"] = {
            speaker("10", "0", ("\\377"):rep(300), "exit 70"),
            "the new program ended with exit status 70: ???" },
        ["says what is wrong"] = { speaker("10", "0", "it is Thursday", "exit 70"),
            "the new program ended with exit status 70: it is Thursday" },
    }
    for what, case in pairs(CASES) do
        it("changes nothing, and says why: it " .. what, function()
            start { args = { "--pidfile", dir .. "/pid" } }
            local old, before = supervisor(), rt:tree()
            installation.replace(program, case[1], case[3])
            local r = upgrade("--timeout", what == "hangs" and "0.5" or "20")
            assert.equal(6, r.exit, r.stderr)
            contains(r.stderr, "dirty upgrade: upgrade 1 failed: ")
            contains(r.stderr, case[2])
            contains(r.stderr, "the old runtime (version " .. VERSION .. ") goes on")
            local status = rt:status()
            assert.equal(old, status.arbiter.supervisor_pid)
            assert.equal("failed", status.upgrade.last.result)
            contains(status.upgrade.last.reason, case[2])
            assert.equal("it", (rt:call("shop", "echo", "it")))
            assert.equal(old, tonumber((tempdir.read(dir .. "/pid"))))
            wait.until_true(function() return #rt:tree() == #before end, 20, function()
                return "nothing left of it: " .. tree.alive(rt:tree())
            end)
            -- the next one succeeds
            installation.replace(program, tempdir.read(process.dirty()))
            assert.equal(0, upgrade().exit)
            assert.equal(2, rt:status().upgrade.last.number)
        end)
    end

    it("says why: it can't load the apps", function()
        start()
        tempdir.write(rt.dir .. "/shop.lua", "oops oops")
        local r = upgrade()
        assert.equal(6, r.exit)
        contains(r.stderr, "shop.lua:1:")
        assert.equal(1, (rt:call("shop", "echo", 1)))
    end)

    it("says why: it gets a wrong configuration", function()
        start()
        tempdir.write(rt.dir .. "/dirty.conf.lua", "user = 1")
        local r = upgrade()
        assert.equal(6, r.exit)
        contains(r.stderr, "the new program ended with exit status 2")
        assert.equal(1, (rt:call("shop", "echo", 1)))
    end)
end)

describe("while an upgrade starts the new program,", function()
    local old, processes

    local function start_gated(o)
        start(o)
        old = supervisor()
        tempdir.write(rt.dir .. "/gate", "")
        kill(old, signal.SIGUSR2)
        wait_state("starting")
        wait.until_true(function() return #tree.below(old) >= 10 end, 20, "both trees")
        processes = tree.below(old)
    end

    local function ends_both(stop)
        start_gated()
        stop()
        assert.same({ exit = 0 }, rt:wait(20))
        tree.wait_gone(processes, 20)
        assert.is_nil(stat.lstat(rt.socket))
        assert.is_nil(stat.lstat(rt.socket .. ".lock"))
        contains(rt:log(), "the runtime was told to stop")
    end

    it("a stop by a signal ends both", function()
        ends_both(function() rt:signal(signal.SIGTERM) end)
    end)

    it("a stop by the command ends both", function()
        ends_both(function() assert.equal(0, rt:command("stop").exit) end)
    end)

    it("the death of the old supervisor makes the new one serve, as soon as it can", function()
        start_gated { args = { "--pidfile", dir .. "/pid" } }
        kill(old, signal.SIGKILL)
        assert.same({ signal = 9 }, rt:wait())
        local call = rt:start_call("shop", "echo", "late") -- waits at the socket
        defer(function() call:close() end)
        os.remove(rt.dir .. "/gate")
        assert.same({ exit = 0 }, call:wait(40))
        contains(call:stdout(), "late")
        local new = supervisor()
        assert.equal(new, tonumber((tempdir.read(dir .. "/pid"))))
        contains(rt:log(), "the runtime that is to be upgraded is gone: taking its place")
        -- it owns everything: it can be upgraded, and stopped
        assert.equal(0, upgrade().exit)
        assert.equal(0, rt:command("stop", { "--wait" }).exit)
        assert.is_nil(stat.lstat(rt.socket))
        tree.wait_gone(processes, 20)
    end)

    it("the loss of the socket's file ends the upgrade", function()
        start_gated()
        assert(os.remove(rt.socket))
        wait.until_true(function() return stat.lstat(rt.socket) end, 20, "another socket")
        local last = wait.until_true(function()
            local upgrade_now = rt:status().upgrade
            return upgrade_now.state == "none" and upgrade_now.last
        end, 20, "its end")
        contains(last.reason, "the socket's file was removed")
        assert.equal(old, supervisor())
    end)
end)
