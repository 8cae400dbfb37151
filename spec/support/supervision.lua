--- What the specs of the supervisor share: an app that starts processes, and waits for processes.
local runtime = require "support.runtime"
local signal = require "posix.signal"
local wait = require "support.wait"

local _M = {}

--- Fail unless `part` is in the text.
function _M.contains(text, part)
    assert(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

-- What a test has to undo, the last first, however it ends.
local undone = {}

--- Undo something when the test ends, however it ends.
function _M.defer(undo)
    undone[#undone + 1] = undo
end

--- Undo it all; call it after each test.
function _M.undo()
    while #undone > 0 do
        pcall(table.remove(undone))
    end
end

--- Send a signal.
function _M.kill(pid, number)
    assert(signal.kill(pid, number))
end

-- An app that starts processes of its own: in its group, and out of session and family.
local SPAWNER = [[
local app = {}
function app:spawn(seconds)
    os.execute("sleep " .. seconds .. " &")
    os.execute("setsid sh -c 'sleep " .. seconds .. " & sleep " .. seconds .. "' &")
    return true
end
return app]]

--- Start a runtime with the app above.
function _M.start_spawner(o)
    o = o or {}
    o.apps, o.files = { "apps.echo", "spawner" }, { ["spawner.lua"] = SPAWNER }
    o.args = o.args or { "--workers", "2" }
    return runtime.start(o)
end

--- All processes of the tree, once the app's four are among them.
function _M.spawn_children(rt, seconds)
    assert(rt:call("spawner", "spawn", seconds))
    local found
    wait.until_true(function()
        found = 0
        for _, entry in ipairs(rt:tree()) do
            found = found + (entry.title:find("^sleep " .. seconds .. "$") and 1 or 0)
        end
        return found == 3
    end, 10, function() return "three sleeping children, there are " .. found end)
    return rt:tree()
end

--- A status of another arbiter than the one with this pid.
function _M.wait_for_another(rt, old_pid, seconds)
    local status
    wait.until_true(function()
        status = rt:call("@arbiter", "status")
        return status and status.arbiter.pid ~= old_pid
    end, seconds or 10, "another arbiter")
    return status
end

--- Wait for a lane that runs the action.
function _M.wait_busy(rt, action)
    wait.until_true(function()
        for _, worker in ipairs(rt:status().workers) do
            if worker.lanes[1].action == action then
                return true
            end
        end
    end, 10, "a lane that runs " .. action)
end

return _M
