--- Reads the configuration again: for a reload of `dirty serve` (runtime/cli/config_source.h), and
-- for an arbiter that takes another's place.
-- @module dirty.cli.config_source

local serialize = require "dirty.config.serialize"
local config = require "dirty.config"
local file = require "dirty.config.file"
local probe = require "dirty.cli.probe"
local start = require "dirty.cli.start"
local sys = require "dirty.sys"

local _M = {}

-- Bytes of a reason, which is shown in the status and in log lines.
local REASON_MAX = 500

-- Seconds that a file with hooks may take to run; the same as in runtime/cli/timelimit.h.
local SECONDS_MAX = 2

-- Add the names that are not in the list yet. The next run of the file must load every module
-- again that any run has loaded.
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

-- The message as one line, without its traceback.
local function one_line(text)
    local line = text:gsub("\nstack traceback:.*", ""):gsub("%s*\n%s*", " ")
    return #line <= REASON_MAX and line or line:sub(1, REASON_MAX - 4) .. " ..."
end

-- The reason for the log and the operator. Logs separately what does not fit into a line.
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

--- Log which apps failed, with all details.
-- @tparam {table,...} reports of dirty.cli.probe
-- @tparam[opt] function log logs a text as an error
-- @treturn string|nil one line about them; nil if none failed
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

--- Log why apps can't be loaded, and store it in their entries of the configuration (`fault`).
-- @tparam {table,...} reports of dirty.cli.probe
function _M.mark_faults(reports)
    _M.fault_of(reports)
    for _, report in ipairs(reports) do
        if not report.ok then
            report.spec.fault = one_line(describe(report))
        end
    end
end

-- Take the hooks of the new configuration. Hooks are functions, so they exist only in a process
-- that ran the file. So the file runs once more, here, while calls wait. Its other settings stay
-- as the child read them. Returns false and the reason if that fails or would take too long.
local function take_hooks(conf, names, seconds, again)
    if #names == 0 then
        return true
    elseif seconds > SECONDS_MAX then
        return false, ("%s took %.1f s to run: with hooks (%s) it also runs in the arbiter, "
            .. "where calls wait for it, so the limit is %d s"):format(conf.file, seconds,
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

-- Find whose the socket will be. If the configuration does not say it, the owner stays. If the
-- setting was removed, the owner is the default one.
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

-- Run the file as it is now. Returns the line about the result, and the configuration.
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

--- Log which settings of a configuration a reload can't change.
-- @tparam table conf
-- @treturn string|nil one line about them; nil if there are none
function _M.tell_kept(conf)
    for _, text in ipairs(conf.kept) do
        sys.log("warn", text .. ": a reload can't change it, restart the runtime")
    end
    return conf.kept[1] and one_line("a reload can't change these, restart the runtime: "
        .. table.concat(conf.kept, "; "))
end

--- Read the configuration for an arbiter that takes another's place. Runs the file in a child,
-- as a reload does, because the file may do anything and take any time.
-- @tparam table parsed the command line
-- @tparam table running the configuration at hand (dirty.config)
-- @tparam number limit_ms time limit
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

--- Make the source for a runtime that is about to serve.
-- @tparam table parsed its command line
-- @tparam table running its configuration (dirty.config); its fields `ids` and `default_ids` are
-- the owner of the socket, and the owner without a setting, `{uid=, gid=}`
-- @treturn table `{read=, begin=, finish=, settle=}`
function _M.new(parsed, running)
    local source = {}
    local put_back, taken, directory -- of the reload under way

    --- Read the configuration again, in a child that ends afterwards.
    -- @tparam boolean same use the current configuration, don't read
    -- @treturn string a line for `finish`: the configuration, or why there is none
    -- @treturn table|nil options (dirty.cli.start) to try the apps with
    function source.read(same)
        if same then
            return serialize.line(running), start.options(running, running.ids, sys.paths)
        end
        local text, conf = read_file(parsed, running)
        return text, conf and start.options(conf, conf.ids, sys.paths)
    end

    --- Call it before `finish`, which may be interrupted anywhere.
    function source.begin()
        put_back = file.remember()
        directory = sys.remember_directory()
    end

    --- Take over the configuration and what the apps declare.
    -- @tparam string report the line of `read`, then those of the probe
    -- @treturn table|nil options (dirty.cli.start) to serve with
    -- @treturn nil|string one line: the reason; with options, the settings that were not taken over
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
        for _, warning in ipairs(reports and seconds and probe.warnings(reports) or {}) do
            sys.log("warn", warning)
        end
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

    --- Call it after `finish`.
    -- @tparam boolean done the configuration is in use; false restores everything as it was before
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
