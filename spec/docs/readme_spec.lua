-- The README says what is true: its snippets are run, its tables held against the sources.
local document = require "support.document"
local failures = require "support.failures"
local nginx = require "support.nginx"
local options = require "dirty.config.options"
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

    -- A directory like a checkout's root, with the files that the README has one save.
    setup(function()
        dir = tempdir.new()
        tempdir.write(dir .. "/words.lua", readme.file("lua", "words.lua"))
        tempdir.write(dir .. "/call.lua", readme.file("lua", "call.lua"))
        tempdir.write(dir .. "/call.c", readme.file("c", "call.c"))
        process.run { "ln", "-s", ROOT .. "/apps", dir .. "/apps" }
        process.run { "ln", "-s", PHOTO, dir .. "/photo.jpg" }
        rt = runtime.start { apps = { "words", "apps.image" }, args = { "--workers", "2" },
            cwd = dir }
    end)

    teardown(function()
        rt:close()
        tempdir.remove(dir)
    end)

    local function run(argv)
        local path = process.dirty():match "^(.*)/" .. ":" .. os.getenv "PATH"
        return process.run(argv, { cwd = dir, seconds = 60,
            env = { PATH = path, DIRTY_SOCKET = rt.socket } })
    end

    it("has at most 200 lines", function()
        local _, lines = readme.text():gsub("\n", "")
        assert.is_true(lines <= 200, lines .. " lines")
    end)

    it("has shell commands that work", function()
        local ran = {}
        for _, command in ipairs(readme.commands()) do
            local name, first = command:match "^(%S+) (%S+)"
            if name == "dirty" and first ~= "serve" then
                local r = run { "sh", "-c", command }
                assert.equal(0, r.exit, command .. "\n" .. r.stderr)
                ran[first] = r.stdout
            elseif name == "dirty" then
                -- the runtime of these specs has been started with the same apps
                assert.equal("dirty serve --app words --app apps.image", command)
            elseif name == "make" then
                local target = "\n" .. first .. ":"
                assert.truthy(document.makefile():find(target, 1, true), command)
            elseif name == "luarocks" then
                -- spec/package/rocks_spec.lua makes the rock
                local rockspec = command:match("^luarocks %-%-lua%-version=5%.1 make "
                    .. "%-%-deps%-mode=none (%S+)$")
                assert.truthy(tempdir.read(rockspec), command)
            else
                assert.equal("export", name)
                assert.equal(0, run({ "sh", "-c", command }).exit)
            end
        end
        assert.truthy(ran.check and ran.call and ran.status)
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
        local for_51 = table.concat(exports, "\n")
        local old, new = "/build/lua/?.so", "/build/lua5.4/?.so"
        assert.truthy(readme.text():find(("`%s` in place of `%s`"):format(new:sub(2), old:sub(2)),
            1, true))
        assert.truthy(readme.text():find("`make lua54`", 1, true))
        local for_54, replaced = for_51:gsub(old:gsub("%p", "%%%0"), (new:gsub("%%", "%%%%")))
        assert.equal(1, replaced)
        for lua, paths in pairs { [process.LUAJIT] = for_51, ["lua5.1"] = for_51,
            ["lua5.4"] = for_54 } do
            local command = paths .. "\nexec " .. lua .. " " .. dir
            local r = process.run({ "sh", "-c", command .. "/call.lua" },
                { env = { DIRTY_SOCKET = rt.socket, LUA_PATH = false, LUA_CPATH = false } })
            assert.equal("", r.stderr)
            assert.equal("quick\t5\n", r.stdout)
        end
    end)

    it("calls from C, and tells an error", function()
        -- the line for a checkout, with the plain build's library where that is another
        local plain = os.getenv "DIRTY_CORE" or process.BUILD .. "/lua"
        local line = readme.file("c", "call.c"):match "^/%* call%.c: (cc call%.c [^\n$]+), or "
        local r = process.run({ "sh", "-c", assert(line):gsub("call%.c", dir .. "/call.c")
            :gsub("build/", plain:gsub("/?lua/?$", "/")) .. " -Wall -Wextra -Werror -std=c11 -o "
            .. dir .. "/call" }, { seconds = 60 })
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
        replace("events {}\nhttp {", "$user daemon off; pid $dir/nginx.pid;\n"
            .. "events {}\nhttp { $paths access_log off;")
        local server = nginx.start { config = config }
        finally(function() server:close() end)
        local photo = assert(tempdir.read(dir .. "/photo.jpg"))
        local r = server:request { uri = "/thumbnail", body = photo }
        assert.same({ 200, "image/jpeg" }, { r.status, (r.headers or {})["content-type"] })
        assert.equal(200, rt:call("apps.image", "info", r.body).width)
        assert.equal(500, server:request({ uri = "/thumbnail", body = "no photo" }).status)
        assert.matches("APP: can't read this as an image", server:log())
    end)

    it("lists options that are there, with their defaults", function()
        for _, row in ipairs(readme.table_rows "Options") do
            local name, default = row[1]:match "`(.-)`", row[3]:match "^`?(.-)`?$"
            local option = assert(options.by_name[name], name)
            if type(option.default) ~= "function" then
                local text = option.format and option.format(option.default):gsub('"', "")
                assert.equal(text or tostring(option.default), default, name)
            end
        end
    end)

    it("lists every error code and whether the app may have run", function()
        local told = {}
        for _, row in ipairs(readme.table_rows "When a call fails") do
            for code in row[1]:gmatch "`([A-Z_]+)`" do
                told[code] = row[3]
            end
        end
        local declared = {}
        local list = assert(tempdir.read "runtime/include/dirty_errors.h")
        for code, started in list:gmatch 'X%(([A-Z_]+), %d+, %d+, "(%a+)"' do
            declared[code] = started
        end
        assert.is_true(next(declared) ~= nil)
        assert.same(declared, told)
    end)

    it("shows failures as they look", function()
        local seen, shown = failures.provoke(), 0
        for _, row in ipairs(readme.table_rows "When a call fails") do
            for _, words in ipairs(document.quoted(row[2])) do
                assert.truthy(failures.find(seen, words), words)
                shown = shown + 1
            end
        end
        assert.is_true(shown >= 14)
    end)

    it("lists every package that the Makefile installs", function()
        local told, wanted = {}, {}
        for _, row in ipairs(readme.table_rows "Install") do
            for package in row[1]:gmatch "`(.-)`" do
                told[package] = true
            end
        end
        local makefile = document.makefile()
        for packages in makefile:gmatch "\nDEPS_[A-Z_]+ *= *([^\n]+)" do
            for package in packages:gmatch "[^%s/]+" do
                wanted[package] = true
            end
        end
        assert.same(wanted, told)
    end)

    it("links to files that are there", function()
        local links = 0
        for path in readme.text():gmatch "%]%(([^):#]+)%)" do
            links = links + 1
            assert.truthy(tempdir.read(path), path)
        end
        assert.is_true(links > 3)
    end)
end)
