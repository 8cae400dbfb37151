--- Formats the status of a runtime for people.
--
-- The page shows what the answer has and leaves out what it has not: the answer may come from a
-- runtime of another version.
-- @module dirty.cli.status_page

local cjson = require "cjson"
local units = require "dirty.units"

local _M = {}

local function table_of(value)
    return type(value) == "table" and value or {}
end

local function text(value)
    return value ~= nil and value ~= cjson.null and tostring(value) or "-"
end

-- A time in ms; nil if it is absent or not a number.
local function from_ms(value)
    local ms = tonumber(value)
    return ms and units.duration(ms / 1000)
end

local function is_above_zero(value)
    return (tonumber(value) or 0) > 0
end

-- Lines with aligned columns. The last column is not padded.
local function columns(rows)
    local widths, out = {}, {}
    for _, row in ipairs(rows) do
        for i = 1, #row - 1 do
            widths[i] = math.max(widths[i] or 0, #row[i])
        end
    end
    for _, row in ipairs(rows) do
        local line = {}
        for i, cell in ipairs(row) do
            line[i] = i < #row and cell .. (" "):rep(widths[i] - #cell) or cell
        end
        out[#out + 1] = ("  " .. table.concat(line, "  ")):gsub("%s+$", "")
    end
    return out
end

local function sorted(map)
    local keys = {}
    for key in pairs(map) do
        keys[#keys + 1] = key
    end
    table.sort(keys, function(a, b)
        return tostring(a) < tostring(b)
    end)
    return keys
end

local function words(list)
    local out = {}
    for i, word in ipairs(table_of(list)) do
        out[i] = text(word)
    end
    return table.concat(out, " ")
end

local function counts(map)
    local out = {}
    for _, key in ipairs(sorted(map)) do
        if type(map[key]) == "number" and map[key] ~= 0 then
            out[#out + 1] = ("%s %d"):format(key, map[key])
        end
    end
    return table.concat(out, ", ")
end

-- -- The version -----------------------------------------------------------------------------

-- A line if the runtime is of another version than the command.
local function version_lines(status, installed)
    local running = table_of(status.versions).dirty
    if type(running) ~= "string" or not installed or running == installed then
        return {}
    end
    return { ("version %s runs, %s is installed: `dirty upgrade` puts it in place"):format(running,
        installed) }
end

-- -- The arbiter -----------------------------------------------------------------------------

local function arbiter_lines(status)
    local a, q = table_of(status.arbiter), table_of(status.queue)
    local out = {
        ("arbiter pid %s, %s, up %s, socket %s"):format(text(a.pid), text(a.state),
            units.duration(a.uptime_s), text(a.socket)),
        ("  %s connections, %s resident, queue %s of %s%s"):format(text(a.sessions),
            units.size(a.rss_bytes), text(q.length), text(q.limit),
            is_above_zero(q.oldest_ms) and (", oldest waits %s"):format(from_ms(q.oldest_ms))
                or ""),
    }
    if a.supervisor_pid then
        out[3] = ("  under supervisor pid %s%s"):format(text(a.supervisor_pid),
            is_above_zero(a.restarts) and (", restarted %s times%s, last after: %s"):format(
                text(a.restarts),
                is_above_zero(a.hangs) and (" (%s had hung)"):format(text(a.hangs)) or "",
                text(a.last_exit)) or "")
    end
    if type(a.socket_trouble) == "string" then
        out[#out + 1] = ("  socket: %s"):format(a.socket_trouble)
    end
    local log = table_of(status.log)
    if type(log.trouble) == "string" then
        out[#out + 1] = ("  log: it can't be reopened: %s: %s"):format(tostring(log.file),
            log.trouble)
    end
    return out
end

local function roll_end(last)
    return ("reload %s: %s, %s ago%s"):format(text(last.number), text(last.result),
        units.duration(last.ago_s), last.reason ~= "" and ": " .. text(last.reason) or "")
end

local function reload_lines(status)
    local reload, out = table_of(status.reload), {}
    if reload.state ~= nil and reload.state ~= "idle" then
        out[1] = ("reload %s: %s"):format(text(reload.number), text(reload.state))
    end
    local last = table_of(reload.last)
    if last.number then
        out[#out + 1] = roll_end(last)
    end
    return out
end

-- -- Workers ---------------------------------------------------------------------------------

local function lane_text(lane)
    if not lane.app then
        return text(lane.state)
    end
    return ("%s %s.%s for %s"):format(text(lane.state), text(lane.app), text(lane.action),
        from_ms(lane.running_ms) or "-")
end

local function worker_row(worker, lane, number)
    local first = number == 1
    local function once(value)
        return first and value or ""
    end
    return {
        once(text(worker.number)), once(text(worker.pid)), once(text(worker.state)),
        once(units.duration(worker.uptime_s)), once(text(worker.generation)),
        once(text(worker.plan)), text(lane.lane or number), text(lane.served),
        units.size(lane.lua_bytes), lane_text(lane), once(words(worker.apps)),
    }
end

-- What is wrong in the worker's slot; nil if nothing is.
local function trouble_of(worker)
    local out = {}
    local last_exit = text(worker.last_exit)
    if last_exit ~= "-" and last_exit ~= "exit status 0" then
        out[#out + 1] = "last exit: " .. last_exit
    end
    if is_above_zero(worker.boot_failures) then
        out[#out + 1] = ("%s boots failed in a row"):format(text(worker.boot_failures))
    end
    if worker.circuit == "open" then
        out[#out + 1] = "circuit open"
    end
    if is_above_zero(worker.retry_in_ms) then
        out[#out + 1] = "next boot in " .. from_ms(worker.retry_in_ms)
    end
    return #out > 0 and ("  worker %s: %s"):format(text(worker.number),
        table.concat(out, "; ")) or nil
end

local function worker_lines(status)
    local rows = { { "WORKER", "PID", "STATE", "UP", "GEN", "PLAN", "LANE", "SERVED", "LUA",
        "DOING", "APPS" } }
    local troubles, told = {}, {}
    for _, entry in ipairs(table_of(status.workers)) do
        local worker = table_of(entry)
        local lanes = table_of(worker.lanes)
        for i = 1, math.max(1, #lanes) do
            rows[#rows + 1] = worker_row(worker, table_of(lanes[i]), i)
        end
        local number = text(worker.number)
        if not told[number] then -- an old worker and its replacement share a slot
            troubles[#troubles + 1] = trouble_of(worker)
            told[number] = true
        end
    end
    local out = columns(rows)
    for _, line in ipairs(troubles) do
        out[#out + 1] = line
    end
    return out
end

-- -- Apps, counters --------------------------------------------------------------------------

local function app_circuit(app)
    if app.circuit == "open" then
        return "open" .. (is_above_zero(app.retry_in_ms)
            and ", retry in " .. from_ms(app.retry_in_ms) or "")
    end
    return text(app.circuit)
end

local function app_lines(status)
    local rows = { { "APP", "READY", "CIRCUIT", "QUEUED", "OLDEST", "TIMEOUT", "ANSWERED", "MEAN",
        "ERRORS" } }
    local apps = table_of(status.apps)
    for _, name in ipairs(sorted(apps)) do
        local app = table_of(apps[name])
        rows[#rows + 1] = {
            text(name), ("%s of %s"):format(text(app.ready), text(app.workers)), app_circuit(app),
            ("%s of %s"):format(text(app.queued), text(app.max_queue)),
            is_above_zero(app.oldest_ms) and from_ms(app.oldest_ms) or "-",
            tonumber(app.timeout_ms) == 0 and "none" or from_ms(app.timeout_ms) or "-",
            text(app.values),
            app.run_ms_mean and ("%.1f ms"):format(tonumber(app.run_ms_mean) or 0) or "-",
            counts(table_of(app.errors)),
        }
    end
    local out = columns(rows)
    for _, name in ipairs(sorted(apps)) do
        local apart = table_of(apps[name]).apart
        if type(apart) == "string" then
            out[#out + 1] = ("  app %s can't boot and is quarantined: %s"):format(text(name),
                text(apart))
        end
    end
    return out
end

local function counter_lines(status)
    local counters = table_of(status.counters)
    local errors = counts(table_of(counters.errors))
    return {
        "counters: " .. (counts(counters) ~= "" and counts(counters) or "nothing yet"),
        "errors: " .. (errors ~= "" and errors or "none"),
    }
end

--- Format the page.
-- @tparam table status the decoded answer of `@arbiter` `status`
-- @tparam[opt] string installed the version of this command
-- @treturn {string,...} its lines, which contain text of others
function _M.lines(status, installed)
    local out = {}
    for _, part in ipairs { version_lines, arbiter_lines, reload_lines, worker_lines, app_lines,
        counter_lines } do
        for _, line in ipairs(part(status, installed)) do
            out[#out + 1] = line
        end
    end
    return out
end

--- Say why the runtime is not ready.
-- @tparam table status
-- @treturn nil|string the reason; nil if it is ready
function _M.not_ready(status)
    if status.ready == true then
        return nil
    end
    local state = text(table_of(status.arbiter).state)
    local out = {}
    for _, name in ipairs(sorted(table_of(status.apps))) do
        local app = table_of(status.apps[name])
        if app.ready == 0 then
            out[#out + 1] = ("app %s has no ready worker (of %s)%s"):format(text(name),
                text(app.workers), app.circuit == "open" and ", its circuit is open" or "")
        end
    end
    if #out == 0 then
        return "the runtime is " .. state
    end
    return ("the runtime is %s: %s"):format(state, table.concat(out, "; "))
end

return _M
