-- A C server with threads that owns a runtime (spec/spawn/owner.c): whichever way the server
-- ends, the whole tree ends with it.

local process = require "support.process"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local wait = require "support.wait"

local OWNER = process.BUILD .. "/spawn/owner"
-- Valgrind and the sanitizers don't go together: the plain build's.
local PLAIN_OWNER = (os.getenv "DIRTY_CORE" or process.BUILD .. "/lua"):gsub("/lua$", "")
    .. "/spawn/owner"
local CONFIG = [[
apps = { "apps.echo" }
workers = 2
]]

describe("a runtime that a C server spawned", function()
    local dir, owner

    before_each(function()
        dir = tempdir.new()
    end)

    after_each(function()
        owner:close()
        tempdir.remove(dir)
    end)

    local function start(way, config, wrap)
        local argv = { wrap and PLAIN_OWNER or OWNER, process.dirty(), dir .. "/s",
            tempdir.write(dir .. "/c.lua", config or CONFIG), way }
        for i, word in ipairs(wrap or {}) do
            table.insert(argv, i, word)
        end
        owner = process.start(argv)
    end

    -- A number that the owner prints after a word.
    local function told(word, seconds)
        return tonumber(wait.until_true(function()
            return owner:stdout():match(word .. " (%d+)\n") or owner:ended() and error("it ended")
        end, seconds or 20, function() return word .. "\n" .. owner:stderr() end))
    end

    -- The processes of its tree: the supervisor, a keeper, an arbiter, two workers.
    local function tree_of(pid)
        local list = tree.below(pid)
        assert.equal(5, #list)
        return list
    end

    local function ends(way, expected)
        start(way)
        local list = tree_of(told "ready")
        owner:signal(signal.SIGUSR1)
        assert.same(expected, owner:wait(20))
        tree.wait_gone(list, 20)
        assert.matches("the program that started the runtime is gone", owner:stderr())
    end

    it("ends when it returns from main", function() ends("return", { exit = 0 }) end)

    it("ends when a thread of it exits", function() ends("exit", { exit = 0 }) end)

    it("ends when it aborts", function() ends("abort", { signal = signal.SIGABRT }) end)

    it("is stopped gracefully if the server does that", function()
        start "free"
        local list = tree_of(told "ready")
        owner:signal(signal.SIGUSR1)
        assert.same({ exit = 0 }, owner:wait(20))
        assert.is_nil(tree.alive(list)) -- it waited for that
        assert.not_matches("the program that started the runtime is gone", owner:stderr())
    end)

    it("costs the server no memory and no descriptor", function()
        start("free", nil, { "valgrind", "--quiet", "--leak-check=full", "--error-exitcode=99",
            "--errors-for-leak-kinds=all" })
        told("ready", 60)
        owner:signal(signal.SIGUSR1)
        assert.same({ exit = 0 }, owner:wait(60))
    end)

    it("can't be upgraded: the server would lose it", function()
        start "free"
        local supervisor = told "ready"
        local reply = process.run_dirty { "upgrade", "--socket", dir .. "/s" }
        assert.equal(3, reply.exit)
        assert.matches("not upgraded: this runtime belongs to the program", reply.stderr)
        signal.kill(supervisor, signal.SIGUSR2)
        wait.until_true(function()
            return owner:stderr():find("not upgraded", 1, true)
        end, 20, "it says so")
        assert.equal(5, #tree.below(supervisor))
        owner:signal(signal.SIGUSR1)
        assert.same({ exit = 0 }, owner:wait(20))
    end)

    it("ends when it is killed", function()
        start "return"
        local list = tree_of(told "ready")
        owner:kill()
        tree.wait_gone(list, 20)
    end)

    it("ends when it is killed together with the supervisor", function()
        start "return"
        local list = tree_of(told "ready")
        signal.kill(list[1].pid, signal.SIGKILL)
        owner:kill()
        tree.wait_gone(list, 20)
    end)

    it("ends when it is killed though a child of it lives on", function()
        start "fork"
        local list, child = tree_of(told "ready"), told "child"
        owner:kill()
        tree.wait_gone(list, 20)
        assert.equal(0, signal.kill(child, 0))
        signal.kill(child, signal.SIGKILL)
    end)

    it("ends when it becomes another program", function()
        start "exec"
        local list = tree_of(told "ready")
        owner:signal(signal.SIGUSR1)
        tree.wait_gone(list, 20)
        assert.is_false(owner:ended())
    end)

    it("lives on when its first thread ends", function()
        start "thread"
        local list = tree_of(told "ready")
        owner:signal(signal.SIGUSR1)
        wait.until_true(function() -- the first thread is a zombie, the process is not
            return tempdir.read(("/proc/%d/task/%d/stat"):format(owner.pid, owner.pid))
                :find(") Z ", 1, true)
        end, 10, "the first thread ended")
        local reply = process.run_dirty { "call", "--socket", dir .. "/s", "apps.echo", "echo",
            "hello" }
        assert.same({ 0, "hello" }, { reply.exit, reply.stdout })
        assert.equal(5, #tree.below(list[1].pid))
        owner:kill()
        tree.wait_gone(list, 20)
    end)

    -- Processes of the tree before it is ready: they have the path of the configuration.
    local function starting()
        return wait.until_true(function()
            local list = tree.below(owner.pid)
            return #list > 1 and tempdir.read(dir .. "/began") and list
        end, 20, "it starts")
    end

    it("ends when it is killed while the configuration is read", function()
        start("return", ("io.open(%q, 'w'):close()\nwhile true do end\n"):format(dir .. "/began"))
        local list = starting()
        owner:kill()
        tree.wait_gone(list, 20)
    end)

    it("ends when it is killed while an app starts", function()
        tempdir.write(dir .. "/slow.lua", ([[
            return { init = function()
                io.open(%q, 'w'):close()
                while true do end
            end }
        ]]):format(dir .. "/began"))
        start("return", ("apps = { 'slow' } lua_path = %q"):format(dir .. "/?.lua"))
        local list = starting()
        owner:kill()
        tree.wait_gone(list, 20)
    end)
end)
