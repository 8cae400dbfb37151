--- Tries the apps in a child process before the runtime starts, and reads its reports.
-- @module dirty.cli.probe

local cjson = require "cjson"
local spec = require "dirty.config.spec"
local sys = require "dirty.sys"
local types = require "dirty.config.types"

local _M = {}

local function decode_lines(text, conf)
    local reports = {}
    for line in text:gmatch("[^\n]+") do
        local i = #reports + 1
        reports[i] = cjson.decode(line)
        reports[i].spec = conf.apps[i]
    end
    return reports
end

-- Take what an app declares by dirty.app{…}. Checks it like the configuration.
local function take_declared(report)
    for name, value in pairs(report.declared or {}) do
        local kind = spec.DECLARED[name]
        if kind and value ~= cjson.null then
            local _, must = kind.check(value)
            if must then
                report.ok, report.phase = false, "declaration"
                report.message = ("dirty.app { %s = %s }: must be %s"):format(name,
                    tostring(value), must)
                return
            end
        end
    end
    report.spec.declared = report.declared
    local timeout = report.declared and report.declared.timeout
    local long = timeout and timeout ~= cjson.null and types.long_time(timeout)
    if long then
        local warnings = report.warnings or {}
        warnings[#warnings + 1] = ("app %s: dirty.app { timeout = %g }: %s"):format(report.app,
            timeout, long)
        report.warnings = warnings
    end
end

--- Read the lines that a probe has written. Stores what the apps declare in their entries of the
-- configuration (`declared`), for dirty.config.limits.
-- @tparam string text
-- @tparam table conf of dirty.config
-- @treturn {table,...}|nil a report per app: `{app=, ok=, ms=, file=, phase=, message=,
--   traceback=, declared=, warnings=}`
-- @treturn nil|string why there are none
function _M.read(text, conf)
    local ok, reports = pcall(decode_lines, text, conf)
    if not ok or #reports < #conf.apps then
        return nil, ("the apps can't be tested: the child that loads them ended at app %s"):format(
            conf.apps[ok and #reports + 1 or 1].name)
    end
    for _, report in ipairs(reports) do
        if report.ok then
            take_declared(report)
        end
    end
    return reports
end

--- Try the apps of a configuration one after the other, in a child that ends afterwards.
-- @tparam table conf of dirty.config
-- @tparam table options of dirty.cli.start
-- @tparam boolean boot also make and close the objects (new, init, close), not only load
-- @tparam[opt] boolean captured what they print goes to the log of the arbiter that this
--   process becomes
-- @treturn {table,...}|nil reports, as `read` returns them
-- @treturn nil|string why there are none
function _M.run(conf, options, boot, captured)
    local lines, err = sys.probe(options, boot, captured)
    if not lines then
        return nil, "the apps can't be tested: " .. err
    end
    return _M.read(lines, conf)
end

--- Get the warnings about apps.
-- @tparam {table,...} reports of `run`
-- @treturn {string,...}
function _M.warnings(reports)
    local out = {}
    for _, report in ipairs(reports) do
        for _, warning in ipairs(report.warnings or {}) do
            out[#out + 1] = warning
        end
    end
    return out
end

local function write_failure(report, write)
    local message, traceback = report.message or "", report.traceback or ""
    if traceback:sub(1, #message) == message then
        traceback = traceback:sub(#message + 1):gsub("^\n+", "")
    end
    local is_late = message:find("^it took longer than [%d.]+ s$")
    write("    %s%s\n", message, is_late and ", which is boot_timeout" or "")
    if traceback ~= "" then
        write("    %s\n", traceback)
    end
end

--- Print the reports for people.
-- @tparam {table,...} reports of `run`
-- @tparam function write of dirty.cli.say
-- @tparam boolean failed_only leave out apps that did not fail
-- @treturn boolean no app failed
function _M.write(reports, write, failed_only)
    local all_ok = true
    for _, report in ipairs(reports) do
        local what = ("app %s (module %s%s)"):format(report.app, report.spec.module,
            report.spec.object and ", object " .. report.spec.object or "")
        local took = report.ms and (", %.0f ms"):format(report.ms) or ""
        if report.ok and not failed_only then
            write("%s: ok%s%s\n", what, took, report.file and ", " .. report.file or "")
        elseif not report.ok then
            all_ok = false
            write("%s: failed, %s%s\n", what, report.phase or "load", took)
            write_failure(report, write)
        end
    end
    return all_ok
end

return _M
