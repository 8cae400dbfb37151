--- Where a reload of `dirty serve` gets its configuration from (runtime/cli/config_source.h), and
-- an arbiter that takes another's place.
-- @module dirty.cli.config_source

local serialize = require "dirty.config.serialize"
local config = require "dirty.config"
local file = require "dirty.config.file"
local probe = require "dirty.cli.probe"
local start = require "dirty.cli.start"
local sys = require "dirty.sys"

local _M = {}

-- Of a reason, bytes: it is shown in status and log lines.
local REASON_MAX = 500

-- What running a file with hooks may take, as runtime/cli/timelimit.h has it.
local SECONDS_MAX = 2

-- Add the names to a list that are not in it: what any run of the file has loaded is to be
-- loaded anew by the next one.
local function merge(list, names)
    local known = {}
    for _, name in ipairs(list) do
        known[name] = true
    end
    for _, name in ipairs(names) do
        if not known[name] then
            list[#list + 1] = name
        end
    end
end

-- The message without its traceback, as one line.
local function one_line(text)
    local line = text:gsub("\nstack traceback:.*", ""):gsub("%s*\n%s*", " ")
    return #line <= REASON_MAX and line or line:sub(1, REASON_MAX - 4) .. " ..."
end

-- The reason for a log and an operator; what a line can't hold is logged apart.
local function reason_of(err)
    local reason = one_line(err)
    if reason ~= err then
        sys.log("error", "configuration can't be read: " .. err)
    end
    return reason
end

local function describe(report)
    return ("app %s (module %s): %s: %s"):format(report.app, report.spec.module,
        report.phase or "load", report.message or "no reason given")
end

--- Log in full which apps failed.
-- @tparam {table,...} reports of dirty.cli.probe
-- @tparam[opt] function log what logs a text as an error
-- @treturn string|nil one line about them, nil if all is well
function _M.fault_of(reports, log)
    log = log or function(text)
        sys.log("error", text)
    end
    local first, failed = nil, 0
    for _, report in ipairs(reports) do
        if not report.ok then
            first, failed = first or report, failed + 1
            log("app can't be loaded: " .. describe(report) .. "\n" .. (report.traceback or ""))
        end
    end
    if first then
        return one_line(describe(first)) .. (failed > 1 and (" (and %d more)"):format(failed - 1)
            or "")
    end
end

--- Keep in the entries of the configuration why apps can't be loaded (`fault`), and log it.
-- @tparam {table,...} reports of dirty.cli.probe
function _M.mark_faults(reports)
    _M.fault_of(reports)
    for _, report in ipairs(reports) do
        if not report.ok then
            report.spec.fault = one_line(describe(report))
        end
    end
end

-- Hooks are functions, so they exist only where the file was run: it is, once more, here, while
-- calls wait. What it sets otherwise is as it was in the child. False and the reason where that
-- fails, or would take too long.
local function take_hooks(conf, names, seconds, again)
    if #names == 0 then
        return true
    elseif seconds > SECONDS_MAX then
        return false, ("%s took %.1f s to run: with hooks (%s) it is run in the arbiter too, and "
            .. "calls wait for it, so %d s are the most"):format(conf.file, seconds,
            table.concat(names, ", "), SECONDS_MAX)
    end
    local here, err = again()
    if not here then
        return false, reason_of(err)
    end
    for _, name in ipairs(names) do
        conf.values[name] = here.values[name]
    end
    merge(conf.modules, here.modules)
    return true
end

-- Whose the socket is to be: where nothing is said, as it is, and where that was taken back, as
-- if nothing had ever been said.
local function find_ids(conf, running)
    local ids, err = config.resolve_socket(conf, sys)
    if not ids then
        return nil, err
    end
    for id, option in pairs { uid = "socket_user", gid = "socket_group" } do
        if ids[id] < 0 then
            local from = running.values[option] and "default_ids" or "ids"
            ids[id] = running[from][id]
        end
    end
    conf.ids, conf.default_ids = ids, running.default_ids
    return config.resolve_admins(conf, sys)
end

-- Run the file as it is now: the line that says what came of it, and the configuration.
local function read_file(parsed, running)
    local at = sys.now()
    local ok, conf, err = pcall(config.reload, sys, parsed, running)
    local found, unknown = ok and conf, nil
    if found then
        found, unknown = find_ids(conf, running)
    end
    if not found then
        return serialize.fault(reason_of(tostring(unknown or ok and err or conf)))
    end
    return serialize.line(conf, sys.now() - at), conf
end

--- Log what of a configuration a reload can't take over.
-- @tparam table conf
-- @treturn string|nil one line about it, nil if there is nothing
function _M.tell_kept(conf)
    for _, text in ipairs(conf.kept) do
        sys.log("warn", text .. ": a reload can't change it, restart the runtime for that")
    end
    return conf.kept[1] and one_line("a reload can't change these, restart the runtime for them: "
        .. table.concat(conf.kept, "; "))
end

--- Read the configuration for an arbiter that takes another's place, as a reload does: in a
-- child, as the file may do anything and take any time.
-- @tparam table parsed the command line
-- @tparam table running the configuration at hand (dirty.config)
-- @tparam number limit_ms what that may take
-- @treturn table|nil the configuration as it is now
-- @treturn nil|string reason, one line
function _M.reread(parsed, running, limit_ms)
    local line, lost = sys.aside(function()
        return (read_file(parsed, running))
    end, limit_ms)
    if not line then
        return nil, ("%s: %s"):format(running.path or "the command line", lost)
    end
    local conf, hooks, seconds = serialize.read(line)
    if not conf then
        return nil, hooks
    end
    local ok, fault = take_hooks(conf, hooks, seconds, function()
        local here, err
        local put_back = file.remember()
        local done, wrong = sys.bounded(function()
            here, err = config.reload(sys, parsed, running)
        end)
        if not done then
            put_back()
        end
        return done and here, wrong or err
    end)
    if not ok then
        return nil, fault
    end
    merge(conf.modules, running.modules)
    return conf
end

--- Make the source of a runtime that is about to serve.
-- @tparam table parsed its command line
-- @tparam table running its configuration (dirty.config); `ids` and `default_ids` of it are whose
-- the socket is, and whose it would be if nothing were said, `{uid=, gid=}`
-- @treturn table `{read=, begin=, finish=, settle=}`
function _M.new(parsed, running)
    local source = {}
    local put_back, taken, directory -- of the reload under way

    --- Read the configuration again, in a child that ends afterwards.
    -- @tparam boolean same don't: take the one that holds
    -- @treturn string a line for `finish`: the configuration, or why there is none
    -- @treturn table|nil options (dirty.cli.start), to try the apps with
    function source.read(same)
        if same then
            return serialize.line(running), start.options(running, running.ids, sys.paths)
        end
        local text, conf = read_file(parsed, running)
        return text, conf and start.options(conf, conf.ids, sys.paths)
    end

    --- Before finish, which may be ended anywhere.
    function source.begin()
        put_back = file.remember()
        directory = sys.remember_directory()
    end

    --- Take in what was read and what the apps declare.
    -- @tparam string report the line, then those of the probe
    -- @treturn table|nil options (dirty.cli.start), to serve with
    -- @treturn nil|string reason, one line; with options, what of the configuration was not taken
    function source.finish(report)
        local line, lines = report:match("^([^\n]*)\n(.*)$")
        local conf, hooks, seconds = serialize.read(line)
        if not conf then
            return nil, hooks
        end
        for _, warning in ipairs(seconds and conf.warnings or {}) do
            sys.log("warn", warning)
        end
        local kept = seconds and _M.tell_kept(conf)
        local reports, err = probe.read(lines, conf)
        local fault = err or _M.fault_of(reports)
        local ok = true
        if not fault then
            ok, fault = take_hooks(conf, hooks, seconds or 0, function()
                return seconds and config.reload(sys, parsed, running) or running
            end)
        end
        if not ok or fault then
            return nil, fault
        end
        merge(conf.modules, running.modules)
        taken = conf
        return start.options(conf, conf.ids, sys.paths), kept
    end

    --- After finish.
    -- @tparam boolean done its configuration holds; else all is to be as it was before
    function source.settle(done)
        sys.go_back(directory)
        if done then
            running = taken
        else
            put_back()
        end
        put_back, taken = nil, nil
    end

    return source
end

return _M
