-- Hazards that brought other designs down, each tried on the running system. The numbers are
-- those of docs/hazards.md, which says for each what lua-dirty does. spec/reliability.md
-- names the tests; hazards that have a test elsewhere have none here.
local dirent = require "posix.dirent"
local document = require "support.document"
local machine = require "support.machine"
local process = require "support.process"
local raw = require "support.raw"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local wait = require "support.wait"
local wire = require "dirty.wire"

local codec = wire.new()
local errors = require "dirty.errors"

-- An app that says which process it is, waits for files, and notes down what becomes of it.
local WITNESS = [[
local dirty = require "dirty"
local ffi = require "ffi"
ffi.cdef "int usleep(unsigned); int getpid(void);"
local dir = debug.getinfo(1, "S").source:match("@(.*)/")

local function is_there(name)
    local file = io.open(dir .. "/" .. name)
    return file and file:close()
end

local function note(what)
    local file = io.open(dir .. "/notes", "a")
    file:write(what, "\n")
    file:close()
end

note("loaded " .. ffi.C.getpid())

local Witness = dirty.app()

function Witness:init()
    while is_there("hold-init") do ffi.C.usleep(2000) end
end

function Witness:who() return ffi.C.getpid() end

function Witness:wait_for(name)
    while not is_there(name) do ffi.C.usleep(2000) end
    note("worked")
    return "done"
end

function Witness:log(text)
    dirty.log.info(text)
    return true
end

function Witness:nest(socket, timeout)
    local client = dirty.client { socket = socket, timeout = timeout }
    local value, err, info = client:execute("inner", "who")
    return { value = value, err = err, info = info }
end

function Witness:close() note("closed") end

return Witness]]

local rt, connections, processes

before_each(function() connections, processes = {}, {} end)
after_each(function()
    for _, connection in ipairs(connections) do
        connection:close()
    end
    if rt then
        rt:close()
        rt = nil
    end
    for _, p in ipairs(processes) do
        p:close()
    end
end)

-- Start a runtime with the witness; `config` is of its configuration file.
local function start(config, o)
    o = o or {}
    o.config = config
    o.files = { ["witness.lua"] = WITNESS }
    rt = runtime.start(o)
end

local function touch(name)
    tempdir.write(rt.dir .. "/" .. name, "")
end

local function remove(name)
    assert(os.remove(rt.dir .. "/" .. name))
end

local function notes(pattern)
    local found = {}
    for note in (tempdir.read(rt.dir .. "/notes") or ""):gmatch("[^\n]+") do
        found[#found + 1] = note:match(pattern)
    end
    return found
end

local function connect()
    local connection = raw.connect(rt.socket)
    connections[#connections + 1] = connection
    return connection
end

-- Send a request on a connection of its own, without waiting for its answer.
local function send(app, action, ...)
    local connection = connect()
    assert(connection:send(table.concat((assert(codec:encode_request(7, { app = app,
        action = action, budget_ms = 60000 }, { ... }, select("#", ...)))))))
    return connection
end

local function expect_value(connection, value)
    local kind, id, said = connection:frame(20)
    assert.equal(codec.RESPONSE, kind, tostring(id) .. " " .. tostring(said and said.message))
    assert.same({ 7, value }, { id, said.values[1] })
end

local function expect_error(connection, code)
    local kind, id, said = connection:frame(20)
    assert.same({ codec.ERROR, 7 }, { kind, id })
    assert.equal(code, errors.of(said.code).code, said.message)
    return said.details
end

local function worker(number)
    return rt:status().workers[number]
end

local function wait_for_worker(number, state, old_pid)
    return wait.until_true(function()
        local now = worker(number)
        return now and now.state == state and now.pid ~= old_pid and now.pid
    end, 20, ("worker %d is %s"):format(number, state))
end

local function wait_running(number)
    wait.until_true(function() return worker(number).lanes[1].state == "running" end, 10,
        "a call runs")
end

local function kill(pid, number)
    assert(signal.kill(pid, number or signal.SIGKILL))
end

local function reload(result)
    local number = rt:status().reload.number
    rt:signal(signal.SIGHUP)
    local ended = wait.until_true(function()
        local r = rt:status().reload
        return r.number > number and r.state == "idle" and r
    end, 20, "the end of a reload")
    assert.equal(result or "done", ended.result, ended.reason)
end

describe("hazards: requests lost or hung", function()
    it("G1: a caller that waits when a worker dies is answered; nothing is left behind", function()
        start "workers = 1; apps = { 'witness' }"
        local arbiter = rt:status().arbiter.pid
        local function descriptors()
            collectgarbage() -- clients of the status
            local count = 0
            for _ in dirent.files(("/proc/%d/fd"):format(arbiter)) do
                count = count + 1
            end
            return count
        end
        local before = descriptors()
        local busy = send("witness", "wait_for", "never")
        wait_running(1)
        local old = worker(1).pid
        local waiting = {}
        for i = 1, 5 do
            waiting[i] = send("witness", "who")
        end
        wait.until_true(function() return rt:status().queue.length == 5 end, 10, "a queue")
        kill(old)
        assert.equal("yes", expect_error(busy, "WORKER_LOST").started)
        local new = wait_for_worker(1, "ready", old)
        for i = 1, 5 do
            expect_value(waiting[i], new)
        end
        for _, connection in ipairs(connections) do
            connection:close()
        end
        wait.until_true(function() return descriptors() <= before end, 10, "no descriptor more")
    end)

    it("G4: a retired worker ends its call first, then closes its apps", function()
        start "workers = 1; apps = { 'witness' }"
        local old = rt:call("witness", "who")
        local running = send("witness", "wait_for", "first")
        wait_running(1)
        rt:signal(signal.SIGHUP)
        wait.until_true(function() return rt:call("witness", "who") ~= old end, 20, "a new worker")
        assert.same({}, notes("^closed$"))
        touch "first"
        expect_value(running, "done")
        wait.until_true(function() return #notes("^closed$") == 1 end, 10, "the old one is closed")
        running = send("witness", "wait_for", "second")
        wait_running(1)
        rt:signal(signal.SIGTERM)
        wait.until_true(function() return not stat.lstat(rt.socket) end, 10, "a stop")
        assert.equal(1, #notes("^closed$"))
        touch "second"
        expect_value(running, "done")
        assert.same({ exit = 0 }, rt:wait(20))
        assert.same({ "worked", "closed", "worked", "closed" }, notes("^%a+ed$"))
    end)

    it("G5: connections that are open and idle don't delay a stop", function()
        start "workers = 1; graceful_timeout = 600; apps = { 'witness' }"
        local client = rt:client()
        assert(client:execute("witness", "who"))
        local used, idle = send("witness", "who"), connect()
        assert.equal(codec.RESPONSE, (used:frame()))
        assert.same({ exit = 0 }, rt:stop(20))
        assert.is_true(used:ends())
        assert.is_true(idle:ends())
        client:close()
    end)

    it("G7: a worker that is stopped while it boots swallows no request", function()
        start "workers = 2; apps = { 'witness' }"
        touch "hold-init"
        local victim = worker(2).pid
        kill(victim)
        local booting = wait_for_worker(2, "booting", victim)
        kill(booting, signal.SIGTERM)
        local next_one = wait_for_worker(2, "booting", booting)
        for _ = 1, 5 do
            assert(rt:call("witness", "who"))
        end
        remove "hold-init"
        assert.equal(next_one, wait_for_worker(2, "ready"))
        local busy = send("witness", "wait_for", "end")
        wait.until_true(function()
            return worker(1).lanes[1].state == "running" or worker(2).lanes[1].state == "running"
        end, 10, "a busy worker")
        local other = worker(1).lanes[1].state == "running" and next_one or worker(1).pid
        for _ = 1, 5 do
            assert.equal(other, rt:call("witness", "who"))
        end
        touch "end"
        expect_value(busy, "done")
    end)

    it("G9: no app code runs in the supervisor or the arbiter", function()
        start "workers = 2; apps = { 'witness', again = { module = 'witness' } }"
        reload()
        local loaders = {}
        for _, pid in ipairs(notes("^loaded (%d+)$")) do
            loaders[tonumber(pid)] = true
        end
        local status = rt:status()
        for _, entry in ipairs(rt:tree()) do
            local is_worker = entry.title:find("^dirty: worker") ~= nil
            assert.equal(is_worker, loaders[entry.pid] or false, entry.title)
        end
        assert.is_true(loaders[status.workers[1].pid])
    end)

    it("G10: a replacement has its predecessor's apps, whatever ended before", function()
        start [[workers = 2; apps = { a = { module = "witness", workers = 1 },
            b = { module = "witness", workers = 1 }, all = { module = "witness" } }]]
        local function hosts()
            local found = {}
            for i, w in ipairs(rt:status().workers) do
                found[i] = table.concat(w.apps, " ")
            end
            return found
        end
        local before = hosts()
        reload()
        assert.equal(0, rt:command("scale", { "3" }).exit)
        wait_for_worker(3, "ready")
        assert.equal(0, rt:command("scale", { "2" }).exit)
        wait.until_true(function() return #rt:status().workers == 2 end, 10, "two workers")
        for _, app in ipairs { "a", "b", "a" } do
            local old = rt:call(app, "who")
            kill(old)
            wait.until_true(function()
                local new = rt:call(app, "who")
                return new and new ~= old
            end, 10, "another host of " .. app)
        end
        assert.same(before, hosts())
        assert.are_not.equal(rt:call("a", "who"), rt:call("b", "who"))
    end)
end)

describe("hazards: timeouts", function()
    it("G16: an init that hangs is stopped at any time, and tried again", function()
        start "workers = 1; boot_timeout = 0.3; apps = { 'witness' }"
        touch "hold-init"
        kill(worker(1).pid)
        wait.until_true(function() return rt:status().counters.boot_failures >= 2 end, 20,
            "two boots that hang")
        assert.truthy(rt:log():find("boot_timeout", 1, true))
        remove "hold-init"
        wait_for_worker(1, "ready")
        assert(rt:call("witness", "who"))
    end)
end)

describe("hazards: wrong answers", function()
    it("G24: a value stays a value, whatever it looks like", function()
        start "workers = 1; apps = { 'apps.echo' }"
        for _, value in ipairs {
            { error = "key_not_found" },
            { type = "error", code = 3, message = "no", id = 99, status = "error" },
            { code = "APP", started = "no", traceback = "stack traceback:" },
        } do
            local got, err, info = rt:call("apps.echo", "echo", value)
            assert.same({ value }, { got, err, info })
        end
    end)

    it("G25: arguments can't reach the fields of a request, numbers come back exact", function()
        start "workers = 1; apps = { 'apps.echo', 'witness' }"
        local value = { type = 4, id = 5, app = "witness", action = "who", budget_ms = 1, argc = 0 }
        expect_value(send("apps.echo", "echo", value), value)
        for _, number in ipairs { 2 ^ 53, 2 ^ 63, 2 ^ 64, -2 ^ 64, 1e300 } do
            assert.equal(number, (rt:call("apps.echo", "echo", number)))
        end
        -- as documented: JSON's keys are strings
        assert.same({ ["1"] = "a", x = "b" }, (rt:call("apps.echo", "echo", { "a", x = "b" })))
    end)
end)

describe("hazards: scheduling and resources", function()
    it("G26: a long call delays nobody while another lane is free", function()
        start "workers = 2; apps = { 'witness' }"
        local busy = send("witness", "wait_for", "end")
        local client = rt:client { timeout = 20 }
        for _ = 1, 50 do
            assert(client:execute("witness", "who"))
        end
        client:close()
        touch "end"
        expect_value(busy, "done")
    end)

    it("G27: an app may call another; where no lane is left that ends in time", function()
        start "workers = 2; apps = { 'witness', inner = { module = 'witness' } }"
        assert.is_number(rt:call("witness", "nest", rt.socket, 20).value)
        rt:close()
        start "workers = 1; apps = { 'witness', inner = { module = 'witness' } }"
        local result = assert(rt:call("witness", "nest", rt.socket, 0.3))
        assert.same({ "TIMEOUT", "queue", "no" },
            { result.info.code, result.info.phase, result.info.started })
    end)

    it("G28: a worker gets no request before its apps are ready", function()
        start "workers = 1; apps = { 'witness' }"
        local first = worker(1).pid
        touch "hold-init"
        assert.equal(0, rt:command("scale", { "2" }).exit)
        local second = wait_for_worker(2, "booting")
        for _ = 1, 20 do
            assert.equal(first, rt:call("witness", "who"))
        end
        local busy = send("witness", "wait_for", "end")
        wait_running(1)
        local waits = send("witness", "who")
        wait.until_true(function() return rt:status().queue.length == 1 end, 10, "a queue")
        remove "hold-init"
        expect_value(waits, second)
        touch "end"
        expect_value(busy, "done")
    end)

    it("G30: supervision survives a fork that fails and a worker that does not end", function()
        start [[workers = 2; graceful_timeout = 0.5; apps = { 'witness',
            stuck = { module = "witness", interruptible = false } }]]
        local arbiter = rt:status().arbiter.pid
        local victim = worker(2).pid
        local soft, hard = tempdir.read(("/proc/%d/limits"):format(arbiter))
            :match("Max open files%s+(%d+)%s+(%d+)")
        local function limit(number)
            assert.equal(0, process.run({ "prlimit", "--pid", tostring(arbiter),
                ("--nofile=%s:%s"):format(number, hard) }).exit)
        end
        limit(3)
        kill(victim)
        wait.until_true(function()
            return rt:log():find("worker can't be started", 1, true)
        end, 10, "a failure")
        limit(soft)
        wait_for_worker(2, "ready", victim)
        -- the second: told to go, it works on
        local busy = send("stuck", "wait_for", "never")
        wait.until_true(function()
            return worker(1).lanes[1].state == "running" or worker(2).lanes[1].state == "running"
        end, 10, "a call runs")
        reload()
        assert.equal("yes", expect_error(busy, "SHUTDOWN").started)
        assert(rt:call("witness", "who"))
    end)

    it("G35: payloads do not go through the arbiter", function()
        start "workers = 1; apps = { 'apps.echo', 'witness' }"
        local path = ("/proc/%d/status"):format(rt:status().arbiter.pid)
        local function peak_kib()
            return tonumber(tempdir.read(path):match("VmHWM:%s+(%d+)"))
        end
        local before = peak_kib()
        local large = ("x"):rep(16 * 2 ^ 20)
        for _ = 1, 3 do
            assert.equal(large, (rt:call("apps.echo", "echo", large)))
        end
        send("witness", "wait_for", "end")
        wait_running(1)
        local half = table.concat((assert(codec:encode_request(7, { app = "apps.echo",
            action = "length", budget_ms = 60000 }, { large }, 1)))):sub(1, 65536)
        for _ = 1, 100 do
            assert(connect():send(half))
        end
        wait.until_true(function() return rt:status().queue.length == 100 end, 20, "a queue")
        assert.is_true(peak_kib() - before < 8192 * wait.SLOW, peak_kib() - before .. " KiB")
        touch "end"
    end)
end)

describe("hazards: operation", function()
    it("G40: a runtime started by root serves and can be called after it dropped rights", function()
        local lacking = machine.no_root() or machine.closed_to_others()
        if lacking then
            pending(lacking)
            return
        end
        rt = runtime.start { apps = { "apps.echo" }, args = { "--user", "nobody", "--workers",
            "1" } }
        assert(stat.chmod(rt.dir, tonumber("755", 8)))
        local function uids()
            local found = {}
            for i, entry in ipairs(rt:tree()) do
                found[i] = tempdir.read(("/proc/%d/status"):format(entry.pid))
                    :match("Uid:%s+%d+%s+(%d+)")
            end
            return found
        end
        local function call()
            local r = machine.run_as_nobody(process.dirty(), "call", "--socket", rt.socket,
                "apps.echo", "echo", "here")
            assert.equal("here", r.stdout, r.stderr)
        end
        assert.same({ "0", "0", "65534", "65534" }, uids())
        assert.equal(65534, stat.lstat(rt.socket).st_uid)
        call()
        local arbiter = rt:status().arbiter.pid
        kill(arbiter)
        wait.until_true(function()
            local status = rt:call("@arbiter", "status")
            return status and status.arbiter.pid ~= arbiter
        end, 20, "another arbiter")
        call()
        assert.same({ exit = 0 }, rt:stop())
        assert.is_nil(stat.lstat(rt.socket))
    end)

    it("G41: workers, too, log to the new file after USR1", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        rt = runtime.launch { apps = { "witness" }, files = { ["witness.lua"] = WITNESS },
            args = { "--workers", "1", "--log-file", dir .. "/log" } }
        local function log_has(text)
            return (tempdir.read(dir .. "/log") or ""):find(text, 1, true)
        end
        wait.until_true(function() return log_has 'msg="ready"' end, 20, "ready")
        assert(rt:call("witness", "log", "before the rotation"))
        assert.truthy(log_has "before the rotation")
        assert(os.rename(dir .. "/log", dir .. "/log.1"))
        rt:signal(signal.SIGUSR1)
        wait.until_true(function()
            assert(rt:call("witness", "log", "after the rotation"))
            return log_has "after the rotation"
        end, 10, "a worker's line in the new file")
        assert.falsy(log_has "before the rotation")
    end)
end)

describe("docs/reliability.md", function()
    local text = document.text "docs/reliability.md"
    local tests = document.text "spec/reliability.md"
    local words = text:gsub("%s+", " ")

    -- How many tests a cell names. Each of them must exist.
    local function count_tests(cell, what)
        return document.each_test(cell, function(path, name)
            assert.is_true(document.has_test(path, name), ("%s: %s: %s"):format(what,
                tostring(path), name))
        end)
    end

    it("contains each statement that spec/reliability.md has tests for", function()
        local rows = document.rows(document.section(tests, "## Statements"))
        assert.is_true(#rows >= 19, #rows)
        for _, row in ipairs(rows) do
            assert.truthy(words:find(row[1], 1, true), row[1])
            assert.is_true(count_tests(row[2], row[1]) > 0, row[1])
        end
    end)

    it("has each hazard once, in order, with tests that there are", function()
        local rows = document.rows(document.section(tests, "## Hazards"))
        local number = 0
        for _, hazard in ipairs(document.rows(document.text "docs/hazards.md")) do
            number = number + 1
            assert.equal("G" .. number, hazard[1])
            assert.equal(hazard[1], rows[number][1])
            assert.is_true(count_tests(rows[number][2], hazard[1]) > 0
                or hazard[3]:find("^can't exist") ~= nil, hazard[1])
        end
        assert.equal(42, number)
        assert.equal(42, #rows)
    end)

    it("has every test of this file in its row of spec/reliability.md", function()
        local source = tempdir.read("spec/runtime/hazards_spec.lua")
        for number, name in source:gmatch 'it%("(G%d+):([^"]+)"' do
            local row = tests:match("\n| " .. number .. " |[^\n]+")
            assert.truthy(row and row:find("`" .. number .. ":" .. name .. "`", 1, true), number)
        end
    end)
end)
