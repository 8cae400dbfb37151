-- A hook that does not return holds up no call (docs/blocking-calls.md).
local blocked = require "support.blocked"
local signal = require "posix.signal"
local wait = require "support.wait"

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

after_each(blocked.undo)

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

describe("a worker_exit hook that does not return", function()
    for name, way in pairs(WAYS) do
        it("delays no call, whatever it does: " .. name, function()
            local rt = blocked.start { stdout_path = blocked.full_pipe(), config = [[
                workers = 2
                apps = { "apps.echo" }
                local dir, kept = debug.getinfo(1, "S").source:match "@(.*)/"
                local ffi = require "ffi"
                ffi.cdef "int poll(void *, unsigned long, int); int pthread_mutex_lock(void *);"
                function worker_exit() ]] .. way .. " end" }
            local before = rt:status()
            signal.kill(before.workers[1].pid, signal.SIGKILL)
            wait.until_true(function()
                return rt:log():find('msg="worker ended" worker=1', 1, true)
            end, 5, "its end")
            assert.is_true(blocked.slowest_call(rt, 1) < 1.5 * wait.SLOW)
            wait.until_true(function()
                local worker = rt:status().workers[1]
                return worker.generation == 2 and worker.state == "ready"
            end, 5, "the next worker")
            assert.equal(before.arbiter.pid, rt:status().arbiter.pid)
            contains(rt:log(), 'hook=worker_exit error="killed: it ran for more than 2000 ms')
            local at = wait.now()
            assert.same({ exit = 0 }, rt:stop(8))
            assert.is_true(wait.now() - at < 4 * wait.SLOW)
            assert.falsy(rt:log():find("killed by", 1, true))
        end)
    end
end)
