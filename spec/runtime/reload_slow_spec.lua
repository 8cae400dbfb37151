-- A reload whose configuration takes long or does not end.
local shop = require "support.shop"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local wait = require "support.wait"

local CONFIG, start, versioned = shop.CONFIG, shop.start, shop.versioned

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

-- The file is run in a child: it may take its time, and calls don't wait for it.
describe("a configuration that takes a long time", function()
    local rt
    after_each(function() rt:close() end)

    -- Reload while a caller goes on; how the reload ended, and the longest call.
    local function reload_while_calling()
        local client, longest = rt:client(), 0
        local number = rt:status().reload.number
        rt:signal(signal.SIGHUP)
        local ended = wait.until_true(function()
            local at = wait.now()
            assert.equal("v1", (client:execute("shop", "version")))
            longest = math.max(longest, wait.now() - at)
            local r = rt:status().reload
            return r.number > number and r.state == "idle" and r
        end, 20, "the end of a reload")
        return ended, longest
    end

    it("fails after boot_timeout, and delays no call", function()
        local seconds = 2 * wait.SLOW
        rt = start(("boot_timeout = %g\n"):format(seconds) .. CONFIG)
        for _, endless in ipairs { "while true do end", "os.execute 'sleep 1011'",
            "function worker_init() end\nwhile true do end" } do
            rt:configure(CONFIG .. "\n" .. endless)
            local list = tree.below(rt.pid)
            local ended, longest = reload_while_calling()
            assert.same({ "failed", ("the configuration did not finish within %g ms "
                .. "(boot_timeout)"):format(seconds * 1000) }, { ended.result, ended.reason })
            assert.is_true(longest < seconds, longest)
            wait.until_true(function() return #tree.below(rt.pid) == #list end, 10,
                "nothing is left of it")
        end
    end)

    it("is used in the end, and delays no call", function()
        rt = start()
        rt:configure((CONFIG:gsub("mark = 1", "mark = 2")) .. "\nos.execute 'sleep 4'")
        local ended, longest = reload_while_calling()
        assert.equal("done", ended.result)
        assert.is_true(longest < 3 * wait.SLOW, longest)
        assert.same({ "v1", 2 }, { rt:call("shop", "version") })
    end)

    it("is refused if it sets hooks, because it must run in the arbiter too", function()
        rt = start()
        rt:configure(CONFIG .. "\nos.execute 'sleep 4.2'\nfunction worker_init() end")
        local ended, longest = reload_while_calling()
        assert.equal("failed", ended.result)
        contains(ended.reason, "s to run: with hooks (worker_init) it also runs in the arbiter")
        assert.is_true(longest < 3 * wait.SLOW, longest)
        -- nor one that is quick in the child alone
        local arbiter = rt:status().arbiter.pid
        rt:configure(CONFIG .. [[

            function worker_init() end
            local file = io.open "/proc/self/cmdline"
            while file:read("*a"):find "dirty: arbiter" do
                file:seek "set"
            end]])
        ended = reload_while_calling()
        assert.equal("failed", ended.result)
        contains(ended.reason, "stopped: it ran for more than 2000 ms (uncompiled)")
        assert.equal(arbiter, rt:status().arbiter.pid)
    end)

    it("is used even if it leaves a running process behind", function()
        rt = start("boot_timeout = 5\n" .. CONFIG)
        rt:configure((CONFIG:gsub("mark = 1", "mark = 2")) .. [[

            local ffi = require "ffi"
            ffi.cdef "int fork(void); int setsid(void); void _exit(int);"
            ffi.cdef "int poll(void *, unsigned long, int);"
            if ffi.C.fork() == 0 then
                ffi.C.setsid()
                ffi.C.poll(nil, 0, 30000)
                ffi.C._exit(0)
            end]])
        local reload = rt:reload()
        assert.same({ "done", "" }, { reload.result, reload.reason })
        assert.same({ "v1", 2 }, { rt:call("shop", "version") })
    end)

    it("leaves the arbiter unchanged if it is stopped there", function()
        -- The hook uses what the file has loaded when it runs.
        local text = [[
            local dir = debug.getinfo(1, "S").source:match("@(.*)/")
            package.path = dir .. "/?.lua;" .. package.path
            require "site"
            function worker_exit()
                local out = io.open(dir .. "/seen", "w")
                out:write(require("site").mark, package.loaded.more and " more" or "")
                out:close()
                os.rename(dir .. "/seen", dir .. "/seen.whole")
            end
            ]] .. CONFIG
        rt = start(text, { ["shop.lua"] = versioned "v1", ["site.lua"] = "return { mark = 'a' }" })
        local arbiter = rt:status().arbiter.pid
        rt:write("site.lua", "return { mark = 'b' }")
        rt:write("more.lua", "return {}")
        rt:configure(text .. [[

            require "more"
            local file = io.open "/proc/self/cmdline"
            while file:read("*a"):find "dirty: arbiter" do
                file:seek "set"
            end]])
        local reload = rt:reload()
        assert.equal("failed", reload.result)
        contains(reload.reason, "stopped: it ran for more than 2000 ms")
        signal.kill(rt:status().workers[1].pid, signal.SIGKILL)
        assert.equal("a", wait.until_true(function()
            return tempdir.read(rt.dir .. "/seen.whole")
        end, 10, "the hook"))
        assert.equal(arbiter, rt:status().arbiter.pid)
    end)
end)
