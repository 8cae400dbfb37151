-- docs/other-languages.md: its example and the Python client of examples/python run, before the
-- runtime and before servers that break the rules.
local process = require "support.process"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local DOCUMENT = "docs/other-languages.md"
local CHECKS = {
    "values come back", "streams end are left and fail", "errors are typed",
    "the runtime is asked by a method of its own", "deadlines hold",
    "a request carries its deadline", "a connection that went away is made again",
    "servers that break the rules",
}

describe(DOCUMENT, function()
    local text = assert(tempdir.read(DOCUMENT))
    local dir, rt, hostile

    setup(function()
        dir = tempdir.new()
        tempdir.write(dir .. "/example.py", text:match "```python\n(# example%.py\n.-)```")
        tempdir.write(dir .. "/dirty.py", assert(tempdir.read "examples/python/dirty.py"))
        rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        hostile = process.start({ process.LUAJIT, "spec/support/hostile.lua", dir .. "/hostile" }, {
            env = { LUA_PATH = "./lua/?.lua;./lua/?/init.lua;./spec/?.lua;;" },
        })
        wait.until_true(function()
            return unistd.access(dir .. "/hostile", "f") == 0 or hostile:ended()
        end, 10, "the hostile server listens")
    end)

    teardown(function()
        rt:close()
        hostile:close()
        tempdir.remove(dir)
    end)

    local function python(...)
        return process.run({ "python3", "-B", ... }, { seconds = 60 * wait.SLOW,
            env = { PYTHONPATH = dir, DIRTY_SOCKET = rt.socket } })
    end

    it("prints what it says that the example prints", function()
        local r = python(dir .. "/example.py")
        assert.equal("", r.stderr)
        local told = assert(text:match "```text\n(.-)```")
        assert.equal(told, (r.stdout:gsub("ran %d+ ms", "ran 200 ms")))
    end)

    it("has a client that keeps the rules, and stands before who does not", function()
        local r = python("spec/support/python_client.py", rt.socket, dir .. "/hostile")
        assert.equal("", r.stderr)
        assert.equal(table.concat(CHECKS, "\n") .. "\n", r.stdout)
        assert.equal(0, r.exit)
    end)
end)
