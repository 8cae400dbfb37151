-- The README says what is true: its snippets are run, its tables held against the sources.
local nginx = require "support.nginx"
local process = require "support.process"
local readme = require "support.readme"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"

local PHOTO = "/usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg"
local ROOT = unistd.getcwd()
local SENTENCE = "a quick brown fox"

describe("README.md", function()
    local rt, dir

    -- A directory like a checkout's root, with the files that the README has one save. A sanitized
    -- library can't be loaded into plain programs, so build/ is the plain build.
    setup(function()
        dir = tempdir.new()
        tempdir.write(dir .. "/words.lua", readme.file("lua", "words.lua"))
        tempdir.write(dir .. "/call.lua", readme.file("lua", "call.lua"))
        tempdir.write(dir .. "/call.c", readme.file("c", "call.c"))
        local plain = (os.getenv "DIRTY_CORE" or process.BUILD .. "/lua"):gsub("/lua/?$", "")
        process.run { "ln", "-s", plain:find "^/" and plain or ROOT .. "/" .. plain,
            dir .. "/build" }
        for _, name in ipairs { "apps", "lua", "runtime" } do
            process.run { "ln", "-s", ROOT .. "/" .. name, dir .. "/" .. name }
        end
        rt = runtime.start { apps = { "words", "apps.image" }, args = { "--workers", "2" },
            cwd = dir }
    end)

    teardown(function()
        rt:close()
        tempdir.remove(dir)
    end)

    local function run(argv, env)
        local path = process.dirty():match "^(.*)/" .. ":" .. os.getenv "PATH"
        return process.run(argv, { cwd = dir, seconds = 60,
            env = env or { PATH = path, DIRTY_SOCKET = rt.socket } })
    end

    it("has at most 200 lines", function()
        local _, lines = readme.text():gsub("\n", "")
        assert.is_true(lines <= 200, lines .. " lines")
    end)

    -- Commands that change the machine, or that other tests go through.
    local ELSEWHERE = {
        ["make demo"] = "spec/package/demo_spec.lua",
        ["make test"] = "spec/run.sh",
        ["make install"] = "spec/package/install_spec.lua",
        -- the runtime of these specs has been started with the same apps
        ["dirty serve --app words --app apps.image"] = "spec/docs/readme_spec.lua",
        -- its rights are those of docs/operations.md
        ["adduser --system --group dirty"] = "spec/cli/operate_spec.lua",
        ["dirty serve --app apps.image --user dirty --socket-group www-data --socket-mode 0660"]
            = "spec/cli/operate_spec.lua",
        ["nginx -c \"$PWD/nginx.conf\""] = "spec/docs/readme_spec.lua",
        ["curl --data-binary @" .. PHOTO .. " http://127.0.0.1:8080/thumbnail -o small.jpg"]
            = "spec/docs/readme_spec.lua",
    }

    it("has shell commands that work", function()
        local ran, elsewhere, exports = {}, 0, {}
        local clean = { DIRTY_SOCKET = rt.socket, LUA_PATH = false, LUA_CPATH = false,
            PATH = process.dirty():match "^(.*)/" .. ":" .. os.getenv "PATH" }
        for _, command in ipairs(readme.commands()) do
            if command:find "^export PATH=" then -- build/ is not this build's where it is sanitized
                assert.equal('export PATH="$PWD/build:$PATH"', command)
            elseif command:find "^export " then
                exports[#exports + 1] = command
            elseif ELSEWHERE[command] then
                assert.truthy(tempdir.read(ELSEWHERE[command]), command)
                elsewhere = elsewhere + 1
            else
                local text = command:gsub("^luajit ", process.LUAJIT .. " ")
                    :gsub("^make lua54 && ", "") -- make test has built it
                -- the command dirty needs no paths, and must not get those of another build
                local before = text:find "call%.lua" and table.concat(exports, "\n") .. "\n" or ""
                local r = run({ "sh", "-c", before .. text }, clean)
                assert.equal(0, r.exit, command .. "\n" .. r.stderr)
                ran[command:match "^dirty %l+" or command:match "%S+$"] = r.stdout
            end
        end
        assert.truthy(ran["dirty check"] and ran["dirty status"])
        assert.equal("quick\n", ran["./call"])
        assert.equal("quick\t5\n", ran["call.lua"])
        local known = 0
        for _ in pairs(ELSEWHERE) do
            known = known + 1
        end
        assert.equal(known, elsewhere)
    end)

    it("prints what it says that it prints", function()
        local r = run { "dirty", "call", "words", "longest", SENTENCE }
        assert.equal('quick\n{"letters":5}\n', r.stdout)
        assert.truthy(readme.text():find('# quick, and {"letters":5}', 1, true))
        local thumbnail = assert(tempdir.read(dir .. "/small.jpg"))
        assert.equal(200, rt:call("apps.image", "info", thumbnail).width)
    end)

    it("calls from LuaJIT, Lua 5.1 and Lua 5.4", function()
        local exports = {}
        for _, command in ipairs(readme.commands()) do
            exports[#exports + 1] = command:match "^export .*"
        end
        assert.equal(2, #exports)
        local paths = table.concat(exports, "\n") .. "\n"
        local of_54 = readme.text():match "\nmake lua54 && (LUA_CPATH=%S+ lua5%.4 call%.lua)\n"
        for _, command in ipairs { process.LUAJIT .. " call.lua", "lua5.1 call.lua",
            assert(of_54) } do
            local r = run({ "sh", "-c", paths .. command },
                { DIRTY_SOCKET = rt.socket, LUA_PATH = false, LUA_CPATH = false })
            assert.equal("", r.stderr)
            assert.equal("quick\t5\n", r.stdout)
        end
    end)

    it("calls from C, and tells an error", function()
        local line
        for _, command in ipairs(readme.commands()) do
            line = line or command:match "^(cc .*) && %./call$"
        end
        local r = run { "sh", "-c", line .. " -Wall -Wextra -Werror -std=c11" }
        assert.same({ 0, "" }, { r.exit, r.stderr })
        local called = run { dir .. "/call" }
        assert.same({ 0, "quick\n" }, { called.exit, called.stdout })
        local alone = process.run({ dir .. "/call" }, { env = { DIRTY_SOCKET = dir .. "/none" } })
        assert.equal(1, alone.exit)
        assert.matches("^CONNECTION: nothing listens at ", alone.stderr)
    end)

    it("calls from a whole nginx.conf", function()
        -- its text, but for the places of things, and where nginx writes
        local config = readme.file("nginx", "nginx.conf")
        local function replace(old, new)
            local from, to = config:find(old, 1, true)
            assert(from, old .. " is not in the README's nginx.conf")
            config = config:sub(1, from - 1) .. new .. config:sub(to + 1)
        end
        replace("/usr/local/share/lua/5.1/?.lua;/usr/local/share/lua/5.1/?/init.lua",
            "$root/lua/?.lua;$root/lua/?/init.lua")
        replace("/run/dirty/dirty.sock", rt.socket)
        replace("listen 8080", "listen unix:$dir/http.sock")
        replace("user www-data; ", "$user daemon off; pid $dir/nginx.pid;")
        replace("events {}\nhttp {", ""
            .. "events {}\nhttp { $paths access_log off;")
        local server = nginx.start { config = config }
        finally(function() server:close() end)
        local photo = assert(tempdir.read(PHOTO))
        local r = server:request { uri = "/thumbnail", body = photo }
        assert.same({ 200, "image/jpeg" }, { r.status, (r.headers or {})["content-type"] })
        assert.equal(200, rt:call("apps.image", "info", r.body).width)
        assert.equal(500, server:request({ uri = "/thumbnail", body = "no photo" }).status)
        assert.matches("APP: can't read this as an image", server:log())
    end)
end)
