--- `dirty status`: what the runtime is doing, for people or as JSON.
--
-- The page shows what the answer has and passes over what it has not: it may come from a
-- runtime of another version.
-- @module dirty.cli.status

local cjson = require "cjson"
local exit = require "dirty.cli.exit"
local socket = require "dirty.cli.socket"

local _M = {}

local function table_of(value)
    return type(value) == "table" and value or {}
end

local function text(value)
    return value ~= nil and value ~= cjson.null and tostring(value) or "-"
end

--- A time for people.
-- @tparam number|nil seconds
-- @treturn string "1.5 s", "12 m 3 s", "2 d 4 h"
function _M.duration(seconds)
    if type(seconds) ~= "number" then
        return "-"
    elseif seconds < 60 then
        return ("%.1f s"):format(seconds)
    elseif seconds < 3600 then
        return ("%d m %d s"):format(seconds / 60, seconds % 60)
    elseif seconds < 86400 then
        return ("%d h %d m"):format(seconds / 3600, seconds % 3600 / 60)
    end
    return ("%d d %d h"):format(seconds / 86400, seconds % 86400 / 3600)
end

--- A size for people.
-- @tparam number|nil bytes
-- @treturn string "512 B", "1.5 MB"
function _M.size(bytes)
    if type(bytes) ~= "number" then
        return "-"
    end
    for _, unit in ipairs { { 1e9, "GB" }, { 1e6, "MB" }, { 1e3, "kB" } } do
        if bytes >= unit[1] then
            return ("%.1f %s"):format(bytes / unit[1], unit[2])
        end
    end
    return ("%d B"):format(bytes)
end

-- Lines with their columns under each other; the last column is as long as it is.
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

local function arbiter_lines(status)
    local a, q = table_of(status.arbiter), table_of(status.queue)
    return {
        ("arbiter pid %s, %s, up %s, socket %s"):format(text(a.pid), text(a.state),
            _M.duration(a.uptime_s), text(a.socket)),
        ("  %s connections, %s resident, queue %s of %s%s"):format(text(a.sessions),
            _M.size(a.rss_bytes), text(q.length), text(q.limit),
            (tonumber(q.oldest_ms) or 0) > 0
                and (", oldest waits %s"):format(_M.duration(q.oldest_ms / 1000)) or ""),
    }
end

local function lane_text(lane)
    if not lane.app then
        return text(lane.state)
    end
    return ("%s %s.%s for %s"):format(text(lane.state), text(lane.app), text(lane.action),
        _M.duration((tonumber(lane.running_ms) or 0) / 1000))
end

local function worker_lines(status)
    local rows = { { "WORKER", "PID", "STATE", "UP", "LANE", "SERVED", "LUA", "DOING", "APPS" } }
    for _, entry in ipairs(table_of(status.workers)) do
        local worker = table_of(entry)
        local lanes = table_of(worker.lanes)
        for i = 1, math.max(1, #lanes) do
            local lane = table_of(lanes[i])
            local first = i == 1
            rows[#rows + 1] = {
                first and text(worker.number) or "", first and text(worker.pid) or "",
                first and text(worker.state) or "", first and _M.duration(worker.uptime_s) or "",
                text(lane.lane or (lanes[i] and i)), text(lane.served), _M.size(lane.lua_bytes),
                lane_text(lane), first and words(worker.apps) or "",
            }
        end
    end
    return columns(rows)
end

local function app_lines(status)
    local rows = { { "APP", "WORKERS", "QUEUED", "TIMEOUT", "ANSWERED", "MEAN", "ERRORS" } }
    local apps = table_of(status.apps)
    for _, name in ipairs(sorted(apps)) do
        local app = table_of(apps[name])
        local timeout = tonumber(app.timeout_ms)
        rows[#rows + 1] = {
            text(name), text(app.workers),
            ("%s of %s"):format(text(app.queued), text(app.max_queue)),
            timeout == 0 and "none" or _M.duration(timeout and timeout / 1000),
            text(app.values),
            app.run_ms_mean and ("%.1f ms"):format(tonumber(app.run_ms_mean) or 0) or "-",
            counts(table_of(app.errors)),
        }
    end
    return columns(rows)
end

local function counter_lines(status)
    local counters = table_of(status.counters)
    local errors = counts(table_of(counters.errors))
    return {
        "counters: " .. (counts(counters) ~= "" and counts(counters) or "nothing yet"),
        "errors: " .. (errors ~= "" and errors or "none"),
    }
end

--- The page for people.
-- @tparam table status as `@arbiter` `status` answers, decoded
-- @treturn string
function _M.page(status)
    local out = {}
    for _, part in ipairs { arbiter_lines, worker_lines, app_lines, counter_lines } do
        for _, line in ipairs(part(status)) do
            out[#out + 1] = line
        end
    end
    return table.concat(out, "\n") .. "\n"
end

--- Ask and print.
-- @tparam table parsed the command line
-- @treturn number exit status
function _M.run(parsed)
    local answer, failed = socket.ask_arbiter(parsed, "status")
    if not answer then
        return failed
    end
    if parsed.json then
        io.stdout:write(answer, "\n")
        return exit.OK
    end
    local ok, status = pcall(cjson.decode, answer)
    if not ok or type(status) ~= "table" then
        io.stderr:write("dirty status: the answer is no JSON object; --json shows it\n")
        return exit.OTHER
    end
    io.stdout:write(_M.page(status))
    return exit.OK
end

return _M
