--- Where a reload of `dirty serve` gets its configuration from (runtime/cli/source.h).
-- @module dirty.cli.source

local config = require "dirty.config"
local probe = require "dirty.cli.probe"
local start = require "dirty.cli.start"
local sys = require "dirty.sys"

local _M = {}

-- Of a reason, bytes: it is shown in status and log lines.
local REASON_MAX = 500

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
-- @treturn string|nil one line about them, nil if all is well
function _M.fault_of(reports)
    local first, failed = nil, 0
    for _, report in ipairs(reports) do
        if not report.ok then
            first, failed = first or report, failed + 1
            sys.log("error", "app can't be loaded: " .. describe(report) .. "\n"
                .. (report.traceback or ""))
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

--- Make the source of a runtime that is about to serve.
-- @tparam table parsed its command line
-- @tparam table running its configuration (dirty.config)
-- @tparam table ids of its socket, `{uid=, gid=}`
-- @treturn table `{read=, finish=}`
function _M.new(parsed, running, ids)
    local pending
    local source = {}

    --- Read the configuration again.
    -- @treturn table|nil options (dirty.cli.start), to try the apps with
    -- @treturn nil|string reason, one line
    function source.read()
        local conf, err = config.reload(sys, parsed, running)
        if not conf then
            return nil, reason_of(err)
        end
        for _, warning in ipairs(conf.warnings) do
            sys.log("warn", warning)
        end
        pending = conf
        return start.options(conf, ids, sys.paths)
    end

    --- Take in what the apps of the configuration that was read declare.
    -- @tparam string report lines of the probe
    -- @treturn table|nil options (dirty.cli.start), to serve with
    -- @treturn nil|string reason, one line
    function source.finish(report)
        local conf = pending
        pending = nil
        local reports, err = probe.read(report, conf)
        local fault = err or _M.fault_of(reports)
        if fault then
            return nil, fault
        end
        running = conf
        return start.options(conf, ids, sys.paths)
    end

    return source
end

return _M
