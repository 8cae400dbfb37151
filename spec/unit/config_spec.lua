local config = require "dirty.config"
local options = require "dirty.config.options"
local show = require "dirty.config.show"
local socket_path = require "dirty.socket_path"
local spec = require "dirty.config.spec"
local tempdir = require "support.tempdir"

-- What dirty.sys would tell, on a machine of the specs' own.
local function fake_sys(overrides)
    local sys = {
        cpus = function() return 3 end,
        uid = function() return 1000 end,
        cwd = function() return "/srv/app" end,
        directory = function() return "/srv/app" end,
        chdir = function() return true end,
        odd_file = function() end,
        guest_begin = function() end,
        guest_end = function() end,
        stat = function() return nil, "No such file or directory" end,
        default_socket = function() return "/tmp/dirty-1000/dirty.sock" end,
        user_id = function(name) return name == "www-data" and 33 or nil end,
        group_id = function(name) return name == "www-data" and 34 or nil end,
    }
    for name, value in pairs(overrides or {}) do
        sys[name] = value
    end
    return sys
end

describe("config.load", function()
    local dir
    before_each(function() dir = tempdir.new() end)
    after_each(function() tempdir.remove(dir) end)

    local function load(text, flags, sys)
        flags = flags or {}
        flags.config = text and tempdir.write(dir .. "/c.lua", text)
        local conf, err = config.load(sys or fake_sys(), flags)
        return conf, err and err:gsub(dir:gsub("%p", "%%%0") .. "/", "")
    end

    local function refused(text, flags)
        local conf, err = load(text, flags)
        assert.is_nil(conf)
        return err
    end

    it("has defaults for everything", function()
        local conf = assert(load())
        local v = conf.values
        assert.same({ 3, 1, 300, 30, 60, 30, 30, 2, 1024, 67108864, 255, 1000, 4096, 384, "info" },
            { v.workers, v.threads, v.timeout, v.graceful_timeout, v.boot_timeout,
                v.recv_timeout, v.send_timeout, v.linger_timeout, v.max_queue, v.max_message,
                v.max_args, v.max_depth, v.backlog, v.socket_mode, v.log_level })
        assert.same({ 0.5, true, 0, 0, 0, 0 }, { v.timeout_grace, v.interruptible, v.max_memory,
            v.max_requests, v.max_requests_jitter, v.max_rss })
        assert.equal("default", conf.from.timeout)
        assert.same({}, conf.apps)
        assert.is_nil(conf.file)
    end)

    it("prefers the file to defaults and flags to the file, and shows the source", function()
        local conf = assert(load("workers = 4\nthreads = 2\ntimeout = 1.5", { workers = "8" }))
        assert.equal(8, conf.values.workers)
        assert.equal("flag --workers", conf.from.workers)
        assert.equal(2, conf.values.threads)
        assert.truthy(conf.from.threads:find("c.lua:2", 1, true))
        assert.equal(1.5, conf.values.timeout)
        assert.equal(0, assert(load("workers = 0")).values.workers)
    end)

    it("runs the file as Lua with all of Lua in it", function()
        local conf = assert(load([[
            local n = #("ab"):rep(2)
            workers = math.floor(n / 2)
            threads = workers
            lua_path = table.concat({ "/a/?.lua", "/b/?.lua" }, ";")
            function worker_init(worker) seen = worker end]]))
        assert.equal(2, conf.values.workers)
        assert.equal(2, conf.values.threads)
        assert.equal("/a/?.lua;/b/?.lua", conf.values.lua_path)
        conf.values.worker_init({}) -- a hook may keep what it likes
        assert.is_nil(rawget(_G, "seen"))
        assert.is_nil(rawget(_G, "workers"))
    end)

    it("removes a setting that the file sets to nil", function()
        local conf = assert(load("workers = 4\nworkers = nil\napps = { 'a' }\napps = nil"))
        assert.equal(3, conf.values.workers)
        assert.same({}, conf.apps)
    end)

    it("names file, line, key and the nearest key for one it does not know", function()
        assert.equal('c.lua:2: there is no option "wrokers" (did you mean \'workers\'?); '
            .. "make it local if it is a helper of the file", refused("\nwrokers = 4"))
        assert.truthy(refused("function post_frok() end")
            :find("did you mean 'post_fork'?", 1, true))
        assert.truthy(refused("app = {'a'}"):find("did you mean 'apps'?", 1, true))
    end)

    it("names file, line, key, value and remedy for a wrong value", function()
        assert.equal('c.lua:1: workers = "four": must be a whole number from 0 to 4096',
            refused('workers = "four"'))
        assert.equal('c.lua:1: timeout = "5s": must be a number of seconds from 0 (no limit) to '
            .. "2147483, written without a unit: 5", refused('timeout = "5s"'))
        assert.equal("c.lua:1: timeout = -1: must be a number of seconds from 0 (no limit) to "
            .. "2147483", refused("timeout = -1"))
        assert.equal('--workers "4x": must be a whole number from 0 to 4096',
            refused(nil, { workers = "4x" }))
    end)

    it("checks types and ranges of every option", function()
        for _, text in ipairs {
            "workers = 1.5", "workers = -1", "workers = 4097", "workers = true", "workers = 0/0",
            "threads = 0", "threads = 65", "timeout = 1/0", "boot_timeout = 0",
            "send_timeout = 0", "max_queue = 0", "max_message = 10", "max_message = '64x'",
            "max_args = 0", "max_depth = 0", "backlog = 0", "socket = ''", "socket = 5",
            "socket = 'a\\0b'", "socket_mode = '0888'", "socket_mode = 1000", "log_level = 'loud'",
            "lua_path = '/srv/app'", "chdir = {}", "on_starting = 5", "socket_user = {}",
            "graceful_timeout = '30'", "interruptible = 1", "timeout_grace = -0.5",
            "max_memory = 1000", "max_rss = '2m'", "max_requests = -1", "max_requests_jitter = 1.5",
            "admin_users = true", "admin_users = 'root'", "admin_users = 0", "admin_users = { '' }",
            "admin_users = { 1.5 }", "admin_users = { root = true }", "admin_users = { -1 }",
            "admin_users = { 'root', {} }", "local u = {} for i = 1, 65 do u[i] = i end "
                .. "admin_users = u",
        } do
            local name = text:match("admin_users") or text:match("^[%w_]+")
            local err = refused(text)
            assert.truthy(err:find("c.lua:1: " .. name, 1, true), err)
            assert.truthy(err:find("must be", 1, true), err)
        end
    end)

    it("reads sizes with units and modes as octal digits", function()
        assert.equal(65536, load("max_message = '64k'").values.max_message)
        assert.equal(0, load("max_memory = 0").values.max_memory)
        assert.equal(16 * 1024 ^ 2, load("max_message = '16M'").values.max_message)
        assert.equal(1.5 * 1024 ^ 2, load("max_message = '1.5m'").values.max_message)
        assert.equal(tonumber("660", 8), load("socket_mode = 0660").values.socket_mode)
        assert.equal(tonumber("660", 8), load("socket_mode = '0660'").values.socket_mode)
        assert.equal(tonumber("600", 8), load(nil, { socket_mode = "600" }).values.socket_mode)
    end)

    it("tells errors of the file itself with their line", function()
        assert.truthy(refused("workers = "):find("c.lua:1: unexpected symbol", 1, true))
        assert.truthy(refused("\n\nerror 'no database'"):find("c.lua:3: no database", 1, true))
        assert.equal("c.lua: raised an error that is a table", refused("error {}"))
        assert.truthy(refused("return { workers = 4 }"):find("returns a table", 1, true))
        local conf, err = config.load(fake_sys(), { config = dir .. "/none.lua" })
        assert.is_nil(conf)
        assert.truthy(err:find("none.lua", 1, true) and err:find("No such file", 1, true))
    end)

    it("takes dirty.conf.lua of the directory when no file is named", function()
        local asked
        local sys = fake_sys { stat = function(path)
            asked = path
            return nil
        end }
        assert.is_nil(assert(config.load(sys, {})).file)
        assert.equal("dirty.conf.lua", asked)
    end)

    it("changes to --chdir first, else to the file's chdir after it was read", function()
        local dirs = {}
        local sys = fake_sys { chdir = function(path)
            dirs[#dirs + 1] = path
            return true
        end }
        assert(load("chdir = '/srv/two'", {}, sys))
        assert(load("chdir = '/srv/two'", { chdir = "/srv/one" }, sys))
        assert.same({ "/srv/two", "/srv/one" }, dirs)
        local conf, err = load(nil, { chdir = "/nowhere" }, fake_sys { chdir = function()
            return nil, "No such file or directory"
        end })
        assert.is_nil(conf)
        assert.equal('--chdir "/nowhere": can\'t change to this directory: '
            .. "No such file or directory", err)
    end)

    it("reads admin_users, false for nobody", function()
        assert.is_nil(load("").values.admin_users)
        assert.is_false(load("admin_users = {}").values.admin_users)
        assert.is_false(load("admin_users = false").values.admin_users)
        assert.same({ "root", "1000" }, load("admin_users = { 'root', 1000 }").values.admin_users)
    end)

    it("makes paths absolute that are opened again later", function()
        local conf = assert(load("log_file = './log/d.log'\npidfile = '/run/d.pid'"))
        assert.equal("/srv/app/log/d.log", conf.values.log_file)
        assert.equal("/run/d.pid", conf.values.pidfile)
    end)

    it("puts the --app flags in the place of the file's apps", function()
        local conf = assert(load("apps = { 'one', 'two' }", { apps = { "three:2" } }))
        assert.same({ { name = "three", module = "three", workers = 2 } }, conf.apps)
        assert.equal("flag --app", conf.from.apps)
        assert.equal(2, #assert(load("apps = { 'one', 'two' }", { apps = {} })).apps)
        assert.truthy(refused(nil, { apps = { "a:b:c" } }):find("--app: ", 1, true))
    end)

    it("warns of an app that asks for more workers than there are", function()
        local conf = assert(load("workers = 2\napps = { 'a:4', 'b:2' }"))
        assert.same({ "app a asks for 4 workers, but there are only 2" }, conf.warnings)
    end)
end)

describe("config.spec.parse", function()
    it("reads module, object and limit", function()
        assert.same({ name = "apps.echo", module = "apps.echo" }, spec.parse "apps.echo")
        assert.same({ name = "apps.echo", module = "apps.echo", workers = 2 },
            spec.parse "apps.echo:2")
        assert.same({ name = "apps.ml:Model", module = "apps.ml", object = "Model" },
            spec.parse "apps.ml:Model")
        assert.same({ name = "apps.ml:Model", module = "apps.ml", object = "Model", workers = 3 },
            spec.parse "apps.ml:Model:3")
    end)

    it("refuses an invalid spec and names the wrong part", function()
        for text, part in pairs {
            [""] = "module", [":2"] = "module", ["a:"] = "object", ["a:0"] = "workers",
            ["a:2:3"] = ":3", ["a:B:C"] = ":C", ["a:B:2:3"] = ":3", ["a:-1"] = "object",
            ["a b"] = "module", ["a:4097"] = "workers", ["@arbiter"] = "module",
        } do
            local app, err = spec.parse(text)
            assert.is_nil(app, text)
            assert.truthy(err:find(part, 1, true), text .. ": " .. err)
        end
    end)

    it("suggests the module's name for a file name", function()
        local _, err = spec.parse "./apps/echo.lua"
        assert.truthy(err:find('write "apps.echo"', 1, true), err)
    end)
end)

describe("config.spec.list", function()
    it("takes specs, tables and both under names", function()
        local list = assert(spec.list {
            "one:2",
            { module = "two", object = "T" },
            zebra = { module = "z", timeout = 0.5, max_queue = 9, options = { dir = "/x" } },
            alias = "three:Thing:4",
        })
        assert.same({
            { name = "one", module = "one", workers = 2 },
            { name = "two:T", module = "two", object = "T" },
            { name = "alias", module = "three", object = "Thing", workers = 4 },
            { name = "zebra", module = "z", timeout = 0.5, max_queue = 9,
                options = { dir = "/x" } },
        }, list)
        assert.equal('{"dir":"\\/x"}', spec.options_json(list[4].options))
        assert.equal("{}", spec.options_json(nil))
    end)

    it("refuses wrong entries, naming them", function()
        local cases = {
            { { 5 }, "apps[1] is a number" },
            { { "a", nil, "b" }, "apps[2] is a nil" },
            { { "a", "a:2" }, 'there is an app "a" already' },
            { { images = {} }, "apps.images has no module" },
            { { images = { modul = "x" } }, "did you mean 'module'?" },
            { { images = { module = "x", workers = 0 } }, "apps.images: workers = 0: must be" },
            { { images = { module = "x", timeout = "5" } }, 'timeout = "5": must be' },
            { { images = { module = "x", options = { f = print } } },
                "options.f is a function: must be JSON values" },
            { { images = { module = "x", options = { list = { 1, { to = io.stdout } } } } },
                "options.list[2].to is a userdata: must be" },
            { { images = { module = "x", options = { n = 0 / 0 } } },
                "options.n is nan, which JSON can't express: must be JSON values" },
            { { ["@x"] = { module = "x" } }, "without @" },
            { { ["a b"] = { module = "x" } }, "printable ASCII" },
            { { [("x"):rep(256)] = "x" }, "256" },
            { { [1.5] = "x" }, "1.5" },
            { "apps.echo", "must be a table" },
        }
        for _, case in ipairs(cases) do
            local list, err = spec.list(case[1])
            assert.is_nil(list)
            assert.truthy(err:find(case[2], 1, true), err)
        end
    end)
end)

describe("config.limits", function()
    it("prefers the configuration to the app's declaration, and that to the server's", function()
        local conf = { values = { timeout = 300, max_queue = 1024, interruptible = true } }
        local declared = { workers = 2, timeout = 5, max_queue = 10, interruptible = false,
            cancel_on_disconnect = true, exclusive = true, isolated = true }
        assert.same({ workers = 0, timeout = 300, max_queue = 1024, interruptible = true,
            cancel_on_disconnect = false, exclusive = false, isolated = false },
            config.limits(conf, {}))
        assert.same(declared, config.limits(conf, { declared = declared }))
        local own = { workers = 1, timeout = 0, max_queue = 9, interruptible = true,
            cancel_on_disconnect = false, exclusive = false, isolated = false }
        local app = { declared = declared }
        for name, value in pairs(own) do
            app[name] = value
        end
        assert.same(own, config.limits(conf, app))
    end)
end)

describe("config.resolve", function()
    local function conf_of(values)
        local conf = assert(config.load(fake_sys(), {}))
        for name, value in pairs(values) do
            conf.values[name] = value
        end
        return conf
    end

    it("finds the ids of the socket's owner and group", function()
        assert.same({ uid = -1, gid = -1 }, config.resolve(conf_of {}, fake_sys()))
        assert.same({ uid = 33, gid = 34 }, config.resolve(
            conf_of { socket_user = "www-data", socket_group = "www-data" }, fake_sys()))
        assert.same({ uid = 7, gid = 8 }, config.resolve(
            conf_of { socket_user = "7", socket_group = "8" }, fake_sys()))
    end)

    it("finds the ids of admin_users, and names unknown users", function()
        local function ids_of(users)
            local conf = conf_of { admin_users = users }
            local ok, err = config.resolve(conf, fake_sys())
            return ok and conf.admin_uids, err
        end
        assert.is_nil(ids_of(nil))
        assert.same({}, ids_of(false))
        assert.same({ 33, 7 }, ids_of { "www-data", "7" })
        local ids, err = ids_of { "www-data", "nobdy" }
        assert.is_nil(ids)
        assert.equal('admin_users = "nobdy" (default): there is no such user', err)
    end)

    it("says how to make a user to run as, where that is a name", function()
        for name, remedy in pairs { nobdy = "; make one: adduser --system --group nobdy",
            ["no body"] = "" } do
            local _, err = config.resolve(conf_of { user = name }, fake_sys())
            assert.equal(('user = "%s" (default): there is no such user%s'):format(name, remedy),
                err)
        end
    end)

    it("refuses unknown users and a path that is too long", function()
        local ids, err = config.resolve(conf_of { socket_user = "nobdy" }, fake_sys())
        assert.is_nil(ids)
        assert.truthy(err:find('socket_user = "nobdy"', 1, true), err)
        ids, err = config.resolve(conf_of { socket = "/" .. ("x"):rep(107) }, fake_sys())
        assert.is_nil(ids)
        assert.truthy(err:find("108 bytes", 1, true) and err:find("at most 107", 1, true), err)
        assert.is_table(config.resolve(conf_of { socket = "/" .. ("x"):rep(106) }, fake_sys()))
    end)
end)

describe("socket_path.prepare", function()
    local private = { type = "directory", uid = 1000, mode = tonumber("700", 8) }

    local function prepare(st, path)
        local made
        local ok, err = socket_path.prepare(fake_sys {
            stat = function() return st end,
            mkdir = function(dir, mode)
                made, st = { dir, mode }, private
                return true
            end,
        }, path or "/tmp/dirty-1000/dirty.sock")
        return ok, err, made
    end

    it("makes the user's directory with mode 0700", function()
        local ok, _, made = prepare(nil)
        assert.is_true(ok)
        assert.same({ "/tmp/dirty-1000", tonumber("700", 8) }, made)
    end)

    it("accepts a private directory of this user and refuses any other", function()
        assert.is_true(prepare(private))
        for text, st in pairs {
            ["belongs to the user 7"] = { type = "directory", uid = 7, mode = private.mode },
            ["open to others"] = { type = "directory", uid = 1000, mode = tonumber("711", 8) },
            ["is not a directory"] = { type = "link", uid = 1000, mode = private.mode },
        } do
            local ok, err = prepare(st)
            assert.is_nil(ok)
            assert.truthy(err:find(text, 1, true), err)
        end
    end)

    it("does not touch directories of other paths", function()
        local ok, _, made = prepare(nil, "/srv/app/dirty.sock")
        assert.is_true(ok)
        assert.is_nil(made)
    end)
end)

describe("config.show", function()
    local dir
    before_each(function() dir = tempdir.new() end)
    after_each(function() tempdir.remove(dir) end)

    local text = [[
        socket = "/tmp/x.sock"
        workers = 4
        timeout = 0.25
        lua_path = "/a b/?.lua"
        apps = {
            "one:2",
            images = { module = "m", timeout = 0,
                options = { ["end"] = 1, list = { 1, "two\n" } } },
        }
        function on_starting() end]]

    it("prints Lua that makes the same configuration", function()
        local first = assert(config.load(fake_sys(),
            { config = tempdir.write(dir .. "/a.lua", text) }))
        local printed = show.lua(first, "0.1.0")
        local second = assert(config.load(fake_sys(),
            { config = tempdir.write(dir .. "/b.lua", printed) }))
        first.values.on_starting = nil
        assert.same(first.values, second.values)
        assert.same(first.apps, second.apps)
        assert.truthy(printed:find("hook on_starting: file", 1, true))
        assert.truthy(printed:find("timeout = 0.25 -- file", 1, true))
    end)

    it("prints lists that it reads again", function()
        for _, users in ipairs { { "root", "7" }, false } do
            local conf = assert(config.load(fake_sys(), {}))
            conf.values.admin_users = users
            local path = tempdir.write(dir .. "/b.lua", show.lua(conf, "0.1.0"))
            local again = assert(config.load(fake_sys(), { config = path }))
            assert.same(users, again.values.admin_users)
        end
    end)

    it("prints JSON", function()
        local cjson = require "cjson"
        local conf = assert(config.load(fake_sys(),
            { config = tempdir.write(dir .. "/a.lua", text .. " admin_users = { 'root', 7 }") }))
        assert.same({ "root", "7" }, cjson.decode(show.json(conf)).options.admin_users.value)
        conf.values.admin_users = false
        assert.is_false(cjson.decode(show.json(conf)).options.admin_users.value)
        local got = cjson.decode(show.json(conf))
        assert.equal(4, got.options.workers.value)
        assert.equal(cjson.null, got.options.pidfile.value)
        assert.equal("images", got.apps[2].name)
        assert.truthy(got.hooks.on_starting:find("a.lua:10", 1, true))
        assert.truthy(show.json(assert(config.load(fake_sys(), {}))):find('"apps":[]', 1, true))
    end)
end)

describe("config.options", function()
    it("names every option once and has help for it", function()
        local seen = {}
        for _, option in ipairs(options.list) do
            assert.is_nil(seen[option.name])
            seen[option.name] = true
            assert.is_string(option.help)
            assert.is_function(option.kind.check)
            if option.flag then
                assert.equal(option.flag, "--" .. option.name:gsub("_", "-"))
                assert.is_string(option.argname)
            end
        end
    end)
end)

describe("the limits of an app", function()
    it("may be the same in its declaration as in the configuration", function()
        local dirty = require "dirty"
        for name in pairs(spec.DECLARED) do
            for _, value in ipairs { -1, 0, 0.0009, 0.001, 0.5, 1, 1.5, 7, 64, 4096, 4097, 1000000,
                1000001, 2147483, 2147484, 2 ^ 31, 2 ^ 53, 1 / 0, 0 / 0, "1", "x", true, false,
                {} } do
                local declared = pcall(dirty.app, { [name] = value })
                local configured = spec.list { a = { module = "a", [name] = value } } ~= nil
                assert.equal(configured, declared, name .. " = " .. tostring(value))
            end
        end
    end)
end)

describe("config.reload", function()
    local dir
    before_each(function() dir = tempdir.new() end)
    after_each(function() tempdir.remove(dir) end)

    local function load(text, flags)
        flags = flags or {}
        flags.config = tempdir.write(dir .. "/c.lua", text)
        return assert(config.load(fake_sys(), flags)), flags
    end

    it("uses the current file, and the same flags", function()
        local running, flags = load("apps = { 'a' }\nthreads = 2", { workers = "5" })
        tempdir.write(dir .. "/c.lua", "apps = { 'b' }\ntimeout = 9\nlua_path = '/x/?.lua'")
        local conf = assert(config.reload(fake_sys(), flags, running))
        assert.same({ 5, 1, 9, "/x/?.lua", "b" }, { conf.values.workers, conf.values.threads,
            conf.values.timeout, conf.values.lua_path, conf.apps[1].name })
        assert.same({}, conf.warnings)
    end)

    it("finds the file from any directory, and goes where it went first", function()
        local went = {}
        local sys = fake_sys { directory = function() return dir end,
            chdir = function(path) went[#went + 1] = path return true end,
            stat = function(path) return path == "dirty.conf.lua" and {} or nil end }
        tempdir.write(dir .. "/dirty.conf.lua", "apps = { 'a' }\nchdir = '/srv'")
        local path = "dirty.conf.lua"
        local unistd = require "posix.unistd"
        local home = unistd.getcwd()
        unistd.chdir(dir)
        local running = assert(config.load(sys, {}))
        unistd.chdir(home)
        assert.same({ path, dir .. "/" .. path }, { running.file, running.path })
        sys.directory = function() error("it is known") end
        went = {}
        local conf = assert(config.reload(sys, {}, running))
        assert.equal("a", conf.apps[1].name)
        assert.same({ dir, "/srv" }, went)
        assert.same({ dir, "/srv", "/srv/app" }, { conf.start, conf.directory, conf.cwd })
    end)

    it("goes by the names of directories, and wants only those that it needs", function()
        local went, gone = {}, {}
        local sys = fake_sys { directory = function() return "/srv/current" end,
            chdir = function(path)
                went[#went + 1] = path
                return not gone[path] or nil, "No such file or directory"
            end }
        local function reload(flags)
            flags.config = tempdir.write(dir .. "/c.lua", "apps = { 'a' }\nlog_file = 'log/x'")
            gone = {}
            local running = assert(config.load(sys, flags))
            gone, went = { ["/srv/current"] = true }, {}
            return config.reload(sys, flags, running)
        end
        assert.equal("/srv/current/log/x", assert(reload({})).values.log_file)
        assert.same({ "/srv/current" }, went)
        assert.equal("/other/log/x", assert(reload({ chdir = "/other" })).values.log_file)
        assert.same({ "/srv/current", "/other" }, went)
        local conf, err = reload({ chdir = "sub" })
        assert.is_nil(conf)
        assert.equal('--chdir "sub": it begins in /srv/current: No such file or directory', err)
    end)

    it("keeps what can't be changed, over any number of reloads", function()
        local running, flags = load("apps = { 'a' }\npidfile = 'd.pid'\nsocket = '/tmp/d.sock'")
        tempdir.write(dir .. "/c.lua", "apps = { 'a' }\nsocket = '/tmp/e.sock'")
        for _ = 1, 2 do
            local conf = assert(config.reload(fake_sys(), flags, running))
            assert.same({ "/tmp/d.sock", "/srv/app/d.pid" },
                { conf.values.socket, conf.values.pidfile })
            assert.same({}, conf.warnings)
            local warnings = table.concat(conf.kept, "\n")
            assert.truthy(warnings:find('/c.lua:2) is ignored, it '
                .. 'stays "/tmp/d.sock"', 1, true), warnings)
            assert.truthy(warnings:find("pidfile = nil (default) is ignored", 1, true), warnings)
            running = conf
        end
        tempdir.write(dir .. "/c.lua", "apps = { 'a' }\npidfile = 'd.pid'\nsocket = '/tmp/d.sock'")
        assert.same({}, assert(config.reload(fake_sys(), flags, running)).kept)
    end)

    it("puts the modules of the file back when the file is bad", function()
        tempdir.write(dir .. "/site_of_spec.lua", "return { n = 1 }")
        local text = ("package.path = %q .. package.path\napps = { require('site_of_spec').n == 1 "
            .. "and 'one' or 'two' }\n"):format(dir .. "/?.lua;")
        local path = package.path
        finally(function()
            package.path = path
            package.loaded.site_of_spec = nil
        end)
        local running, flags = load(text)
        local site = package.loaded.site_of_spec
        tempdir.write(dir .. "/site_of_spec.lua", "return { n = 2 }")
        tempdir.write(dir .. "/c.lua", text .. "error 'no'")
        assert.is_nil(config.reload(fake_sys(), flags, running))
        assert.equal(site, package.loaded.site_of_spec)
        tempdir.write(dir .. "/c.lua", text)
        assert.equal("two", assert(config.reload(fake_sys(), flags, running)).apps[1].name)
    end)
end)

describe("docs/configuration.md", function()
    local text = tempdir.read("docs/configuration.md")

    it("has exactly one row for every option, with its flag", function()
        local rows = {}
        local section = text:match("\n## Options\n(.-)\n## ")
        for name, flag in section:gmatch("\n| `([%w_]+)` | ([^|]*)|") do
            rows[name] = flag:match("`(%-%-[%w-]+)") or ""
        end
        assert.equal("--app", rows.apps)
        rows.apps = nil
        for _, option in ipairs(options.list) do
            assert.equal(option.flag or "", rows[option.name], option.name)
            rows[option.name] = nil
        end
        assert.same({}, rows)
    end)

    it("names every option that a reload can't change", function()
        local list = text:match("\n## Reload\n(.-)\n## "):match("stays, and(.-)Restart")
        for _, option in ipairs(options.list) do
            assert.equal(option.fixed == true, list:find("`" .. option.name .. "`", 1, true) ~= nil,
                option.name)
        end
    end)

    it("names every hook", function()
        for _, hook in ipairs(options.hooks) do
            assert.truthy(text:find("| `" .. hook.name .. "(", 1, true), hook.name)
        end
    end)

    it("has a valid example", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        local path = tempdir.write(dir .. "/c.lua", text:match("```lua\n(.-)```"))
        local conf = assert(config.load(fake_sys(), { config = path }))
        assert.equal(3, #conf.apps)
        assert.same({}, conf.warnings)
    end)
end)
