-- The files of the socket: removed, replaced, taken by another while a runtime has them.
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local unistd = require "posix.unistd"
local wait = require "support.wait"
local socket = require "posix.sys.socket"

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local undone = {}

local function defer(undo)
    undone[#undone + 1] = undo
end

after_each(function()
    while #undone > 0 do
        pcall(table.remove(undone))
    end
end)

local function start(o)
    local rt = runtime.start(o or { apps = { "apps.echo" }, args = { "--workers", "1" } })
    defer(function() rt:close() end)
    return rt
end

-- A second runtime for the socket of the first.
local function launch_second(rt)
    local second = process.start { process.dirty(), "serve", "--socket", rt.socket, "--app",
        "apps.echo", "--workers", "1" }
    defer(function()
        second:signal(signal.SIGTERM)
        pcall(second.wait, second, 5)
        second:close()
    end)
    return second
end

local function inode(path)
    local st = stat.lstat(path)
    return st and st.st_ino
end

local function wait_logged(rt, part)
    wait.until_true(function() return rt:log():find(part, 1, true) end, 10, function()
        return part .. "\n" .. rt:log()
    end)
end

-- Whose arbiter answers by the path.
local function arbiter_pid(rt)
    local status = rt:call("@arbiter", "status")
    return status and status.arbiter.pid
end

local function wait_bound(rt, arbiter)
    wait.until_true(function() return arbiter_pid(rt) == arbiter end, 10, function()
        return "the path leads to the arbiter\n" .. rt:log()
    end)
end

describe("a socket whose file is removed", function()
    it("is bound again within seconds, and says so", function()
        local rt = start()
        local arbiter = arbiter_pid(rt)
        local kept = rt:client()
        assert.equal("before", (kept:execute("apps.echo", "echo", "before")))
        for i = 1, 2 do
            local began = wait.now()
            assert(os.remove(rt.socket))
            wait_bound(rt, arbiter)
            assert.is_true(wait.now() - began < 5 * wait.SLOW)
            assert.equal(tonumber("600", 8), stat.lstat(rt.socket).st_mode % 512)
            local about = rt:status().arbiter
            assert.equal(i, about.socket_binds)
            assert.equal("userdata", type(about.socket_trouble)) -- null
        end
        wait_logged(rt, "the socket's file was removed or replaced: bound it again")
        -- a connection of before goes on
        assert.equal("after", (kept:execute("apps.echo", "echo", "after")))
        -- the next arbiter has it, too, and the end removes it
        assert(signal.kill(arbiter, signal.SIGKILL))
        wait.until_true(function() return (arbiter_pid(rt) or arbiter) ~= arbiter end, 10,
            "another arbiter")
        assert.equal(0, rt:status().arbiter.socket_binds)
        assert.same({ exit = 0 }, rt:stop())
        assert.same({}, { inode(rt.socket), inode(rt.socket .. ".lock") })
    end)

    it("is bound again with the settings of the last reload", function()
        local config = "workers = 1\napps = { 'apps.echo' }\nsocket_mode = "
        local rt = start { config = config .. "'0660'" }
        local arbiter = arbiter_pid(rt)
        local function reload(mode)
            tempdir.write(rt.dir .. "/dirty.conf.lua", config .. mode)
            assert.equal(0, rt:command("reload", { "--wait" }, { seconds = 30 }).exit)
        end
        reload("'0600'")
        assert(os.remove(rt.socket))
        wait_bound(rt, arbiter)
        assert.equal(tonumber("600", 8), stat.lstat(rt.socket).st_mode % 512)
        wait.until_true(function() return rt:status().arbiter.socket_binds == 1 end, 10, "told")
        reload("'0666'") -- the new file is changed
        assert.equal(tonumber("666", 8), stat.lstat(rt.socket).st_mode % 512)
    end)

    it("is bound again when its removed directory is back", function()
        local rt = start()
        local arbiter, client = arbiter_pid(rt), rt:client()
        assert(client:arbiter("ping"))
        local dir = tempdir.new()
        tempdir.remove(dir)
        assert(os.rename(rt.dir, dir))
        defer(function() tempdir.remove(dir) end)
        wait_logged(rt, "something is wrong with the socket's files")
        -- who is still connected can see it
        wait.until_true(function()
            local trouble = client:arbiter("status").arbiter.socket_trouble
            return type(trouble) == "string" and trouble:find("No such file or directory", 1, true)
        end, 10, "a trouble")
        assert(stat.mkdir(rt.dir))
        wait_bound(rt, arbiter)
        wait_logged(rt, "the socket's files are in order again")
        assert.is_nil(rt:command("status").stdout:find("socket:", 1, true))
    end)

    it("loses no caller that waits to be accepted", function()
        local rt = start()
        local arbiter = arbiter_pid(rt)
        local function count_ends()
            local _, count = tempdir.read("/proc/net/unix"):gsub(rt.socket:gsub("%p", "%%%0")
                .. "\n", "")
            return count
        end
        assert(signal.kill(arbiter, signal.SIGSTOP))
        defer(function() signal.kill(arbiter, signal.SIGCONT) end)
        local calls, before = {}, count_ends()
        for i = 1, 5 do
            calls[i] = rt:start_call("--timeout", "30", "apps.echo", "echo", "call " .. i)
            defer(function() calls[i]:close() end)
        end
        wait.until_true(function() return count_ends() == before + 5 end, 10,
            "five callers in the backlog")
        assert(os.remove(rt.socket))
        wait_logged(rt, "bound it again")
        assert(signal.kill(arbiter, signal.SIGCONT))
        for i = 1, 5 do
            assert.same({ exit = 0 }, calls[i]:wait(20), calls[i]:stderr() .. rt:log())
            assert.equal("call " .. i, (calls[i]:stdout():gsub("\n", "")))
        end
        wait_bound(rt, arbiter)
    end)
end)

describe("a socket's path that another has taken", function()
    it("is left to it, even at a stop, and taken back afterwards", function()
        local rt = start()
        local arbiter, client = arbiter_pid(rt), rt:client()
        assert(client:arbiter("ping"))
        assert(os.remove(rt.socket))
        local other = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
        assert(socket.bind(other, { family = socket.AF_UNIX, path = rt.socket }))
        assert(socket.listen(other, 64))
        local theirs = inode(rt.socket)
        wait_logged(rt, "another file is at its path")
        wait.until_true(function()
            local trouble = client:arbiter("status").arbiter.socket_trouble
            return type(trouble) == "string" and trouble:find("another file is at", 1, true)
        end, 10, "a trouble")
        assert.equal(theirs, inode(rt.socket))
        unistd.close(other)
        assert(os.remove(rt.socket))
        wait_bound(rt, arbiter)
        -- once more, to the end
        assert(os.remove(rt.socket))
        tempdir.write(rt.socket, "precious")
        wait_logged(rt, "another file is at its path")
        assert.same({ exit = 0 }, rt:stop())
        assert.equal("precious", tempdir.read(rt.socket))
    end)

    it("by another runtime still belongs to that one when the first ends", function()
        local rt = start()
        local second
        -- both files are gone, and the second is quicker than the first's next look
        wait.until_true(function()
            os.remove(rt.socket)
            os.remove(rt.socket .. ".lock")
            second = launch_second(rt)
            wait.until_true(function()
                return rt:is_ready(second:stderr()) or second:ended()
            end, 20, "the second")
            return not second:ended()
        end, 60, "a second runtime")
        wait_logged(rt, "another runtime has taken its path")
        local arbiter = arbiter_pid(rt)
        assert.same({ exit = 0 }, rt:stop())
        assert.equal(arbiter, arbiter_pid(rt))
        assert.truthy(inode(rt.socket .. ".lock"))
        second:signal(signal.SIGTERM)
        assert.same({ exit = 0 }, second:wait())
        assert.same({}, { inode(rt.socket), inode(rt.socket .. ".lock") })
    end)
end)

describe("a lock that is removed", function()
    it("does not let a second runtime in, and is taken again", function()
        local rt = start()
        local arbiter, before = arbiter_pid(rt), inode(rt.socket)
        assert(os.remove(rt.socket .. ".lock"))
        local second = launch_second(rt)
        assert.same({ exit = 3 }, second:wait(10))
        contains(second:stderr(), "another runtime serves this socket")
        wait_logged(rt, "the lock of the socket was removed or replaced: took it again")
        assert.truthy(inode(rt.socket .. ".lock"))
        second = launch_second(rt)
        assert.same({ exit = 3 }, second:wait(10))
        assert.same({ arbiter, before }, { arbiter_pid(rt), inode(rt.socket) })
        assert.same({ exit = 0 }, rt:stop())
        assert.same({}, { inode(rt.socket), inode(rt.socket .. ".lock") })
    end)

    it("does not prevent a start after all processes were killed", function()
        local rt = start()
        local list = rt:tree()
        assert(signal.kill(rt.pid, signal.SIGKILL))
        local second = launch_second(rt) -- the last of the first may still listen
        wait.until_true(function()
            return rt:is_ready(second:stderr()) or second:ended()
        end, 20, "the second")
        assert.is_false(second:ended(), second:stderr())
        assert.is_nil(tree.alive(list))
    end)
end)
