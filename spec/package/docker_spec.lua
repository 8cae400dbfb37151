-- examples/docker: no engine is needed here. The Dockerfile is read instruction by instruction;
-- its own steps but apt-get's, and the commands of its images, are run with an install in a
-- directory of the spec's. `make lint` has compose.yaml checked against Compose's schema, and
-- `make images` builds and runs the images themselves.
local document = require "support.document"
local nginx = require "support.nginx"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local DIR = "examples/docker/"
local ROOT = unistd.getcwd()
-- The plain build: a sanitized module can't be loaded into nginx.
local BUILD = (os.getenv "DIRTY_CORE" or process.BUILD .. "/lua"):gsub("/lua$", "")
local PHOTO = "/usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg"

-- The stages by name, each `{from=, instructions={{word, rest},...}}`, with what they are
-- built on.
local function stages()
    local text = document.text(DIR .. "Dockerfile"):gsub("#[^\n]*\n", ""):gsub("\\\n%s*", " ")
    local by_name, order, stage = {}, {}, nil
    for line in text:gmatch "[^\n]+" do
        local word, rest = line:match "^(%u+) (.+)$"
        assert.truthy(word, "no instruction: " .. line)
        if word == "FROM" then
            local from, name = rest:match "^(%S+) AS (%l+)$"
            assert.truthy(from, "a stage without a name: " .. line)
            stage = { name = name, from = from, instructions = {} }
            assert.truthy(from == "debian:13-slim" or by_name[from], from)
            by_name[name], order[#order + 1] = stage, stage
        else
            table.insert(stage.instructions, { word, rest })
        end
    end
    return by_name, order
end

local function all(stage, word)
    local found = {}
    for _, instruction in ipairs(stage.instructions) do
        if instruction[1] == word then
            found[#found + 1] = instruction[2]
        end
    end
    return found
end

-- The words of an instruction in its JSON form.
local function words(rest)
    return require("cjson").decode((assert(rest:match "%[.*%]$", rest)))
end

local KNOWN = { RUN = true, COPY = true, WORKDIR = true, ENV = true, VOLUME = true, USER = true,
    EXPOSE = true, STOPSIGNAL = true, HEALTHCHECK = true, ENTRYPOINT = true, CMD = true }

describe("examples/docker/Dockerfile", function()
    local by_name, order = stages()

    it("has known instructions, copies what is there, and runs as nobody special", function()
        for _, stage in ipairs(order) do
            for _, instruction in ipairs(stage.instructions) do
                assert.truthy(KNOWN[instruction[1]], instruction[1])
            end
            for _, rest in ipairs(all(stage, "COPY")) do
                local from, path = rest:match "^%-%-from=(%l+) (/%S+) /%S+$"
                if from then
                    assert.truthy(by_name[from] and path:find "^/out/usr/local", rest)
                else
                    assert.equal(0, process.run({ "test", "-e", rest:match "^%S+" }).exit, rest)
                end
            end
        end
        for name, user in pairs { dirty = "dirty", web = "www-data" } do
            assert.same({ user }, all(by_name[name], "USER"))
            assert.equal(1, #all(by_name[name], "HEALTHCHECK"))
            assert.equal(1, #all(by_name[name], "STOPSIGNAL"))
        end
    end)

    it("installs the packages that the Makefile names", function()
        local makefile = document.makefile()
        local wanted = {} -- names that a package has in releases of Debian, joined by slashes
        for _, list in ipairs { "DEPS_BUILD", "DEPS_LUAJIT" } do
            for names in makefile:match("\n" .. list .. " *= *([^\n]+)"):gmatch "%S+" do
                wanted[#wanted + 1] = names
            end
        end
        local function installed(stage)
            local set = {}
            for _, rest in ipairs(all(stage, "RUN")) do
                local list = rest:match "install %-y %-%-no%-install%-recommends(.-)&&"
                for package in (list or ""):gmatch "%S+" do
                    set[package] = true
                end
            end
            return set
        end
        local build, run = installed(by_name.build), installed(by_name.dirty)
        local function has(set, names)
            for package in names:gmatch "[^/]+" do
                if set[package] then
                    return true
                end
            end
        end
        for _, names in ipairs(wanted) do
            assert.truthy(has(names:match "^lua%-" and run or build, names), names)
        end
        assert.truthy(run["libluajit-5.1-2"] and run.libvips42t64)
        assert.truthy(installed(by_name.web)["libnginx-mod-http-lua"])
    end)
end)

describe("the images of examples/docker", function()
    local by_name = stages()
    local out, rt

    setup(function()
        out = tempdir.new()
        -- the step that builds, with this build's objects and another place to install to
        local step = all(by_name.build, "RUN")[2]
        local command = step:gsub("make ", "make -s BUILD=" .. BUILD .. " "):gsub("/out", out)
        assert.matches("DESTDIR=" .. out, command, 1, true)
        local r = process.run({ "sh", "-ec", command }, { seconds = 300 })
        assert.equal(0, r.exit, r.stderr)
    end)

    teardown(function()
        if rt then
            rt:close()
        end
        tempdir.remove(out)
    end)

    -- The entry point and a command of the image, in the tree that was installed.
    local function in_image(rest)
        local list = words(rest)
        local first = list[1] == "dirty" and table.remove(list, 1)
        assert.equal("dirty", first or words(all(by_name.dirty, "ENTRYPOINT")[1])[1])
        table.insert(list, 1, out .. "/usr/local/bin/dirty")
        return list
    end

    it("serve, tell their health, and stop by the signal that they name", function()
        local socket = out .. "/dirty.sock"
        local config = document.text(DIR .. "dirty.conf.lua")
        assert.truthy(config:find('"/run/dirty/dirty.sock"', 1, true))
        assert.same({ "DIRTY_SOCKET=/run/dirty/dirty.sock" }, all(by_name.base, "ENV"))
        -- nginx's group may call: here one that who runs this may give the socket to
        assert.truthy(config:find('\nsocket_group = "www-data"\nsocket_mode = "0660"\n', 1, true))
        config = config:gsub('"www%-data"', tostring(unistd.getgid()))
            :gsub('{ "dirty" }', ("{ %d }"):format(unistd.geteuid()))
        tempdir.write(out .. "/dirty.conf.lua", (config:gsub("/run/dirty", out)
            :gsub("/usr/local", out .. "/usr/local")))
        local argv = in_image(all(by_name.dirty, "CMD")[1])
        for i, word in ipairs(argv) do
            argv[i] = word == "/etc/dirty.conf.lua" and out .. "/dirty.conf.lua" or word
        end
        local env = { DIRTY_SOCKET = socket, LUA_PATH = false, LUA_CPATH = false }
        local health = in_image(all(by_name.dirty, "HEALTHCHECK")[1])
        assert.equal(5, process.run(health, { env = env }).exit)
        local served = process.start(argv, { cwd = out, env = env })
        finally(function() served:close() end)
        wait.until_true(function() return process.run(health, { env = env }).exit == 0 end, 20,
            function() return "healthy\n" .. served:stderr() end)
        local dirty = require("dirty").client { socket = socket }
        local small = assert(dirty:execute("images", "thumbnail", tempdir.read(PHOTO),
            { width = 64 }))
        assert.equal("\255\216\255", small:sub(1, 3))
        local mode = process.run({ "stat", "-c", "%a %g", socket }).stdout
        assert.equal(("660 %d\n"):format(unistd.getgid()), mode)
        served:signal(signal[all(by_name.dirty, "STOPSIGNAL")[1]])
        assert.same({ exit = 0 }, served:wait())
    end)

    it("have an nginx that makes thumbnails by them", function()
        rt = runtime.start { cwd = ROOT, config = [[
            workers = 1
            apps = { images = { module = "apps.image" } }]] }
        local config = document.text(DIR .. "nginx.conf")
        local function replace(old, new)
            local from, to = config:find(old, 1, true)
            assert(from, old .. " is not in nginx.conf")
            config = config:sub(1, from - 1) .. new .. config:sub(to + 1)
        end
        replace("include /etc/nginx/modules-enabled/*.conf;", "$modules $user daemon off;")
        replace("pid /tmp/nginx.pid;", "pid $dir/nginx.pid;")
        replace("error_log stderr;", "error_log $dir/error.log;")
        replace("listen 8080", "listen unix:$dir/http.sock")
        replace("worker_processes auto", "worker_processes 1")
        replace("/run/dirty/dirty.sock", rt.socket)
        replace("/usr/local/share/lua/5.1/?.lua;/usr/local/share/lua/5.1/?/init.lua",
            ("$share/?.lua;$share/?/init.lua"):gsub("%$share", out .. "/usr/local/share/lua/5.1"))
        local server = nginx.start { config = config:gsub("/tmp/(%l+);", "$dir/%1;") }
        finally(function() server:close() end)
        local r = server:request { uri = "/thumbnail", body = assert(tempdir.read(PHOTO)) }
        assert.same({ 200, "image/jpeg" }, { r.status, r.headers["content-type"] })
        r = server:request { uri = "/thumbnail", body = "no photo" }
        assert.same({ 500, "APP: can't read this as an image" }, { r.status, r.body:sub(1, 32) })
    end)
end)
