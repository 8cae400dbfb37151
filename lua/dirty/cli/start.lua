--- Makes the table from which dirty.sys starts the arbiter, out of a configuration.
-- @module dirty.cli.start

local cjson = require "cjson"
local config = require "dirty.config"
local options = require "dirty.config.options"
local paths = require "dirty.cli.paths"
local spec = require "dirty.config.spec"
local version = require "dirty.cli.version"

local _M = {}

-- Seconds to milliseconds, rounded up: a positive value must not become 0, which means "no limit".
local function to_ms(seconds)
    return math.ceil(seconds * 1000)
end

local function app_entry(conf, app)
    local limits = config.limits(conf, app)
    return {
        name = app.name,
        module = app.module,
        object = app.object,
        options = spec.options_json(app.options),
        timeout_ms = to_ms(limits.timeout),
        max_queue = limits.max_queue,
        workers = limits.workers,
        interruptible = limits.interruptible,
        cancel_on_disconnect = limits.cancel_on_disconnect,
        exclusive = limits.exclusive,
        isolated = limits.isolated,
        fault = app.fault,
    }
end

local function hooks_of(values)
    local hooks = {}
    for _, hook in ipairs(options.hooks) do
        hooks[hook.name] = values[hook.name]
    end
    return hooks
end

-- Milliseconds that reading the configuration may take. The apps have boot_timeout each to load.
local READ_MS = 60000

--- Make the table for the supervisor.
-- @tparam table conf of dirty.config
-- @tparam table ids `{uid=, gid=}` of the socket
-- @treturn table as runtime/cli/supervise.h says
function _M.supervisor(conf, ids)
    local values = conf.values
    return {
        socket_path = values.socket, socket_mode = values.socket_mode,
        socket_uid = ids.uid, socket_gid = ids.gid, backlog = values.backlog,
        pidfile = values.pidfile,
        hang_ms = to_ms(values.arbiter_timeout),
        start_timeout_ms = math.min(2 ^ 31,
            READ_MS + to_ms(values.boot_timeout) * (#conf.apps + 1)),
    }
end

--- Make the table for an arbiter.
-- @tparam table conf of dirty.config
-- @tparam table ids `{uid=, gid=}` of the socket
-- @tparam table templates dirty.sys.paths
-- @treturn table as runtime/cli/options.h says
function _M.options(conf, ids, templates)
    local values = conf.values
    local lua_path, lua_cpath = paths.of_apps(values, templates)
    local out = {
        socket_path = values.socket, socket_mode = values.socket_mode,
        socket_uid = ids.uid, socket_gid = ids.gid,
        lua_path = lua_path, lua_cpath = lua_cpath,
        directory = conf.cwd, directory_name = conf.directory,
        log_file = values.log_file, log_level = values.log_level,
        access_log = values.access_log,
        version_json = cjson.encode(version.all()),
        admin_uids = conf.admin_uids,
        dev = conf.dev,
        hooks = hooks_of(values), apps = {},
    }
    for _, name in ipairs { "backlog", "workers", "threads", "max_queue", "max_message",
        "max_args", "max_depth", "max_requests", "max_requests_jitter", "allow_stack",
        "fast_path" } do
        out[name] = values[name]
    end
    for _, name in ipairs { "max_memory", "max_rss" } do
        out[name .. "_bytes"] = values[name]
    end
    for _, name in ipairs { "graceful_timeout", "timeout_grace", "boot_timeout", "recv_timeout",
        "send_timeout", "linger_timeout", "slow_log_threshold", "arbiter_timeout" } do
        out[name .. "_ms"] = to_ms(values[name])
    end
    for i, app in ipairs(conf.apps) do
        out.apps[i] = app_entry(conf, app)
    end
    return out
end

return _M
