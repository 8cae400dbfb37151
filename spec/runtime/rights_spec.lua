-- Started by root, for another user: what root opens where that user may write, and what of
-- root's gets into the user's hands.
local dirent = require "posix.dirent"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local tree = require "support.tree"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local NOBODY = 65534

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local undone = {}

local function defer(undo)
    undone[#undone + 1] = undo
end

after_each(function()
    while #undone > 0 do
        pcall(table.remove(undone))
    end
end)

-- What an app of that user can do: run commands, and see and use its descriptors.
local APP = [[
    local ffi = require "ffi"
    ffi.cdef "long readlink(const char *, char *, size_t); long write(int, const void *, size_t);"
    local app = {}
    local function descriptors()
        local list, room = {}, ffi.new("char[512]")
        for fd = 0, 300 do
            local n = tonumber(ffi.C.readlink("/proc/self/fd/" .. fd, room, 511))
            list[#list + 1] = n > 0 and fd .. " " .. ffi.string(room, n) or nil
        end
        return table.concat(list, "\n")
    end
    local dir = debug.getinfo(1, "S").source:match("@(.*)/")
    local file = io.open("/proc/self/cmdline")
    local is_worker = file:read("*a"):find("dirty: worker", 1, true)
    file:close()
    if not is_worker then
        local text = descriptors()
        file = assert(io.open(dir .. "/theirs/probe", "w"))
        file:write(text, "\n")
        file:close()
    end
    function app:run(command)
        local pipe = io.popen(command .. " 2>&1; echo $?")
        local text = pipe:read("*a")
        pipe:close()
        return text
    end
    function app:descriptors() return descriptors() end
    function app:plant(text) -- wherever it can be written to, but to its caller and the arbiter
        for line in descriptors():gmatch("[^\n]+") do
            local fd = not line:find("socket:", 1, true) and tonumber(line:match("^%d+"))
            if fd then ffi.C.write(fd, text, #text) end
        end
        return true
    end
    function app:log(text) require("dirty").log.info(text) return true end
    return app]]

-- A place with a directory `theirs` of that user and a directory `roots`; what a test starts
-- there is stopped at its end. `o`: as for support.runtime, and `log`: where it logs.
local function new_place()
    local place = { dir = tempdir.new() }
    place.theirs, place.roots = place.dir .. "/theirs", place.dir .. "/roots"
    assert(stat.chmod(place.dir, tonumber("755", 8)))
    for _, path in ipairs { place.theirs, place.roots } do
        assert(stat.mkdir(path))
        assert(stat.chmod(path, tonumber("755", 8)))
    end
    assert(unistd.chown(place.theirs, NOBODY, NOBODY))
    tempdir.write(place.dir .. "/user.lua", APP)
    defer(function() tempdir.remove(place.dir) end)
    return place
end

local function start(place, o)
    o.apps, o.cwd = { "user" }, place.dir
    o.args = o.args or {}
    for _, word in ipairs { "--user", "nobody", "--workers", "1" } do
        o.args[#o.args + 1] = word
    end
    if o.log then
        o.args[#o.args + 1] = "--log-file"
        o.args[#o.args + 1] = o.log
    end
    local rt = runtime.launch(o)
    rt.socket = o.socket or rt.socket
    defer(function() rt:close() end)
    assert(stat.chmod(rt.dir, tonumber("755", 8)))
    function rt.logged()
        return o.log and tempdir.read(o.log) or rt:log()
    end
    wait.until_true(function()
        return rt:is_ready(rt.logged()) or rt.process:ended()
    end, 20, function() return "ready\n" .. rt:log() end)
    return rt
end

local function as_nobody(command)
    local r = process.run { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh",
        "-c", command }
    assert.equal(0, r.exit, r.stderr)
end

local function new_arbiter(rt)
    local old = rt:status().arbiter.pid
    assert(signal.kill(old, signal.SIGKILL))
    return wait.until_true(function()
        local status = rt:call("@arbiter", "status")
        return status and status.arbiter.pid ~= old and status.ready and status
    end, 10, "another arbiter")
end

local function owner(path)
    local st = stat.lstat(path)
    return st and st.st_uid
end

if unistd.geteuid() ~= 0 then
    describe("files of another user", function()
        pending("SKIPPED: needs root, to run as another user")
    end)
    return
end

describe("the log in a directory of the user", function()
    it("is opened with the user's rights, and never by a link", function()
        local place = new_place()
        local log = place.theirs .. "/log"
        local rt = start(place, { log = log })
        assert.equal(NOBODY, owner(log))
        local target = place.roots .. "/cron"
        assert.equal("0\n", (rt:call("user", "run",
            ("mv %s %s.1; ln -s %s %s"):format(log, log, target, log))))
        local r = rt:command("reopen-logs")
        assert.equal(3, r.exit)
        contains(r.stderr, "can't be reopened, the old one is kept: " .. log
            .. ": it is a link")
        assert.is_nil(stat.lstat(target))
        contains(tempdir.read(log .. ".1"), "log file can't be reopened")
        contains(rt:command("status").stdout, "log: it can't be reopened: " .. log
            .. ": it is a link")
        contains(rt:status().log.trouble, "it is a link")
        -- neither by the next arbiter, nor by the keeper at the end
        new_arbiter(rt)
        assert(rt:call("user", "plant", "* * * * * root id\n"))
        assert.same({ exit = 0 }, rt:stop())
        assert.is_nil(stat.lstat(target))
        contains(tempdir.read(log .. ".1"), "who=supervisor")
    end)

    it("is reopened once the path is usable", function()
        local place = new_place()
        local log = place.theirs .. "/log"
        local rt = start(place, { log = log })
        as_nobody(("cd %s && mv log log.1 && mkdir log"):format(place.theirs))
        assert.equal(3, rt:command("reopen-logs").exit)
        as_nobody(("rmdir %s"):format(log))
        assert.equal(0, rt:command("reopen-logs").exit)
        assert.equal(NOBODY, owner(log))
        assert.is_nil(rt:command("status").stdout:find("log:", 1, true))
        new_arbiter(rt)
        contains(rt.logged(), "who=arbiter")
    end)

    it("can't lead through a link to a place where only root can write", function()
        local place = new_place()
        local log = place.theirs .. "/logs/dirty.log"
        as_nobody("mkdir " .. place.theirs .. "/logs")
        local rt = start(place, { log = log })
        as_nobody(("cd %s && mv logs old && ln -s %s logs"):format(place.theirs, place.roots))
        assert.equal(3, rt:command("reopen-logs").exit)
        assert.same({ exit = 0 }, rt:stop())
        assert.is_nil(stat.lstat(place.roots .. "/dirty.log"))
    end)

    it("delays nobody when it has become a FIFO", function()
        local place = new_place()
        local log = place.theirs .. "/log"
        local rt = start(place, { log = log })
        as_nobody(("cd %s && mv log log.1 && mkfifo log"):format(place.theirs))
        rt:signal(signal.SIGUSR1)
        wait.until_true(function()
            return (tempdir.read(log .. ".1") or ""):find("it is not a regular file", 1, true)
        end, 10, "a refusal")
        new_arbiter(rt)
        local list = rt:tree()
        assert.same({ exit = 0 }, rt:stop())
        assert.is_nil(tree.alive(list))
    end)

    it("delays no subreaper that cleans up after a killed supervisor", function()
        local place = new_place()
        local log = place.theirs .. "/log"
        local rt = start(place, { log = log })
        as_nobody(("cd %s && rm log && mkfifo log"):format(place.theirs))
        local list = rt:tree()
        assert(signal.kill(rt.pid, signal.SIGKILL))
        tree.wait_gone(list, 5)
    end)
end)

describe("the log in a directory of root", function()
    it("can be rotated, and the command says so", function()
        local place = new_place()
        local log = place.roots .. "/log"
        local rt = start(place, { log = log })
        for i = 1, 2 do
            assert(os.rename(log, log .. "." .. i))
            if i == 2 then -- as logrotate's `create 0600 root root`
                tempdir.write(log, "")
                assert(stat.chmod(log, tonumber("600", 8)))
            end
            local r = rt:command("reopen-logs")
            assert.same({ 0, "", "the log file was reopened\n" }, { r.exit, r.stderr, r.stdout })
            assert(rt:call("user", "log", "hello " .. i))
            assert(signal.kill(rt:status().workers[1].pid, signal.SIGKILL))
            wait.until_true(function()
                return rt.logged():find("hello " .. i, 1, true)
                    and rt.logged():find("worker ended", 1, true)
            end, 10, function() return "lines of worker and arbiter\n" .. rt.logged() end)
            assert.is_nil(tempdir.read(log .. "." .. i):find("hello " .. i, 1, true))
            wait.until_true(function() return rt:status().ready end, 10, "a worker")
        end
        assert.equal(0, owner(log))
    end)

    it("can't be accessed by the app, though it has the app's lines", function()
        local place = new_place()
        local log = place.roots .. "/log"
        tempdir.write(log, "")
        assert(stat.chmod(log, tonumber("600", 8)))
        local rt = start(place, { log = log })
        assert(rt:call("user", "log", "from the app"))
        wait.until_true(function() return rt.logged():find("from the app", 1, true) end, 10,
            "the line")
        -- whatever it writes to the descriptors that it has, it is lines of the log
        assert(rt:call("user", "plant", "\27[31mplanted\n"))
        wait.until_true(function() return rt.logged():find("?[31mplanted", 1, true) end, 10,
            "a line without an escape")
        assert.is_nil(rt.logged():find("\27", 1, true))
    end)
end)

describe("a FIFO and a device", function()
    it("that root names are accepted as a log", function()
        local place = new_place()
        local log = place.roots .. "/fifo"
        assert(process.run { "mkfifo", log }.exit == 0)
        local reader = process.start { "cat", log }
        defer(function() reader:close() end)
        local rt = runtime.launch { apps = { "user" }, cwd = place.dir, args = { "--user",
            "nobody", "--workers", "1", "--log-file", log } }
        defer(function() rt:close() end)
        wait.until_true(function() return rt:is_ready(reader:stdout()) end, 20, "ready")
        contains(reader:stdout(), "who=arbiter")
        assert.equal(0, rt:command("reopen-logs").exit)
        reader:kill() -- the collector has died
        assert.equal(0, rt:command("reopen-logs").exit)
        assert.same({ exit = 0 }, rt:stop())
    end)
end)

describe("of root's descriptors", function()
    -- What a process has open, as text by number.
    local function open_of(pid)
        local list = {}
        for name in dirent.files(("/proc/%d/fd"):format(pid)) do
            local target = process.run { "readlink", ("/proc/%d/fd/%s"):format(pid, name) }.stdout
            list[tonumber(name) or name] = target:gsub("\n$", "")
        end
        return list
    end

    it("neither arbiter nor worker nor probe gets one of a file with contents", function()
        local place = new_place()
        local log = place.roots .. "/log"
        tempdir.write(place.roots .. "/given", "secret")
        -- with descriptors that root's shell has left open
        local rt = start(place, { log = log, args = { "--pidfile", place.roots .. "/pid" },
            wrap = { "sh", "-c", ("exec 7<>%s/given 9>>%s/given; exec \"$@\""):format(place.roots,
                place.roots), "sh" } })
        local status = rt:status()
        -- The arbiter holds the socket's file by O_PATH: it can change its mode, not read it.
        local harmless = { ["/dev/null"] = true, [rt.socket] = true }
        for _, pid in ipairs { status.arbiter.pid, status.workers[1].pid } do
            for fd, target in pairs(open_of(pid)) do
                assert.is_nil(target:find("^/") and not harmless[target] and fd .. " " .. target
                    or nil)
            end
            harmless[rt.socket] = nil
        end
        for line in (tempdir.read(place.theirs .. "/probe") or "none was written"):gmatch(
            "[^\n]+") do
            local target = line:match("^%d+ (.*)$")
            assert.truthy(target and (target:find("^%a+:") or target == "/dev/null"), line)
            assert.is_nil(target:find("^socket:"), line) -- nor the arbiter's own
        end
        assert.truthy(rt:call("user", "plant", "x"))
        assert.equal("secret", tempdir.read(place.roots .. "/given"))
    end)

    it("none is needed for what is printed, and none is lost at the end", function()
        local place = new_place()
        tempdir.write(place.dir .. "/user.lua", [[
            local file = io.open("/proc/self/cmdline")
            if not file:read("*a"):find("dirty: worker", 1, true) then -- it is only tried
                print("a probe prints\27[1m \195\164")
                io.stderr:write("and complains\n")
            end
            file:close()
            return { value = print }]])
        local rt = start(place, {})
        wait.until_true(function()
            return rt.process:stdout() == "a probe prints?[1m \195\164\n"
        end, 10, function() return "what was printed\n" .. rt.process:stdout() end)
        contains(rt:log(), "and complains")
        assert.same({ exit = 0 }, rt:stop())
        local broken = runtime.launch { apps = { "broken" }, cwd = place.dir, args = { "--user",
            "nobody" }, files = { ["broken.lua"] = "error 'it is broken'" } }
        assert(stat.chmod(broken.dir, tonumber("755", 8)))
        defer(function() broken:close() end)
        assert.same({ exit = 4 }, broken:wait())
        contains(broken:log(), "it is broken")
        contains(broken:log(), "an app does not load")
    end)

    it("all lines of a burst arrive", function()
        local place = new_place()
        tempdir.write(place.dir .. "/user.lua", [[
            local app = {}
            function app:burst(count)
                for i = 1, count do require("dirty").log.info("burst line " .. i) end
                return true
            end
            return app]])
        local rt = start(place, { log = place.roots .. "/log" })
        assert(rt:call("user", "burst", 400))
        wait.until_true(function() return rt.logged():find("burst line 400", 1, true) end, 10,
            "the last line")
        local _, count = rt.logged():gsub("burst line %d+", "")
        assert.equal(400, count)
    end)
end)

describe("the pidfile in a directory of the user", function()
    it("belongs to the user, and delays no stop when it has become a FIFO", function()
        local place = new_place()
        local path = place.theirs .. "/pid"
        local rt = start(place, { args = { "--pidfile", path } })
        assert.equal(rt.pid .. "\n", tempdir.read(path))
        assert.equal(NOBODY, owner(path))
        as_nobody(("rm %s && mkfifo %s"):format(path, path))
        assert.same({ exit = 0 }, rt:stop())
        assert.truthy(stat.lstat(path))
    end)

    it("can't lead through a link to a place where only root can write", function()
        local place = new_place()
        as_nobody(("ln -s %s %s/run"):format(place.roots, place.theirs))
        local rt = start(place, { args = { "--pidfile", place.theirs .. "/run/pid" } })
        assert.same({ exit = 2 }, rt:wait())
        contains(rt:log(), "Permission denied")
        assert.is_nil(stat.lstat(place.roots .. "/pid"))
        -- one of root's is not removed by it
        as_nobody(("rm %s/run; mkdir %s/run"):format(place.theirs, place.theirs))
        rt = start(place, { args = { "--pidfile", place.theirs .. "/run/pid" } })
        as_nobody(("cd %s && mv run old && ln -s %s run"):format(place.theirs, place.roots))
        tempdir.write(place.roots .. "/pid", rt.pid .. "\n")
        assert.same({ exit = 0 }, rt:stop())
        assert.truthy(stat.lstat(place.roots .. "/pid"))
    end)
end)

describe("the socket in a directory of the user", function()
    it("is made and removed with the user's rights", function()
        local place = new_place()
        local path = place.theirs .. "/run/s"
        as_nobody(("mkdir %s/run"):format(place.theirs))
        local rt = start(place, { args = { "--socket", path }, socket = path })
        assert.same({ NOBODY, NOBODY }, { owner(path), owner(path .. ".lock") })
        as_nobody(("cd %s && mv run old && ln -s %s run"):format(place.theirs, place.roots))
        tempdir.write(place.roots .. "/s", "")
        tempdir.write(place.roots .. "/s.lock", "")
        wait.until_true(function()
            return rt:log():find("something is wrong with the socket's files", 1, true)
        end, 10, "a complaint")
        assert.same({ exit = 0 }, rt:stop())
        assert.same({ 0, 0 }, { owner(place.roots .. "/s"), owner(place.roots .. "/s.lock") })
    end)
end)

describe("a group that the user is not in", function()
    it("is named if the socket can't be given to it", function()
        local place = new_place()
        for option, wanted in pairs {
            ["--socket-group"] = { "www-data", "socket_group = www-data (gid ",
                "not a member of it", "join that group, start it as root" },
            ["--socket-user"] = { "root", "socket_user = root (uid 0)", "only root", "start it as "
                .. "root" },
        } do
            local r = process.run({ "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                process.dirty(), "serve", "--app", "apps.echo", "--socket", place.theirs .. "/s",
                option, wanted[1] }, { cwd = place.dir })
            assert.equal(3, r.exit, r.stderr)
            for i = 2, #wanted do
                contains(r.stderr, wanted[i])
            end
            assert.is_nil(stat.lstat(place.theirs .. "/s"))
            assert.is_nil(stat.lstat(place.theirs .. "/s.lock"))
        end
    end)
end)

describe("the configuration", function()
    local CONFIG = "workers = 1\napps = { 'user' }\nuser = 'nobody'\n"

    local function refused(place, path, ...)
        for _, command in ipairs { "serve", "check" } do
            local r = process.run_dirty({ command, "--config", path, "--socket",
                place.dir .. "/s" }, { cwd = place.dir })
            assert.equal(2, r.exit, r.stderr)
            contains(r.stderr, ("root runs the configuration %s, and others"):format(path))
            for i = 1, select("#", ...) do
                contains(r.stderr, (select(i, ...)))
            end
        end
    end

    local function taken(place, ...)
        local r = process.run_dirty({ "check", "--app", "user", ... }, { cwd = place.dir })
        assert.equal(0, r.exit, r.stdout .. r.stderr)
    end

    it("must be writable only by root if apps run as another user", function()
        local place = new_place()
        local path = tempdir.write(place.roots .. "/c.lua", CONFIG)
        assert(unistd.chown(path, NOBODY, NOBODY))
        refused(place, path, ("the file %s (mode 0644, owner 65534, group 65534) belongs to "
            .. "another user: chown root"):format(path))
        assert(unistd.chown(path, 0, 0))
        assert(stat.chmod(path, tonumber("666", 8)))
        refused(place, path, ("the file %s (mode 0666, owner 0, group 0) is writable by others: "
            .. "chmod go-w"):format(path))
        -- another could be put there
        refused(place, tempdir.write(place.theirs .. "/c.lua", CONFIG),
            ("the directory %s (mode 0755, owner 65534, group 65534) belongs to another user")
            :format(place.theirs))
        as_nobody(("ln -s %s %s/link.lua"):format(path, place.theirs))
        refused(place, place.theirs .. "/link.lua")
        assert(stat.chmod(path, tonumber("644", 8)))
        local r = process.run_dirty({ "check", "--config", path }, { cwd = place.dir })
        assert.equal(0, r.exit, r.stdout .. r.stderr)
        -- where everything is root's, it is said
        tempdir.write(path, "workers = 1\napps = { 'user' }\n")
        assert(unistd.chown(path, NOBODY, NOBODY))
        r = process.run_dirty({ "check", "--config", path }, { cwd = place.dir })
        contains(r.stdout, "warning: root runs the configuration")
    end)

    it("must be in a place where only root can replace it", function()
        local place = new_place()
        local path = tempdir.write(place.roots .. "/c.lua", CONFIG)
        assert(stat.chmod(place.roots, tonumber("777", 8)))
        refused(place, path, ("the directory %s (mode 0777, owner 0, group 0) is writable by "
            .. "others: chmod go-w"):format(place.roots))
        assert(stat.chmod(place.roots, tonumber("775", 8)))
        taken(place, "--config", path) -- root's own group
        assert(unistd.chown(place.roots, 0, NOBODY))
        refused(place, path, ("the directory %s (mode 0775, owner 0, group 65534)")
            :format(place.roots))
        -- on the way, too
        assert(stat.mkdir(place.roots .. "/in"))
        refused(place, tempdir.write(place.roots .. "/in/c.lua", CONFIG), place.roots .. " (mode")
        assert(stat.chmod(place.roots, tonumber("1777", 8)))
        taken(place, "--config", path)
        -- where others may have given one of root's that name
        assert(unistd.link(path, place.roots .. "/second"))
        refused(place, path, "has a second name")
    end)

    it("is refused before it runs if a flag sets the user", function()
        local place = new_place()
        local mark = place.roots .. "/run"
        local path = tempdir.write(place.roots .. "/c.lua", ("io.open(%q, 'w'):close()\n"):format(
            mark))
        assert(stat.chmod(path, tonumber("666", 8)))
        for _, command in ipairs { "serve", "check" } do
            local r = process.run_dirty({ command, "--config", path, "--user", "nobody", "--app",
                "user", "--socket", place.dir .. "/s" }, { cwd = place.dir })
            assert.equal(2, r.exit, r.stderr)
            contains(r.stderr, "root runs the configuration " .. path)
            assert.is_nil(stat.lstat(mark))
        end
    end)

    it("is judged by what it was before it ran", function()
        local place = new_place()
        local path = place.roots .. "/c.lua"
        tempdir.write(path, CONFIG .. ("os.execute('chmod 644 %s')\n"):format(path))
        assert(stat.chmod(path, tonumber("666", 8)))
        local r = process.run_dirty({ "check", "--config", path }, { cwd = place.dir })
        assert.equal(2, r.exit, r.stderr)
        contains(r.stderr, "mode 0666")
    end)

    it("can be absent, or a pipe", function()
        local place = new_place()
        taken(place, "--config", "/dev/null", "--user", "nobody")
        local r = process.run({ "sh", "-c", ("echo workers=3 | %s config --config /dev/stdin")
            :format(process.dirty()) }, { cwd = place.dir })
        assert.equal(0, r.exit, r.stderr)
        contains(r.stdout, "workers = 3")
    end)

    it("is not run again by root once others can change it", function()
        local place = new_place()
        local path = tempdir.write(place.roots .. "/c.lua", CONFIG)
        local rt = start(place, { args = { "--config", path } })
        tempdir.write(path, CONFIG .. ("io.open(%q, 'w'):close()\n"):format(place.roots
            .. "/planted"))
        assert(unistd.chown(path, NOBODY, NOBODY))
        new_arbiter(rt)
        contains(rt:log(), "serving with the one of the start")
        contains(rt:log(), "root runs the configuration")
        assert.is_nil(stat.lstat(place.roots .. "/planted"))
    end)
end)

describe("root without another user", function()
    it("keeps the socket private in a directory of another user", function()
        local place = new_place()
        local path = place.theirs .. "/s"
        local rt = runtime.launch { apps = { "apps.echo" }, args = { "--socket", path,
            "--log-file", place.theirs .. "/log" } }
        defer(function() rt:close() end)
        rt.socket = path
        wait.until_true(function()
            return rt:is_ready(tempdir.read(place.theirs .. "/log") or "")
        end, 20, "ready")
        assert.equal(0, owner(path))
        assert.equal(tonumber("600", 8), stat.lstat(path).st_mode % 512)
        as_nobody(("cd %s && mv log log.1 && ln -s %s/target log"):format(place.theirs,
            place.roots))
        assert.equal(3, rt:command("reopen-logs").exit)
        assert.same({ exit = 0 }, rt:stop())
        assert.is_nil(stat.lstat(place.roots .. "/target"))
    end)
end)
