--- Every failure that a caller can meet, brought about on a runtime of its own: what documents
-- say of them is held against it.
-- @module support.failures

local dirty = require "dirty"
local process = require "support.process"
local raw = require "support.raw"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local _M = {}

local CONFIG = [[
    workers = 1
    socket_mode = "0666"
    max_memory = "32m"
    max_message = 1000000
    apps = { "apps.echo", moody = { module = "moody", max_queue = 1 } }
]]

-- It can't boot while a file is there, and takes all the memory that it gets.
local MOODY = [[
    local dir = debug.getinfo(1, "S").source:match("@(.*)/")
    local Moody = {}
    function Moody:init()
        if io.open(dir .. "/broken") then
            error "no such model"
        end
    end
    function Moody:show(text) return text:upper() end
    function Moody:hoard()
        local kept = {}
        for i = 1, 1e9 do kept[i] = { i } end
    end
    return Moody
]]

local function running(rt)
    local lane = rt:status().workers[1].lanes[1]
    return lane.app and lane or nil
end

-- Have the one lane busy; the call that does it. A call that was answered just now may be
-- shown a moment longer, so it is told apart by its caller.
local function occupy(rt)
    local call = rt:start_call("apps.echo", "sleep", "60000")
    wait.until_true(function()
        local lane = running(rt)
        return lane and lane.caller_pid == call.pid
    end, 10, "a call runs")
    return call
end

local function free(rt, call)
    assert(rt:call("@arbiter", "cancel", 1))
    call:wait()
    call:close()
    wait.until_true(function() return not running(rt) end, 10, "the lane is free")
end

-- Ways to fail, in the order in which they are gone: each gives err, info of a caller, or
-- the words that `dirty call` has for them.
local ways = {}

local function way(name, provoke)
    ways[#ways + 1] = { name = name, provoke = provoke }
end

local function of_call(_, err, info)
    return err, info
end

local function of_command(r)
    return r.stderr:match("^dirty: ([^\n]*)"), { exit = r.exit }
end

way("APP", function(rt) return of_call(rt:call("moody", "show")) end)
way("APP_NOT_FOUND", function(rt) return of_call(rt:call("apps.eco", "echo")) end)
way("ACTION_NOT_FOUND", function(rt) return of_call(rt:call("apps.echo", "eccho")) end)
way("TIMEOUT", function(rt)
    return of_call(rt:client({ timeout = 0.2 }):execute("apps.echo", "sleep", 60000))
end)
way("TIMEOUT in the queue", function(rt)
    local call = occupy(rt)
    local _, err, info = rt:client({ timeout = 0.2 }):execute("apps.echo", "noop")
    free(rt, call)
    return err, info
end)
way("OVERLOADED", function(rt)
    local call = occupy(rt)
    local waiting = rt:start_call("moody", "show", "x")
    wait.until_true(function() return rt:status().queue.length == 1 end, 10, "one waits")
    local _, err, info = rt:call("moody", "show", "x")
    free(rt, call)
    waiting:wait()
    waiting:close()
    return err, info
end)
way("CANCELLED", function(rt)
    local call = occupy(rt)
    assert(rt:call("@arbiter", "cancel", 1))
    local exit = call:wait().exit
    local r = { exit = exit, stderr = call:stderr() }
    call:close()
    return of_command(r)
end)
way("MEMORY", function(rt) return of_call(rt:call("moody", "hoard")) end)
way("WORKER_LOST", function(rt) return of_call(rt:call("apps.echo", "crash")) end)
way("PROTOCOL", function(rt)
    return of_call(dirty.client({ socket = rt.socket, max_message = 2000000 }):execute(
        "apps.echo", "length", ("x"):rep(1500000)))
end)
way("PROTOCOL of a stream", function(rt) return of_call(rt:call("apps.echo", "count", 2)) end)
way("PROTOCOL of bytes", function(rt)
    local conn = raw.connect(rt.socket)
    conn:send("GET / HTTP/1.1\r\n\r\n")
    local _, _, answer = conn:frame()
    unistd.close(conn.fd)
    return "PROTOCOL: " .. answer.message, {}
end)
way("DENIED", function(rt)
    if unistd.geteuid() ~= 0 then
        return nil
    end
    process.run { "chmod", "0755", rt.dir }
    return of_command(process.run { "setpriv", "--reuid=65534", "--regid=65534",
        "--clear-groups", process.dirty(), "stop", "-s", rt.socket })
end)
way("NO_WORKERS", function(rt)
    tempdir.write(rt.dir .. "/broken", "")
    rt:call("apps.echo", "crash")
    wait.until_true(function() return rt:status().apps.moody.circuit == "open" end, 20,
        "an open circuit")
    local _, err, info = rt:call("moody", "show", "x")
    os.remove(rt.dir .. "/broken")
    wait.until_true(function() return rt:call("apps.echo", "length", "x") end, 20, "a worker")
    return err, info
end)
way("SHUTDOWN", function(rt)
    local call = occupy(rt)
    rt:signal(signal.SIGQUIT)
    local exit = call:wait().exit
    local r = { exit = exit, stderr = call:stderr() }
    call:close()
    rt:wait()
    return of_command(r)
end)
way("CONNECTION", function(rt) return of_call(rt:call("apps.echo", "noop")) end)

--- Bring all of them about.
-- @treturn table by name (a code, or a code and words): `err` (what a caller is given, the
--   code first) and `info`; without DENIED where this is not root
function _M.provoke()
    local rt = runtime.start { config = CONFIG, files = { ["moody.lua"] = MOODY } }
    local seen = {}
    local ok, failure = pcall(function()
        for _, w in ipairs(ways) do
            local err, info = w.provoke(rt)
            seen[w.name] = err and { err = err, info = info }
        end
    end)
    rt:close()
    if not ok then
        error(failure, 0)
    end
    return seen
end

-- -- Words of documents ------------------------------------------------------------------

-- Names in the failures above and in documents: apps, then actions.
local APPS = { "apps%.%w+", "moody", "words", "wrods" }
local ACTIONS = { "sleep", "noop", "crash", "show", "hoard", "eccho", "echo", "count", "longest",
    "longst" }

-- What is left of a message without its names, numbers and paths.
local function plain(words)
    words = words:gsub("[%w./_-]+%.lua:%d+", "FILE"):gsub("/[%w./_-]+%.sock", "SOCKET")
    for _, name in ipairs(APPS) do
        words = words:gsub("%f[%w]" .. name .. "%f[^%w]", "APP")
    end
    for _, name in ipairs(ACTIONS) do
        words = words:gsub("%f[%w]" .. name .. "%f[^%w]", "ACTION")
    end
    return (words:gsub("%d+", "N"))
end

--- The failure that a message is of, whatever its names and numbers; "…" stands for any words.
-- @tparam table seen as `provoke` gives it
-- @tparam string words the message, without its code
-- @treturn string|nil the failure's name
function _M.find(seen, words)
    local wanted = plain(words):gsub("[%p%%]", "%%%0"):gsub("…", ".*")
    for name, failure in pairs(seen) do
        local message = plain(failure.err):gsub("^[A-Z_]+: ", "")
        if message:find("^" .. wanted .. "$") then
            return name
        end
    end
end

return _M
