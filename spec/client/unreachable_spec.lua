-- What each client says where it can't connect: the same facts in all of them.
local cjson = require "cjson"
local fcntl = require "posix.fcntl"
local machine = require "support.machine"
local nginx = require "support.nginx"
local process = require "support.process"
local socket = require "posix.sys.socket"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"

local CALLER = 65534 -- nobody
local BUDGET_S = 0.3

-- Errors of a call to each path, as JSON: by libdirty, and by the client in Python.
local PLAIN = [[
    local cjson, dirty = require "cjson", require "dirty"
    local out = {}
    for i, path in ipairs(arg) do
        local _, err, info = dirty.client { socket = path, timeout = %g }:execute("a", "b")
        out[i] = { err, info.started }
    end
    print(cjson.encode(out))]]
local PYTHON = [[
import json, os, sys
import dirty
os.setgroups([]), os.setgid(%d), os.setuid(%d)     # here: python3 may be root's alone
out = []
for path in sys.argv[1:]:
    try:
        dirty.Client(path, timeout=%g).call("a", "b")
    except dirty.DirtyError as e:
        out.append([str(e), e.started])
print(json.dumps(out))
]]
local NGINX = [[
    location / {
        content_by_lua_block {
            local out = {}
            for i, path in ipairs(require("cjson").decode(ngx.req.get_headers()["x-paths"])) do
                local client = require("dirty").client { socket = path, timeout = $budget }
                local _, err, info = client:execute("a", "b")
                out[i] = { err, info.started }
            end
            ngx.print(require("cjson").encode(out))
        }
    }]]

describe("a client that can't connect", function()
    local dir, paths, order, fds, said
    local lacking

    local function listen(path, kind, backlog)
        local fd = assert(socket.socket(socket.AF_UNIX, kind or socket.SOCK_STREAM, 0))
        fds[#fds + 1] = fd
        assert(socket.bind(fd, { family = socket.AF_UNIX, path = path }))
        if not kind then
            assert(socket.listen(fd, backlog or 8))
        end
        return fd
    end

    -- Connect until the queue is full.
    local function fill(path)
        for _ = 1, 64 do
            local fd = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
            fds[#fds + 1] = fd
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.O_NONBLOCK)
            if not socket.connect(fd, { family = socket.AF_UNIX, path = path }) then
                return
            end
        end
        error("the queue has no end")
    end

    local function make_paths()
        paths = { absent = dir .. "/none", nowhere = dir .. "/none/deeper/s", file = dir .. "/file",
            ended = dir .. "/ended", datagrams = dir .. "/datagrams", denied = dir .. "/denied",
            closed = dir .. "/closed/deep/s", full = dir .. "/full" }
        tempdir.write(paths.file, "")
        unistd.close(listen(paths.ended))
        listen(paths.datagrams, socket.SOCK_DGRAM)
        listen(paths.denied)
        listen(paths.full, nil, 0)
        fill(paths.full)
        assert(stat.mkdir(dir .. "/closed"))
        assert(stat.mkdir(dir .. "/closed/deep"))
        listen(paths.closed)
        for path, mode in pairs { [dir] = "755", [paths.file] = "666", [paths.ended] = "666",
            [paths.datagrams] = "666", [paths.denied] = "640", [paths.full] = "666",
            [dir .. "/closed"] = "710" } do
            assert.equal(0, process.run({ "chmod", "0" .. mode, path }).exit)
        end
        assert.equal(0, process.run({ "chown", "7:8", paths.denied, dir .. "/closed" }).exit)
        order = {}
        for name in pairs(paths) do
            order[#order + 1] = name
        end
    end

    -- By name of path: the error and whether the app may have run.
    local function by_name(text)
        local list, out = cjson.decode(text), {}
        for i, name in ipairs(order) do
            out[name] = list[i]
        end
        return out
    end

    local function list_of_paths()
        local list = {}
        for i, name in ipairs(order) do
            list[i] = paths[name]
        end
        return list
    end

    local function run(argv, env)
        for _, path in ipairs(list_of_paths()) do
            argv[#argv + 1] = path
        end
        local r = process.run(argv, { env = env, seconds = 20 })
        assert.equal(0, r.exit, r.stderr)
        return by_name(r.stdout)
    end

    local function of_nginx()
        local server = nginx.start { user = "nobody nogroup", server = NGINX,
            words = { budget = tostring(BUDGET_S) } }
        local answer = server:request { uri = "/",
            headers = { ["X-Paths"] = cjson.encode(list_of_paths()) } }
        server:close()
        return by_name(answer.body)
    end

    local function of_python()
        tempdir.write(dir .. "/dirty.py", assert(tempdir.read "examples/python/dirty.py"))
        return run({ "python3", "-B", tempdir.write(dir .. "/t.py",
            PYTHON:format(CALLER, CALLER, BUDGET_S)) }, { PYTHONPATH = dir })
    end

    setup(function()
        dir, fds = tempdir.new(), {}
        lacking = machine.no_root() or machine.closed_to_others()
        if lacking then
            return
        end
        make_paths()
        said = { nginx = of_nginx(), python = of_python(), c = run({ "setpriv",
            "--reuid=" .. CALLER, "--regid=" .. CALLER, "--clear-groups", "luajit",
            tempdir.write(dir .. "/t.lua", PLAIN:format(BUDGET_S)) }) }
    end)

    teardown(function()
        for _, fd in ipairs(fds) do
            unistd.close(fd)
        end
        tempdir.remove(dir)
    end)

    -- What each has to say; a list of parts.
    local CALLER_SAYS = ("uid %d gid %d"):format(CALLER, CALLER)
    local FACTS = {
        absent = { "CONNECTION: nothing listens at $path: there is no such socket; start the "
            .. "runtime with: dirty serve --socket $path" },
        nowhere = { "CONNECTION: nothing listens at $path: there is no such directory; " },
        file = { "CONNECTION: nothing listens at $path: ", "it is not a socket",
            "dirty serve --socket $path" },
        ended = { "CONNECTION: nothing listens at $path: ", "its server has ended",
            "dirty serve --socket $path" },
        datagrams = { "CONNECTION: $path is a socket of another type: no runtime listens there" },
        denied = { "CONNECTION: not allowed to use $path (mode 0640, owner uid 7, group gid 8): ",
            "the caller is " .. CALLER_SAYS, "socket_group", "socket_mode 0660", "socket_user" },
        closed = { "CONNECTION: can't reach $path: the directory ",
            "/closed is closed to the caller", CALLER_SAYS, "(mode 0710, owner uid 7, group gid 8)",
            "another socket path" },
        full = { "OVERLOADED: the listen queue of $path stayed full for the budget of 300 ms",
            "option backlog" },
    }

    for name, parts in pairs(FACTS) do
        it("says what is known: " .. name, function()
            if lacking then
                pending(lacking)
                return
            end
            for _, client in ipairs { "c", "nginx", "python" } do
                local err, started = unpack(said[client][name])
                for _, part in ipairs(parts) do
                    part = part:gsub("%$path", (paths[name]:gsub("%%", "%%%%")))
                    assert.truthy(err:find(part, 1, true),
                        ("%s: %q is not in:\n%s"):format(client, part, err))
                end
                assert.equal("no", started)
            end
            -- the words are the same where the code is ours
            assert.equal(said.c[name][1], said.nginx[name][1])
        end)
    end
end)

describe("resty.dirty where there is no FFI", function()
    it("does without the facts, and names the options all the same", function()
        local real, preload = package.loaded.ffi, package.preload.ffi
        package.loaded.ffi = nil
        package.preload.ffi = function() error "there is none" end
        for _, name in ipairs { "facts", "refusal" } do
            package.loaded["resty.dirty." .. name] = nil
        end
        finally(function()
            package.loaded.ffi, package.preload.ffi = real, preload
            package.loaded["resty.dirty.facts"], package.loaded["resty.dirty.messages"] = nil, nil
        end)
        local connect = require("resty.dirty.messages").connect
        local code, words = connect("/run/s", "permission denied", 1000)
        assert.equal("CONNECTION", code)
        for _, part in ipairs { "not allowed to use /run/s: the user of nginx's workers",
            "socket_group", "socket_mode 0660", "socket_user" } do
            assert.truthy(words:find(part, 1, true), words)
        end
        code, words = connect("/none/s", "no such file or directory", 1000)
        assert.equal("CONNECTION", code)
        assert.truthy(words:find("nothing listens at /none/s: there is no such socket", 1, true))
    end)
end)
