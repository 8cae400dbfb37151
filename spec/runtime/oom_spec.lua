-- A worker that the kernel's OOM killer ends, in a control group with a limit of its own. Needs
-- root, and a memory controller that can be written to.
local process = require "support.process"
local runtime = require "support.runtime"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local LEAK = [[
    local ffi = require "ffi"
    ffi.cdef [=[ void *leak_malloc(size_t) __asm__("malloc");
        void *leak_set(void *, int, size_t) __asm__("memset"); ]=]
    local Leak = {}
    function Leak:leak(mib)
        for _ = 1, mib do ffi.C.leak_set(ffi.C.leak_malloc(2 ^ 20), 1, 2 ^ 20) end
        return "done"
    end
    return Leak]]

-- An app that does so when it is loaded.
local GREEDY = "require('leak'):leak(400) return {}"

local LIMIT = 96 * 2 ^ 20

-- A new group with a limit: its directory; or nil and why there can be none.
local function new_group()
    local name = ("/dirty-spec-%d"):format(unistd.getpid())
    for _, kind in ipairs { { "/sys/fs/cgroup/memory", "memory.limit_in_bytes" },
        { "/sys/fs/cgroup", "memory.max" } } do
        local dir = kind[1] .. name
        if stat.lstat(kind[1] .. "/cgroup.procs") and stat.mkdir(dir) == 0 then
            local file = io.open(dir .. "/" .. kind[2], "w")
            local ok = file and file:write(("%d"):format(LIMIT)) and file:close()
            if ok and tempdir.read(dir .. "/" .. kind[2]) then
                return dir
            end
            unistd.rmdir(dir)
        end
    end
    return nil, "needs a memory controller of cgroups that can be written to"
end

local function in_group(group)
    return { "sh", "-c", ('echo $$ >%s/cgroup.procs && exec "$@"'):format(group), "sh" }
end

local function remove(group)
    wait.until_true(function() return unistd.rmdir(group) == 0 end, 10, "an empty group")
end

describe("dirty check", function()
    it("reports an app that the OOM killer killed", function()
        local group, why = new_group()
        if not group then
            pending(why)
            return
        end
        local dir = tempdir.new()
        finally(function()
            remove(group)
            tempdir.remove(dir)
        end)
        tempdir.write(dir .. "/leak.lua", LEAK)
        tempdir.write(dir .. "/greedy.lua", GREEDY)
        local argv = in_group(group)
        for _, word in ipairs { process.dirty(), "check", "--app", "greedy", "--lua-path",
            dir .. "/?.lua" } do
            argv[#argv + 1] = word
        end
        local r = process.run(argv, { seconds = 30 })
        assert.equal(4, r.exit, r.stderr)
        assert.truthy((r.stdout .. r.stderr):find("signal 9 (Killed), likely from the OOM killer",
            1, true), r.stdout .. r.stderr)
    end)
end)

describe("a worker that the OOM killer ends", function()
    it("is reported to its caller, in the log, the status and the metrics", function()
        local group, why = new_group()
        if not group then
            pending(why)
            return
        end
        local rt = runtime.start { files = { ["leak.lua"] = LEAK },
            apps = { "leak" }, args = { "--workers", "1" },
            wrap = in_group(group) }
        finally(function()
            rt:close()
            remove(group)
        end)
        local value, err, info = rt:client { timeout = 60 }:execute("leak", "leak", 400)
        assert.is_nil(value)
        assert.equal("WORKER_LOST", info.code, err)
        assert.truthy(info.message:find("was killed by signal 9 (SIGKILL), likely by the OOM "
            .. "killer, while it ran leak.leak", 1, true), info.message)
        assert.same({ "oom", false }, { info.cause, info.killed_by_runtime })
        wait.until_true(function()
            return rt:log():find('how="signal 9 (SIGKILL), likely the OOM killer"', 1, true)
        end, 10, "the log")
        assert.truthy(rt:command("status").stdout:find("likely the OOM killer", 1, true))
        assert.truthy(rt:client():metrics():find('exits_total{reason="oom"} 1', 1, true))
        -- one that somebody kills afterwards is no case of it
        local pid = wait.until_true(function()
            local worker = rt:status().workers[1]
            return worker.state == "ready" and worker.pid
        end, 20, "another worker")
        assert.equal(0, process.run({ "kill", "-KILL", tostring(pid) }).exit)
        wait.until_true(function()
            return rt:client():metrics():find('exits_total{reason="signal"} 1', 1, true)
        end, 10, "its end")
        assert.truthy(rt:client():metrics():find('exits_total{reason="oom"} 1', 1, true))
    end)
end)
