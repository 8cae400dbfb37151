--- The rock, installed by LuaRocks into an empty tree, works from that tree alone.

local process = require "support.process"
local tempdir = require "support.tempdir"

-- Objects of the plain build spare the rocks a compilation; others are not for them.
local OBJECTS = "build"
local ROCKSPEC = "rockspec/lua-dirty-0.1.0-1.rockspec"
local CLIENT_ROCKSPEC = "rockspec/lua-resty-dirty-0.1.0-1.rockspec"

-- Run a shell script from the checkout; its output together.
local function sh(script, ...)
    local result = process.run({ "sh", "-ec", script:format(...) }, { seconds = 280 })
    return result.exit, (result.stdout or "") .. (result.stderr or "")
end

local function assert_sh(script, ...)
    local exit, output = sh(script, ...)
    assert.equal(0, exit, output)
    return output
end

-- `make dist` packs what git tracks. True where that can't be: the spec is pending.
local function no_checkout()
    if sh "git rev-parse --verify HEAD" ~= 0 then
        pending "this is no checkout of git, make dist has nothing to pack"
        return true
    end
end

local function read_rockspec(path)
    local spec = {}
    setfenv(assert(loadfile(path)), spec)()
    return spec
end

-- The Lua modules of a tree, a path a line.
local function find_modules(tree)
    return assert_sh("cd %s/share/lua/5.1 && find . -name '*.lua' | sort", tree)
end

-- Give a source tree the objects. What they were made of has to be in the tree all the same: make
-- compiles one again whose header is missing there, and links no object whose source is.
local function seed(source)
    assert_sh([[
        mkdir -p %s/build
        [ ! -d %s/obj ] || cp -r %s/luajit.flags %s/obj %s/build]],
        source, OBJECTS, OBJECTS, OBJECTS, source)
end

-- Serve and call with nothing of the checkout in reach.
local function assert_serves(tree, dir)
    local output = assert_sh([[
        cd %s
        unset LUA_PATH LUA_CPATH
        cat > words.lua <<'EOF'
local Words = {}
function Words:count(text) return #text end
return Words
EOF
        %s/bin/dirty serve --app words --app apps.echo --workers 1 --socket %s/s >log 2>&1 &
        pid=$!
        trap 'kill $pid 2>/dev/null || true' EXIT
        for i in $(seq 1 200); do grep -q 'msg="ready"' log && break; sleep 0.05; done
        %s/bin/dirty call --socket %s/s words count hello || { cat log; exit 1; }
        LUA_PATH="%s/share/lua/5.1/?.lua;%s/share/lua/5.1/?/init.lua;;" \
        LUA_CPATH="%s/lib/lua/5.1/?.so;;" lua5.1 -e '
            local dirty = require "dirty"
            print(assert(dirty.client { socket = "%s/s" }:execute("words", "count", "four")))'
        kill $pid
        wait $pid
        cat log >&2]], dir, tree, dir, tree, dir, tree, tree, tree, dir)
    assert.truthy(output:find("^5\n4\n"), output)
    -- what the runtime loaded came from the tree
    assert.falsy(output:find("module .- not found"), output)
end

describe("the rock lua-dirty", function()
    local dir, tree

    before_each(function()
        dir = tempdir.new()
        tree = dir .. "/tree"
    end)
    after_each(function() tempdir.remove(dir) end)

    it("is made from a source tree", function()
        -- a copy: LuaRocks builds where the rockspec is
        assert_sh([[
            mkdir %s/source
            tar -cf - Makefile VERSION runtime lua apps docs examples rockspec build-aux \
                README.md CHANGELOG.md LICENSE | tar -xf - -C %s/source
        ]], dir, dir)
        seed(dir .. "/source")
        assert_sh([[
            cd %s/source
            luarocks --lua-version=5.1 make --deps-mode=none --tree=%s %s]], dir, tree, ROCKSPEC)
        local alone = find_modules(tree)
        assert_sh("luarocks --lua-version=5.1 make --deps-mode=none --tree=%s %s", tree,
            CLIENT_ROCKSPEC)
        assert_serves(tree, dir) -- with the companion beside it
        assert_sh("luarocks --lua-version=5.1 remove --tree=%s lua-resty-dirty", tree)
        assert.equal(alone, find_modules(tree))
    end)

    it("is built from a packed .src.rock", function()
        if no_checkout() then
            return
        end
        assert_sh([[
            make -s src-rock BUILD=%s
            cd %s
            luarocks --lua-version=5.1 unpack ./*.src.rock]], dir, dir)
        -- what `luarocks build` does with it, but for the objects
        local rock = dir .. "/" .. ROCKSPEC:match("([^/]+)%.rockspec$")
        local source = rock .. "/" .. read_rockspec(ROCKSPEC).source.dir
        seed(source)
        assert_sh([[
            cd %s
            luarocks --lua-version=5.1 make --deps-mode=none --tree=%s ../*.rockspec CFLAGS=-O0]],
            source, tree)
        assert_serves(tree, dir)
    end)

    it("names the header of libuv where that is missing", function()
        local exit, output = sh([[
            luarocks --lua-version=5.1 make --deps-mode=none --tree=%s %s UV_INCDIR=%s/none]],
            tree, ROCKSPEC, dir)
        assert.are_not.equal(0, exit)
        assert.truthy(output:find("uv.h", 1, true), output)
    end)

    it("has a pure-Lua companion that is the client alone, with all it needs", function()
        local modules = read_rockspec(CLIENT_ROCKSPEC).build.install.lua
        modules["dirty"] = modules["dirty.init"]
        local given = { cjson = true, ["table.new"] = true, ["table.clear"] = true, ffi = true }
        local listed = {}
        for name, path in pairs(modules) do
            listed[name] = path:gsub("^lua/", "./")
            for line in assert(io.open(path)):lines() do
                local wanted = not line:find("^%s*%-%-") and line:match('require *%(? *"([^"]+)"')
                assert.is_true(not wanted or given[wanted] or modules[wanted] ~= nil,
                    name .. " wants " .. tostring(wanted))
            end
        end
        assert_sh("luarocks --lua-version=5.1 make --deps-mode=none --tree=%s %s", tree,
            CLIENT_ROCKSPEC)
        listed["dirty"] = nil -- listed as dirty.init
        local expected = {}
        for _, path in pairs(listed) do
            expected[#expected + 1] = path .. "\n"
        end
        table.sort(expected)
        assert.equal(table.concat(expected), find_modules(tree))
        for _, name in ipairs { "0.1.0-1", "dev-1" } do -- every file of lua/resty is listed
            local text = io.open("rockspec/lua-resty-dirty-" .. name .. ".rockspec"):read("*a")
            for path in io.popen("find lua/resty -name '*.lua'"):lines() do
                assert.truthy(text:find('"' .. path .. '"', 1, true), path)
            end
        end
    end)

    it("has a companion that needs no compiler, no network, and no rock of lua-cjson", function()
        local output = assert_sh([[
            mkdir %s/bin
            for name in cc gcc make; do
                printf '#!/bin/sh\necho "$0 was run" >&2\nexit 1\n' >%s/bin/$name
                chmod +x %s/bin/$name
            done
            PATH=%s/bin:$PATH luarocks --lua-version=5.1 --only-server=file:///nowhere \
                make --tree=%s %s
            LUA_PATH="%s/share/lua/5.1/?.lua;%s/share/lua/5.1/?/init.lua;;" lua5.1 -e '
                package.preload.cjson = function() error "it is not there" end
                print(require("dirty.json").load())']], dir, dir, dir, dir, tree, CLIENT_ROCKSPEC,
            tree, tree)
        assert.truthy(output:find("nil\ttables are sent as JSON, but the Lua module cjson can't be "
            .. "loaded (OpenResty has it; Debian: lua-cjson", 1, true), output)
        assert.falsy(output:find("was run", 1, true), output)
    end)

    it("is packed as every rockspec says", function()
        if no_checkout() then
            return
        end
        for path in io.popen("ls rockspec/*.rockspec"):lines() do
            local make = io.open(path):read("*a"):match("url = [^\n]-made by `(make [^`]+)`")
            local source = read_rockspec(path).source
            assert.truthy(make, path)
            local members = assert_sh("%s -s BUILD=%s >%s/made && tar -tf %s/%s", make, dir, dir,
                dir, source.url)
            assert.truthy(members:find(source.dir .. "/Makefile\n", 1, true), path)
        end
    end)

    it("has the same files for OPM", function()
        local ini = io.open("dist.ini"):read("*a")
        local excluded = {}
        for pattern in ini:match("\nexclude_files = ([^\n]+)"):gmatch("[^, ]+") do
            excluded[#excluded + 1] = "^" .. pattern:gsub("%p", "%%%0"):gsub("%%%*", ".*") .. "$"
        end
        local left, listed = {}, {}
        for path in io.popen("find lua -name '*.lua'"):lines() do
            local out = false
            for _, pattern in ipairs(excluded) do
                out = out or path:find(pattern) ~= nil
            end
            left[path] = not out or nil
        end
        for _, path in pairs(read_rockspec(CLIENT_ROCKSPEC).build.install.lua) do
            listed[path] = true
        end
        assert.same(listed, left)
    end)

    it("has the version of the project in every rockspec", function()
        local version = io.open("VERSION"):read("*l")
        local found = 0
        for name in io.popen("ls rockspec"):lines() do
            local base = name:match("^lua%-[%a%-]-%-?dirty%-(.-)%-%d+%.rockspec$")
            if base ~= "dev" then
                assert.equal(version, base, name)
                found = found + 1
            end
        end
        assert.is_true(found >= 1)
    end)
end)
