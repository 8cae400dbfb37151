-- The C interface as its users meet it: the headers, the document, the example, the names
-- that the library gives away.

local process = require "support.process"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local unistd = require "posix.unistd"

local HEADER, DOCUMENT = "runtime/include/dirty.h", "docs/c-api.md"
local EXAMPLE = "examples/c-blocking/call.c"
local STRICT = { "-Wall", "-Wextra", "-Werror", "-pedantic-errors", "-Iruntime/include" }

local function read(path)
    return assert(tempdir.read(path), path)
end

-- The functions that the header declares, and their number.
local function declared()
    local names, count = {}, 0
    for name in read(HEADER):gmatch("DIRTY_API [^;]-(dirty_[%w_]+)%(") do
        names[name] = true
        count = count + 1
    end
    return names, count
end

local function compile(args)
    local argv = { "cc" }
    for _, list in ipairs { STRICT, args } do
        for _, arg in ipairs(list) do
            argv[#argv + 1] = arg
        end
    end
    local result = process.run(argv, { seconds = 60 })
    assert.equal(0, result.exit, result.stderr)
end

describe("the C interface", function()
    local dir

    before_each(function() dir = tempdir.new() end)
    after_each(function() tempdir.remove(dir) end)

    it("is documented, every function of it", function()
        local text = read(DOCUMENT)
        local names, count = declared()
        assert.is_true(count > 20)
        for name in pairs(names) do
            assert.truthy(text:find(name .. "(", 1, true), name .. " is not in the synopsis")
            assert.truthy(text:find("### [^\n]*" .. name .. "%f[^%w_]"), name .. " has no section")
        end
    end)

    it("is documented with the example that is there", function()
        assert.truthy(read(DOCUMENT):find("```c\n" .. read(EXAMPLE) .. "```", 1, true))
    end)

    it("is documented with pieces that compile", function()
        local functions, statements = {}, {}
        for block in read(DOCUMENT):gmatch "\n```c\n(.-)```" do
            local kind = block:match "^%S+"
            if kind == "static" then
                functions[#functions + 1] = block
            elseif kind ~= "#include" and kind ~= "/*" and kind ~= "typedef" then
                statements[#statements + 1] = "{\n" .. block .. "}\n"
            end
        end
        local count = #functions + #statements
        assert.is_true(count >= 5, count)
        local path = tempdir.write(dir .. "/pieces.c", ([[
            #include <dirty.h>
            #include <stdio.h>
            #include <sys/epoll.h>
            %s
            int pieces(dirty_async *a, dirty_request *r, dirty_stream *stream, int loop_fd,
                       const char *image, size_t image_len) {
                dirty_reply *chunk;
                uint64_t ticket;
                int rc;
                dirty_async_call(a, r, done, NULL, &ticket);
                %s
                return rc;
            }
        ]]):format(table.concat(functions), table.concat(statements)))
        compile { "-std=c11", "-D_GNU_SOURCE", "-Wno-unused-parameter", "-c", path, "-o",
            dir .. "/pieces.o" }
    end)

    it("is all that the shared library gives away", function()
        local result = process.run { "nm", "-D", "--defined-only",
            process.BUILD .. "/libdirty.so" }
        local names, count = declared()
        for name in result.stdout:gmatch(" [TWDBR] ([%w_]+)") do
            assert.is_true(names[name], name .. " is exported but not in dirty.h")
            count = count - 1
        end
        assert.equal(0, count)
    end)

    it("is strict C99, and the example works", function()
        local socket = dir .. "/s.sock"
        local puppet = process.start({ process.LUAJIT, "spec/support/puppet.lua", socket }, {
            env = { LUA_PATH = "./lua/?.lua;./lua/?/init.lua;./spec/?.lua;;" },
        })
        finally(function() puppet:close() end)
        wait.until_true(function() return unistd.access(socket, "f") == 0 end, 10, "puppet")
        local program = dir .. "/call"
        -- DIRTY_CORE: the library of this build is sanitized, and so is what links it
        local sanitize = os.getenv("DIRTY_CORE") and "-fsanitize=address,undefined"
        compile { "-std=c99", EXAMPLE, process.BUILD .. "/libdirty.a", "-o", program, sanitize }
        local result = process.run({ program, "app", "echo", "hello", "world" },
            { env = { DIRTY_SOCKET = socket } })
        assert.same({ 0, "hello\nworld\n" }, { result.exit, result.stdout })
        result = process.run({ program, "app", "close" }, { env = { DIRTY_SOCKET = socket } })
        assert.equal(1, result.exit)
        assert.truthy(result.stderr:find("^CONNECTION: "))
    end)
end)
