-- Apps that tamper with descriptors, in workers that hold those of many callers, and apps that
-- keep out of that: docs/reliability.md, "Shared connections".
local runtime = require "support.runtime"
local wait = require "support.wait"

-- The app of all tests. Copies of shared connections have numbers from 1000 on.
local APP = [==[
    local ffi = require "ffi"
    ffi.cdef [=[int close(int); int fork(void); int getpid(void); void _exit(int);
        int open(const char *, int, ...);]=]
    local app = {}
    local function read(path)
        local file = io.open(path)
        local text = file and file:read("*a") or ""
        if file then file:close() end
        return text
    end
    local function copies()
        local pipe = io.popen("ls -l /proc/" .. ffi.C.getpid() .. "/fd")
        local text, count = pipe:read("*a"), 0
        pipe:close()
        for number in text:gmatch "(%d+) %-> socket:" do
            count = count + (tonumber(number) >= 1000 and 1 or 0)
        end
        return count
    end
    function app:noop() end
    function app:pid() return tonumber(read("/proc/self/stat"):match "^%d+") end
    function app:copies() return copies() end
    function app:close_copies()
        local pipe = io.popen("ls -l /proc/" .. ffi.C.getpid() .. "/fd")
        local text, count = pipe:read("*a"), 0
        pipe:close()
        for number in text:gmatch "(%d+) %-> socket:" do
            if tonumber(number) >= 1000 then
                count = count + 1
                ffi.C.close(tonumber(number))
            end
        end
        return count
    end
    function app:maps()
        return select(2, read("/proc/self/maps"):gsub("rw%-s %x+ %x+:%x+ %d+ +/dev/zero", ""))
    end
    function app:closefrom(first)
        for number = first, 4096 do ffi.C.close(number) end
    end
    -- A child that stays: how many copies it has.
    function app:forked()
        local path = os.tmpname()
        local pid = ffi.C.fork()
        if pid == 0 then
            local file = io.open(path, "w")
            file:write(copies(), "\n")
            file:close()
            ffi.C._exit(0)
        end
        local text
        repeat text = read(path):match "(%d+)\n" until text
        os.remove(path)
        return tonumber(text)
    end
    -- Take every descriptor that is left.
    function app:exhaust()
        local count = 0
        while ffi.C.open("/dev/null", 0) >= 0 do count = count + 1 end
        return count
    end
    return app]==]

describe("workers that hold connections of many callers", function()
    local rt, callers

    local function start(config, args)
        rt = runtime.start { config = config, args = args, files = { ["shared.lua"] = APP } }
        finally(function()
            for _, client in ipairs(callers) do
                client:close()
            end
            rt:close()
        end)
    end

    -- Callers whose connections lanes take themselves, if they take any.
    local function connect(count, calls)
        callers = {}
        for i = 1, count do
            callers[i] = rt:client { timeout = 10 * wait.SLOW }
            for _ = 1, calls or 6 do
                assert.is_nil((select(2, callers[i]:execute("shared", "noop"))))
            end
        end
    end

    local function direct()
        return rt:status().counters.direct
    end

    -- All callers get answers, and lanes take requests themselves again.
    local function assert_served()
        local before = direct()
        wait.until_true(function()
            for _, client in ipairs(callers) do
                local _, err, info = client:execute("shared", "noop")
                if err then -- the worker may have died with a request that it had taken
                    assert.is_true(info.code == "WORKER_LOST" or info.code == "CONNECTION", err)
                end
            end
            return direct() > before + #callers
        end, 20, "requests that lanes take themselves")
    end

    before_each(function() callers = {} end)

    it("serve on when an app closes descriptors that are not its own", function()
        start "workers = 1\napps = { 'shared' }"
        connect(4)
        assert.is_true(direct() > 0)
        for _, first in ipairs { 1000, 3 } do
            callers[1]:execute("shared", "closefrom", first)
            assert_served()
        end
    end)

    it("get new copies when an app has closed theirs", function()
        start "workers = 1\napps = { 'shared' }"
        connect(4)
        wait.until_true(function()
            for _, client in ipairs(callers) do
                client:execute("shared", "noop")
            end
            return callers[1]:execute("shared", "copies") > 0
        end, 20, "a copy")
        local other = rt:client { timeout = 10 * wait.SLOW }
        local pid = other:execute("shared", "pid")
        assert.is_true(other:execute("shared", "close_copies") > 0)
        other:close()
        local bounced = rt:status().counters.bounced
        for _ = 1, 20 do
            assert_served()
        end
        -- a busy machine adds a few of its own; each call was one before
        assert.is_true(rt:status().counters.bounced < bounced + 40)
        assert.equal(pid, (callers[1]:execute("shared", "pid")))
        assert.is_true(callers[1]:execute("shared", "copies") > 0)
    end)

    it("give no copy to a child that an app forks", function()
        start "workers = 1\napps = { 'shared' }"
        connect(4)
        wait.until_true(function() return callers[1]:execute("shared", "copies") > 0 end, 10,
            "a copy")
        assert.equal(0, (callers[1]:execute("shared", "forked")))
    end)

    it("serve on when an app has taken all descriptors", function()
        start "workers = 2\napps = { 'shared' }"
        connect(2)
        callers[1]:execute("shared", "exhaust")
        local more, bounced = {}, rt:status().counters.bounced
        for i = 1, 8 do
            more[i] = rt:client { timeout = 10 * wait.SLOW }
            callers[#callers + 1] = more[i]
        end
        for _ = 1, 20 do
            for _, client in ipairs(more) do
                local _, err = client:execute("shared", "noop")
                assert.is_nil(err)
            end
        end
        -- the lane without descriptors leaves the connections to the other one
        assert.is_true(rt:status().counters.bounced - bounced < 40)
    end)

    it("are not those of an isolated app", function()
        start "workers = 1\napps = { shared = { module = 'shared', isolated = true } }"
        connect(4)
        assert.equal(0, direct())
        assert.equal(0, (callers[1]:execute("shared", "copies")))
        assert.equal(2, (callers[1]:execute("shared", "maps"))) -- its page and its counters
    end)

    it("are none with fast_path = false", function()
        start "workers = 1\nfast_path = false\napps = { 'shared' }"
        connect(4)
        assert.equal(0, direct())
        assert.equal(2, (callers[1]:execute("shared", "maps")))
    end)
end)
