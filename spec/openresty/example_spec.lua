-- examples/openresty in a copy of its own: the runtime by its configuration, nginx by its
-- nginx.conf, of which only what it listens on is another.
local cjson = require "cjson"
local nginx = require "support.nginx"
local process = require "support.process"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local PHOTO = "/usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg"
local ROOT = unistd.getcwd()

-- What is replaced in nginx.conf: a spec has no port, and may be root.
local REPLACED = {
    { "daemon off;", "$user daemon off;" },
    { "worker_processes auto;", "worker_processes 2;" },
    { "error_log stderr;", "error_log $dir/error.log info;" },
    { "listen 127.0.0.1:8080;", "listen unix:$dir/http.sock;" },
    { "allow 127.0.0.1;", "allow unix:;" },
}

local function replace(text)
    for _, pair in ipairs(REPLACED) do
        local from, to = text:find(pair[1], 1, true)
        assert(from, pair[1])
        text = text:sub(1, from - 1) .. pair[2] .. text:sub(to + 1)
    end
    return text
end

describe("examples/openresty", function()
    local top, dir, rt, server

    local function start_runtime()
        rt = process.start({ process.dirty(), "serve", "--config", "dirty.conf.lua" },
            { cwd = dir })
        wait.until_true(function()
            return rt:stderr():find('msg="?ready"? ') or rt:ended()
        end, 20, function() return rt:stderr() end)
        assert.is_false(rt:ended(), rt:stderr())
    end

    local function stop_runtime()
        rt:signal(signal.SIGTERM)
        pcall(rt.wait, rt, 10)
        rt:close()
    end

    setup(function()
        top = tempdir.new()
        dir = top .. "/examples/openresty"
        process.run { "mkdir", top .. "/examples" }
        process.run { "cp", "-r", ROOT .. "/examples/openresty", dir }
        process.run { "mkdir", "-p", dir .. "/run" }
        process.run { "ln", "-s", ROOT .. "/lua", top .. "/lua" } -- for nginx
        start_runtime()
        server = nginx.start { dir = dir, workers = 2,
            config = replace(assert(tempdir.read(dir .. "/nginx.conf"))) }
    end)

    teardown(function()
        server:close()
        stop_runtime()
        tempdir.remove(top)
    end)

    local function status()
        local r = server:request("/admin/status")
        assert.equal(200, r.status, server:log())
        return cjson.decode(r.body)
    end

    -- Process ids of the workers that run a call.
    local function busy()
        local pids = {}
        for _, worker in ipairs(status().workers) do
            for _, lane in ipairs(worker.lanes or {}) do
                if lane.state == "running" then
                    pids[#pids + 1] = worker.pid
                end
            end
        end
        return pids
    end

    local function start_stream()
        local x = server:open { uri = "/write" }
        wait.until_true(function()
            x:step()
            return x:received():find("data: .-data: ")
        end, 10, function() return "words\n" .. server:log() end)
        return x
    end

    it("makes thumbnails of uploads", function()
        local r = server:request { uri = "/thumbnail?width=200",
            body = assert(tempdir.read(PHOTO)) }
        assert.equal(200, r.status, server:log())
        assert.equal("image/jpeg", r.headers["content-type"])
        local client = require("dirty").client { socket = dir .. "/run/dirty.sock" }
        assert.equal(200, client:execute("images", "info", r.body).width)
    end)

    it("refuses bytes that are not an image, and logs the reason", function()
        local r = server:request { uri = "/thumbnail", body = "no image" }
        assert.equal(422, r.status, server:log())
        assert.equal('{"error":"APP"}\n', r.body)
        assert.truthy(server:log():find("APP: can't read this as an image", 1, true))
    end)

    it("streams words as events", function()
        local r = server:request("/write?first=The&count=5")
        assert.equal("text/event-stream", r.headers["content-type"])
        local _, words = r.body:gsub('data: "[^\n]+"\n\n', "")
        assert.equal(5, words, r.body)
        assert.matches('^data: "The"\n\n', r.body)
        assert.matches("\n\nevent: done\ndata: null\n\n$", r.body)
        assert.equal(422, server:request("/write?first=xyzzy").status)
    end)

    it("refuses an invalid number", function()
        for _, wrong in ipairs { "nan", "-nan", "inf", "-inf", "-1", "0", "1e300", "many", "" } do
            local r = server:request("/write?first=xyzzy&count=" .. wrong)
            assert.same({ 422, '{"error":"APP"}\n' }, { r.status, r.body }, wrong)
            r = server:request { uri = "/thumbnail?width=" .. wrong, body = "no image" }
            assert.same({ 422, '{"error":"APP"}\n' }, { r.status, r.body }, wrong)
        end
        assert.same({}, server:errors("APP: "))
    end)

    it("ends the call of a browser that leaves a stream", function()
        local x = start_stream()
        assert.equal(1, #busy())
        x:close()
        wait.until_true(function() return #busy() == 0 end, 10, "the app is stopped")
    end)

    it("ends a stream with an event when its worker is killed", function()
        local x = start_stream()
        signal.kill(busy()[1], signal.SIGKILL)
        wait.until_true(function() return x:step() end, 10, "the stream's end")
        assert.equal(200, x.status)
        assert.matches('event: failure\ndata: "WORKER_LOST"\n\n$', x.body)
    end)

    it("shows metrics to Prometheus", function()
        local r = server:request("/admin/metrics")
        assert.equal("text/plain; version=0.0.4", r.headers["content-type"])
        assert.matches("# TYPE dirty_", r.body)
    end)

    it("answers 502 without its runtime, and works with the next one", function()
        stop_runtime()
        local r = server:request { uri = "/thumbnail", body = "x" }
        assert.same({ 502, '{"error":"CONNECTION"}\n' }, { r.status, r.body })
        start_runtime()
        assert.equal(200, server:request("/write?first=The&count=1").status)
    end)

    it("has a README whose commands are these", function()
        local commands = {}
        for block in assert(tempdir.read "examples/openresty/README.md"):gmatch(
            "\n```sh\n(.-)```") do
            for line in block:gmatch("[^\n]+") do
                commands[#commands + 1] = line
            end
        end
        local url = "http://127.0.0.1:8080"
        assert.same({
            "mkdir -p run",
            "dirty serve --config dirty.conf.lua",
            'nginx -p "$PWD" -c nginx.conf',
            "curl -s --data-binary @photo.jpg '" .. url .. "/thumbnail?width=200' -o small.jpg",
            "curl -sN '" .. url .. "/write?first=The&count=20'",
            "curl -s " .. url .. "/admin/status",
            "curl -s " .. url .. "/admin/metrics",
        }, commands)
    end)
end)
