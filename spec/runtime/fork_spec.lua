-- The plain Lua client in a process that has forked: both sides go on with the same client,
-- each with connections of its own, and neither ever gets an answer to the other.
local process = require "support.process"
local runtime = require "support.runtime"

-- Gives "parent" or "child" to `act`, which runs on both sides at once; prints "fine" when it
-- has raised on neither. What was made before the fork are `client` and `s`, a stream.
local SCRIPT = [[
    local unistd, wait = require "posix.unistd", require "posix.sys.wait"
    local client = require("dirty").get_client { timeout = 20 }
    assert(client:execute("apps.echo", "echo", "before") == "before")
    for _ in client:stream("apps.echo", "count", 3) do end -- its connection is kept
    local s = assert(client:stream("apps.echo", "count", 1000))
    local function act(side)
        %s
    end
    local child = assert(unistd.fork())
    if child == 0 then
        local ok, err = pcall(act, "child")
        if not ok then io.stderr:write(tostring(err), "\n") end
        unistd._exit(ok and 0 or 1)
    end
    local ok, err = pcall(act, "parent")
    local _, how, status = wait.wait(child)
    assert(ok, err)
    assert(how == "exited" and status == 0, how .. " " .. status)
    print "fine"
]]

describe("a forked process", function()
    local rt

    setup(function()
        rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "2" } }
    end)

    teardown(function() rt:close() end)

    local function both(act)
        local core = (os.getenv "DIRTY_CORE" or process.BUILD .. "/lua") .. "/?.so;;"
        local r = process.run({ process.LUAJIT, "-e", SCRIPT:format(act) }, { seconds = 60, env = {
            DIRTY_SOCKET = rt.socket, LUA_CPATH = core,
            LUA_PATH = "./lua/?.lua;./lua/?/init.lua;;",
        } })
        assert.same({ "", "fine\n", 0 }, { r.stderr, r.stdout, r.exit })
    end

    it("calls with what get_client gives, as its parent does", function()
        both [[
            for i = 1, 300 do
                local got = assert(require("dirty").get_client():execute("apps.echo", "echo",
                    side .. i))
                assert(got == side .. i, got)
            end
        ]]
    end)

    it("streams with it, as its parent does", function()
        both [[
            local last = side == "child" and 300 or 200
            for _ = 1, 3 do
                local count, numbers = 0, assert(client:stream("apps.echo", "count", last))
                for n in numbers do
                    count = count + 1
                    assert(n == count, n)
                end
                assert(count == last and not numbers.err, numbers.err)
            end
        ]]
    end)

    it("does not disturb open streams of its parent", function()
        both [[
            if side == "child" then
                assert(s() == 1) -- it came before the fork
                assert(s() == nil and s.err:find "fork", s.err)
                s:close()
                assert(client:execute("apps.echo", "echo", 1) == 1)
                return
            end
            local count = 0
            for n in s do
                count = count + 1
                assert(n == count, n)
            end
            assert(count == 1000 and not s.err, s.err)
        ]]
    end)
end)
