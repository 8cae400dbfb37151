-- `make` with a LuaJIT of its own place, as OpenResty has one: here a copy of the system's. And
-- without what it needs.
local process = require "support.process"
local tempdir = require "support.tempdir"

-- Objects of the plain build spare most of a compilation: that of the system has the same headers.
local OBJECTS = "build"

describe("make LUAJIT_PREFIX=", function()
    local dir, prefix

    local function sh(script)
        local r = process.run { "sh", "-ec", script }
        assert.equal(0, r.exit, r.stderr)
        return r.stdout
    end

    -- make with its outputs in the spec's directory, as if nobody's make ran around it
    local function make(...)
        return process.run({ "make", "--silent", "-j2", "BUILD=" .. dir .. "/build",
            "CFLAGS=-O0", ... }, { seconds = 280,
            env = { MAKEFLAGS = false, MAKELEVEL = false, MFLAGS = false, LUAJIT_PREFIX = false } })
    end

    setup(function()
        dir = tempdir.new()
        prefix = dir .. "/openresty/luajit"
        local script = [[
            mkdir -p %s/include %s/lib
            cp -r "$(pkg-config --variable=includedir luajit)" %s/include/luajit-2.1
            cp -d "$(pkg-config --variable=libdir luajit)"/libluajit-5.1.so* %s/lib
        ]]
        sh((script:gsub("%%s", prefix)))
    end)

    teardown(function()
        tempdir.remove(dir)
    end)

    -- The objects as if they had been built with that LuaJIT, but some: they have to be compiled
    -- with its headers and its places.
    local function seed()
        local r = make(dir .. "/build/luajit.flags", "LUAJIT_PREFIX=" .. prefix)
        assert.equal(0, r.exit, r.stderr)
        local script = [[
            [ -d %o/obj ] || exit 0
            cp -r %o/obj %d/build
            cd %d/build/obj/runtime
            rm cli/main.o cli/paths.o luabind/*.o worker/lua_host.o worker/lua_value.o]]
        sh((script:gsub("%%%l", { ["%o"] = OBJECTS, ["%d"] = dir })))
    end

    it("builds against that one and runs with it", function()
        seed()
        local dirty = dir .. "/build/dirty"
        local r = make(dirty, "LUAJIT_PREFIX=" .. prefix)
        assert.equal(0, r.exit, r.stderr)
        assert.truthy(sh("ldd " .. dirty):find(prefix .. "/lib/libluajit-5.1.so.2 ", 1, true))
        -- our modules beside it, as in a checkout; cjson is searched in the system's places,
        -- which that LuaJIT may not search
        sh("cp -r lua " .. dir .. "/lua")
        r = process.run({ dirty, "--version" }, { cwd = "/", env = {
            LUA_PATH = dir .. "/none/?.lua", LUA_CPATH = dir .. "/none/?.so" } })
        assert.same({ 0, "" }, { r.exit, r.stderr })
    end)

    it("builds anew what was built with another", function()
        local object = dir .. "/build/obj/runtime/base/buf.o"
        local function built(...)
            local r = make(object, ...)
            assert.equal(0, r.exit, r.stderr)
            return sh("stat -c %y " .. object)
        end
        local first = built("LUAJIT_PREFIX=" .. prefix)
        assert.equal(first, built("LUAJIT_PREFIX=" .. prefix))
        assert.not_equal(first, built())
    end)

    it("says what is not there", function()
        local r = make("all", "LUAJIT_PREFIX=" .. dir .. "/none")
        assert.equal(2, r.exit)
        assert.matches("LUAJIT_PREFIX=" .. dir .. "/none: no LuaJIT 2.1 is installed there, it has "
            .. "no include/luajit-2.1/luajit.h", r.stderr, 1, true)
    end)
end)

describe("make without lowdown", function()
    it("says how to install it", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        local r = process.run({ "make", "--silent", "BUILD=" .. dir, dir .. "/dirty.1",
            "LOWDOWN=no-lowdown" }, { seconds = 60,
            env = { MAKEFLAGS = false, MAKELEVEL = false, MFLAGS = false } })
        assert.equal(2, r.exit)
        assert.matches("^no%-lowdown is missing, .*: run `make deps` first\n", r.stderr)
    end)
end)
