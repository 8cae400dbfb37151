-- What docs/promises.md says that no other spec shows on the running system, by an app such as
-- people write: models that are loaded once and asked many times.
local document = require "support.document"
local process = require "support.process"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local wait = require "support.wait"

-- The models of an app. What a model is does not matter here: a name and a number.
local MODELS = [[
local dirty = require "dirty"
local ffi = require "ffi"
ffi.cdef "int getpid(void); unsigned long pthread_self(void);"

local Models = dirty.app { timeout = 20 }

function Models:init(options)
    self.models = {}
    for _, name in ipairs(options.preload or { "base" }) do
        self:load_model(name)
    end
end

function Models:load_model(name, options)
    local known = self.models[name] ~= nil
    self.models[name] = self.models[name] or { weight = options and options.weight or 1 }
    return { loaded = true, name = name, known = known }
end

function Models:inference(name, input)
    local model = self.models[name]
    if not model then
        error("model not loaded: " .. name)
    end
    return #input * model.weight
end

function Models:where() return ffi.C.getpid() end

-- Wait for a file; who waits is told by another.
function Models:hold(dir, name)
    io.open(dir .. "/" .. name .. ".holds", "w"):close()
    while not io.open(dir .. "/" .. name .. ".go") do dirty.check() end
    return name
end

function Models:broken() return { rows = { { callback = print } } } end

return { Models = Models, Other = { who = function() return "other" end }, plain = print,
    who = function() return "the module" end }
]]

local rt

local function start(o)
    o.files = { ["ml.lua"] = MODELS }
    rt = runtime.start(o)
end

local function there(name)
    return process.run({ "test", "-e", rt.dir .. "/" .. name }).exit == 0
end

local function go(name)
    io.open(rt.dir .. "/" .. name .. ".go", "w"):close()
end

-- Begin a call that waits for `go`.
local function hold(name)
    local call = rt:start_call("ml:Models", "hold", rt.dir, name)
    wait.until_true(function() return there(name .. ".holds") end, 20, name .. " runs")
    return call
end

local function worker_of(action_pid)
    for _, worker in ipairs(rt:status().workers) do
        if worker.pid == action_pid then
            return worker
        end
    end
end

describe("an app with state", function()
    after_each(function()
        if rt then
            rt:close()
        end
    end)

    it("keeps what it has loaded from call to call, as long as its lane lives", function()
        start { apps = { "ml:Models" }, args = { "--workers", "1" } }
        assert.equal(5, rt:call("ml:Models", "inference", "base", "hello"))
        assert.is_false(rt:call("ml:Models", "load_model", "big", { weight = 3 }).known)
        assert.is_true(rt:call("ml:Models", "load_model", "big").known)
        assert.equal(15, rt:call("ml:Models", "inference", "big", "hello"))
        local pid = rt:call("ml:Models", "where")
        signal.kill(pid, signal.SIGKILL)
        -- a new object, which init has filled again
        wait.until_true(function() return rt:call("ml:Models", "where") end, 20, "a new worker")
        assert.are_not.equal(pid, rt:call("ml:Models", "where"))
        assert.equal(5, rt:call("ml:Models", "inference", "base", "hello"))
        local _, err, info = rt:call("ml:Models", "inference", "big", "hello")
        assert.matches("^APP: .*ml%.lua:%d+: model not loaded: big$", err)
        assert.matches("ml%.lua:%d+: in function", info.traceback)
    end)

    it("is given its options, and calls take theirs as a table", function()
        start { config = [[
            workers = 1
            apps = { models = { module = "ml", object = "Models",
                options = { preload = { "small", "large" } } } }]] }
        assert.is_true(rt:call("models", "load_model", "large").known)
        assert.is_false(rt:call("models", "load_model", "huge", { weight = 100 }).known)
        assert.equal(200, rt:call("models", "inference", "huge", "hi"))
    end)

    it("is named by its module, or by an object in it, each in so many workers", function()
        start { apps = { "ml", "ml:Models:2", "ml:Other:1" }, args = { "--workers", "3" } }
        assert.equal("the module", rt:call("ml", "who"))
        assert.equal("other", rt:call("ml:Other", "who"))
        local hosts = {}
        for _, worker in ipairs(rt:status().workers) do
            for _, app in ipairs(worker.apps) do
                hosts[app] = (hosts[app] or 0) + 1
            end
        end
        assert.same({ ml = 3, ["ml:Models"] = 2, ["ml:Other"] = 1 }, hosts)
    end)

    it("answers an action that it has not with its name, and tells what can't be sent", function()
        start { apps = { "ml:Models" }, args = { "--workers", "1" } }
        local _, err, info = rt:call("ml:Models", "inferences")
        assert.equal("ACTION_NOT_FOUND: app 'ml:Models' has no action 'inferences' "
            .. "(did you mean 'inference'?)", err)
        assert.equal("no", info.started)
        _, err, info = rt:call("ml:Models", "broken")
        assert.equal("APP: result 1: .rows[1].callback is a function, and can't be sent", err)
        assert.equal("APP", info.code)
    end)
end)

describe("workers", function()
    after_each(function()
        if rt then
            rt:close()
        end
    end)

    it("that are killed take their own call with them and no other", function()
        start { apps = { "ml:Models" }, args = { "--workers", "2" } }
        local idle = rt:client()
        assert(idle:execute("ml:Models", "load_model", "base"))
        local one, two = hold "one", hold "two"
        local victim
        for _, worker in ipairs(rt:status().workers) do
            victim = victim or worker.pid
        end
        signal.kill(victim, signal.SIGKILL)
        wait.until_true(function() return one:ended() or two:ended() end, 20, "one is told")
        local lost, other, name = one, two, "two"
        if two:ended() then
            lost, other, name = two, one, "one"
        end
        assert.same({ exit = 1 }, lost:wait())
        assert.matches("WORKER_LOST: worker %d+ %(pid " .. victim .. "%) was killed by signal 9",
            lost:stderr())
        go(name)
        assert.same({ exit = 0 }, other:wait())
        assert.equal(name, other:stdout())
        assert.is_true(idle:execute("ml:Models", "load_model", "base").known)
        assert.is_nil(worker_of(victim))
    end)

    it("of several threads run as many calls at a time", function()
        start { apps = { "ml:Models" }, args = { "--workers", "1", "--threads", "2" } }
        local one, two = hold "one", hold "two" -- both run before either may end
        local busy = 0
        for _, lane in ipairs(rt:status().workers[1].lanes) do
            busy = busy + (lane.action == "hold" and 1 or 0)
        end
        assert.equal(2, busy)
        go "two"
        assert.same({ exit = 0 }, two:wait())
        assert.is_false(one:ended())
        go "one"
        assert.same({ exit = 0 }, one:wait())
    end)

    it("are seen by ps with their numbers and apps", function()
        start { apps = { "ml:Models", "ml:Other:1" }, args = { "--workers", "2" } }
        local out = process.run({ "ps", "-eo", "pid,args" }).stdout
        local status = rt:status()
        assert.matches("\n *" .. status.arbiter.pid .. " dirty: arbiter", out)
        for _, worker in ipairs(status.workers) do
            local title = ("%d dirty: worker %d [%s]"):format(worker.pid, worker.number,
                table.concat(worker.apps, " "))
            assert.truthy(out:find(title, 1, true), title .. " is not in\n" .. out)
        end
    end)
end)

describe("get_client", function()
    it("gives the client of the process, which blocks", function()
        start { apps = { "ml:Models" }, args = { "--workers", "1" } }
        finally(function() rt:close() end)
        local r = process.run({ process.LUAJIT, "-e", [[
            local dirty = require "dirty"
            local client = dirty.get_client()
            assert(client == dirty.get_client())
            print(assert(client:execute("ml:Models", "inference", "base", "four")))]] },
            { env = { DIRTY_SOCKET = rt.socket } })
        assert.equal("", r.stderr)
        assert.equal("4\n", r.stdout)
    end)
end)

describe("docs/promises.md", function()
    local tests = document.text "spec/promises.md"

    -- The promises of the document, in order, each in one line.
    local function promises()
        local all = {}
        for line in document.text("docs/promises.md"):gmatch "[^\n]+" do
            local first, more = line:match "^%- (.*)$", line:match "^  (%S.*)$"
            if first then
                all[#all + 1] = first
            elseif more then
                all[#all] = all[#all] .. " " .. more
            end
        end
        return all
    end

    it("has the promises of spec/promises.md", function()
        local listed = {}
        for _, row in ipairs(document.rows(tests)) do
            listed[#listed + 1] = row[1]
        end
        assert.is_true(#listed >= 30)
        assert.same(listed, promises())
    end)

    it("has tests that there are in spec/promises.md, for each promise", function()
        for _, row in ipairs(document.rows(tests)) do
            local count = document.each_test(row[2], function(path, name)
                assert.is_true(document.has_test(path, name), ("%s: %s: %s"):format(row[1],
                    tostring(path), name))
            end)
            assert.is_true(count > 0, row[1])
        end
    end)
end)
