-- A running runtime whose files are replaced: it uses what it has read at its start.
local installation = require "support.installation"
local load = require "support.load"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local install, shell = installation.install, installation.shell

-- It uses what the runtime brings for apps: JSON, the client, the context of a call.
local APP = [[
    local cjson = require "cjson"
    local safe = require "cjson.safe"
    local dirty = require "dirty"
    local app = dirty.app()
    function app:answer(value)
        return { value = value, text = cjson.encode(safe.decode "[1.5]"), app = "first" }
    end
    function app:nested(socket)
        return (require "dirty".client { socket = socket }:execute("shop", "answer", 2)).value
    end
    function app:fail() error "oh" end
    return app]]

-- What may become of all files of the installation.
local FATES = {
    deleted = [[find "$1" -type f -delete]],
    -- the command itself can't be written to while it runs: it is replaced, as packages do it
    ["overwritten with garbage"] = [[
        find "$1" -type f ! -path "*/bin/dirty" |
            while read -r file; do echo "garbage )(" >"$file"; done
        rm "$1/bin/dirty" && echo garbage >"$1/bin/dirty"]],
}

for fate, command in pairs(FATES) do
    describe("a runtime whose files are " .. fate, function()
        local dir, rt, callers

        before_each(function()
            dir = tempdir.new()
            rt = runtime.start { program = install(dir), config = "workers = 2\napps = { 'shop' }",
                files = { ["shop.lua"] = APP } }
        end)

        after_each(function()
            if callers then
                callers:stop()
            end
            rt:close()
            tempdir.remove(dir)
            callers = nil
        end)

        local function kill_workers()
            for _, worker in ipairs(rt:status().workers) do
                if type(worker.pid) == "number" then -- else it is between two processes
                    signal.kill(worker.pid, signal.SIGKILL)
                end
            end
        end

        local function assert_serves()
            local client = rt:client()
            local answer = wait.until_true(function()
                return (client:execute("shop", "answer", 1.5))
            end, 20, "an answer")
            assert.same({ value = 1.5, text = "[1.5]", app = "first" }, answer)
            assert.equal(2, (client:execute("shop", "nested", rt.socket)))
            local _, err = client:execute("shop", "fail")
            assert.truthy(tostring(err):find("shop.lua", 1, true))
        end

        local function wait_ready()
            wait.until_true(function()
                local status = rt:call("@arbiter", "status")
                if not status then
                    return false
                end
                local ready = 0
                for _, worker in ipairs(status.workers) do
                    ready = ready + (worker.state == "ready" and 1 or 0)
                end
                return ready == 2
            end, 20, "two ready workers")
        end

        it("replaces its workers, under load", function()
            callers = load.start(rt.socket, 2, function(client)
                local answer, err, info = client:execute("shop", "answer", 1)
                return answer or info.code == "WORKER_LOST" or info.code == "CONNECTION", err
            end)
            shell(command, dir)
            for _ = 1, 3 do
                wait_ready()
                kill_workers()
            end
            wait_ready()
            assert_serves()
            local report = callers:stop()
            callers = nil
            assert.same({}, report.failures)
        end)

        it("reloads", function()
            shell(command, dir)
            tempdir.write(rt.dir .. "/shop.lua", (APP:gsub('"first"', '"second"')))
            assert.is_truthy(rt:call("@arbiter", "reload"))
            local client = rt:client()
            wait.until_true(function()
                local answer = client:execute("shop", "answer", 1)
                return answer and answer.app == "second"
            end, 20, "the new app")
        end)

        it("gets another arbiter", function()
            shell(command, dir)
            local pid = rt:status().arbiter.pid
            signal.kill(pid, signal.SIGKILL)
            wait.until_true(function()
                local status = rt:call("@arbiter", "status")
                return status and status.arbiter.pid ~= pid
            end, 20, "another arbiter")
            assert_serves()
        end)
    end)
end
