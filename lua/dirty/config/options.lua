--- The list of all options: names, kinds, defaults, flags and help.
--
-- An option is declared only here. The file's names, the command line, the help, `dirty config`
-- and the checks come from this list. docs/configuration.md describes it for people, and a spec
-- compares the two.
--
-- Fields of an option: `name`, `kind` (dirty.config.types), `default` (a value, a function
-- `default(sys)` that returns a value and where it is from, or nil), `flag` (nil: file
-- only), `argname` of the flag, `short`, `help` (one or two lines for --help), `fixed` (true:
-- a reload can't change it), `env` (the variable of the environment: made below, for every option
-- that can be written as a word).
-- @module dirty.config.options

local types = require "dirty.config.types"
local socket_path = require "dirty.socket_path"

local UINT_MAX = 4294967295
local MIB = 1024 * 1024
local SIZE_MAX = 1024 ^ 4

local function octal(value)
    return ('"%04o"'):format(value)
end

local function user_list(value)
    if not value then
        return "false"
    end
    local out = {}
    for i, user in ipairs(value) do
        out[i] = ("%q"):format(user)
    end
    return "{ " .. table.concat(out, ", ") .. " }"
end

local _M = {}

--- The options in the order they are shown.
_M.list = {
    {
        name = "socket", kind = types.path("/run/dirty/dirty.sock"),
        flag = "--socket", short = "-s", argname = "PATH", default = socket_path.default,
        help = "Unix socket to listen on; at most 107 bytes.",
    },
    {
        name = "socket_mode", kind = types.mode(), flag = "--socket-mode", argname = "M",
        default = tonumber("600", 8), format = octal,
        help = "Permission bits of the socket, octal.",
    },
    {
        name = "socket_user", kind = types.principal("user", "dirty"),
        flag = "--socket-user", argname = "U", help = "Owner of the socket: a name or a number.",
    },
    {
        name = "socket_group", kind = types.principal("group", "www-data"),
        flag = "--socket-group", argname = "G", help = "Group of the socket: a name or a number.",
    },
    {
        name = "admin_users", kind = types.users(), format = user_list,
        help = "Users that can stop, reload and change the runtime over the socket; false: nobody.",
    },
    {
        name = "user", kind = types.principal("user", "dirty"), flag = "--user", short = "-u",
        argname = "U", help = "Run arbiter and workers as this user; for root only.",
    },
    {
        name = "group", kind = types.principal("group", "dirty"), flag = "--group", short = "-g",
        argname = "G", help = "Run both with this group. Default: the user's group.",
    },
    {
        name = "backlog", kind = types.count(1, 65535), default = 4096,
        help = "Connections that can wait to be accepted; the kernel's somaxconn is the maximum.",
    },
    {
        name = "workers", kind = types.count(0, 4096), flag = "--workers", short = "-w",
        argname = "N",
        default = function(sys) return sys.cpus(), "default: usable CPUs" end,
        help = "Worker processes; 0 disables the runtime.",
    },
    {
        name = "threads", kind = types.count(1, 64), flag = "--threads", argname = "N",
        default = 1, help = "Lanes (an OS thread and a LuaJIT state each) per worker.",
    },
    {
        name = "timeout", kind = types.seconds("no limit"), flag = "--timeout", short = "-t",
        argname = "S",
        default = 300, help = "Seconds that a call may take, waiting included; 0: no limit.",
    },
    {
        name = "graceful_timeout", kind = types.seconds("at once"),
        flag = "--graceful-timeout", argname = "S", default = 30,
        help = "Seconds that running calls have to finish at a stop.",
    },
    {
        name = "timeout_grace", kind = types.seconds("at once"), default = 0.5,
        help = "Seconds between the interrupt of a late call and the kill of its worker.",
    },
    {
        name = "interruptible", kind = types.boolean(), default = true,
        help = "Whether a late call can be interrupted; otherwise its worker is killed.",
    },
    {
        name = "boot_timeout", kind = types.seconds(), flag = "--boot-timeout", argname = "S",
        default = 60, help = "Seconds that the apps of a worker may take to load and init.",
    },
    {
        name = "arbiter_timeout", kind = types.seconds("never"), default = 30,
        help = "Seconds after which an arbiter that hangs is killed and replaced; 0: never.",
    },
    {
        name = "recv_timeout", kind = types.seconds("no limit"), default = 30,
        help = "Seconds that a request may take to arrive, from its first byte.",
    },
    {
        name = "send_timeout", kind = types.seconds(), default = 30,
        help = "Seconds to wait for a caller that does not read its answer.",
    },
    {
        name = "linger_timeout", kind = types.seconds("at once"), default = 2,
        help = "Seconds to discard the input of an ended connection before closing it.",
    },
    {
        name = "max_queue", kind = types.count(1, 1000000), flag = "--max-queue", argname = "N",
        default = 1024, help = "Requests that can wait, in total and for each app.",
    },
    {
        name = "max_message", kind = types.size(1024, UINT_MAX - 65536), default = 64 * 1024 * 1024,
        help = "Maximum bytes of a request or an answer.",
    },
    {
        name = "max_args", kind = types.count(1, 4096), default = 255, -- the limit of Lua's stack
        help = "Maximum number of values in a request or an answer.",
    },
    {
        name = "max_depth", kind = types.count(1, 2000), default = 1000, -- the same limit
        help = "Maximum nesting of JSON values.",
    },
    {
        name = "max_memory", kind = types.size(4 * MIB, SIZE_MAX, "no limit"), default = 0,
        help = "Bytes of a lane's Lua heap; a call that exceeds them gets MEMORY. 0: no limit.",
    },
    {
        name = "max_requests", kind = types.count(0, UINT_MAX), default = 0,
        help = "Requests after which a worker is replaced; 0: never.",
    },
    {
        name = "max_requests_jitter", kind = types.count(0, UINT_MAX), default = 0,
        help = "Maximum random addition to max_requests, to spread the replacements.",
    },
    {
        name = "max_rss", kind = types.size(4 * MIB, SIZE_MAX, "never"), default = 0,
        help = "Bytes of resident memory above which a worker is replaced; 0: never.",
    },
    {
        name = "allow_stack", kind = types.boolean(), default = false,
        help = "Whether `dirty stack` can ask running calls for their tracebacks.",
    },
    {
        name = "fast_path", kind = types.boolean(), default = true,
        help = "An idle lane takes the next call of a known connection itself (threads = 1).",
    },
    {
        name = "log_level", kind = types.choice { "debug", "info", "warn", "error" },
        flag = "--log-level", argname = "L", default = "info",
        help = "debug, info, warn or error.",
    },
    {
        name = "log_format", kind = types.choice { "logfmt", "json", "text" },
        default = "logfmt",
        help = "logfmt (key=value), json (one object per line) or text (for people).",
    },
    {
        name = "slow_log_threshold", kind = types.seconds("off"), default = 0,
        help = "Log calls that take at least this many seconds, waiting included; 0: none.",
    },
    {
        name = "access_log", kind = types.boolean(), default = false,
        help = "Log every call, at the level info.",
    },
    {
        name = "log_file", kind = types.path("/var/log/dirty.log"),
        flag = "--log-file", argname = "F", absolute = true,
        help = "Log to this file instead of stderr; USR1 reopens it.",
    },
    {
        name = "pidfile", kind = types.path("/run/dirty/dirty.pid"),
        flag = "--pidfile", argname = "F", absolute = true,
        help = "Write the supervisor's process id to this file once the runtime serves.",
    },
    {
        name = "lua_path", kind = types.search("/srv/myapp/?.lua"), flag = "--lua-path",
        argname = "P", help = "Where to search for apps, after ./?.lua;./?/init.lua.",
    },
    {
        name = "lua_cpath", kind = types.search("/srv/myapp/?.so"), flag = "--lua-cpath",
        argname = "P", help = "Where to search for C modules of apps first.",
    },
    {
        name = "chdir", kind = types.path("/srv/myapp"), flag = "--chdir", argname = "D",
        help = "Change to this directory first; relative paths start there.",
    },
}

--- The hooks of the configuration file, in the order in which they run.
_M.hooks = {
    { name = "on_starting", help = "on_starting(arbiter): in the arbiter, before any fork." },
    { name = "post_fork", help = "post_fork(worker): in a new worker, before its apps load." },
    { name = "worker_init", help = "worker_init(worker): in the worker, after all apps booted." },
    {
        name = "worker_exit",
        help = "worker_exit(worker, status): after the worker ended, in a separate process.",
    },
}

--- The options by name, and the names of everything that a configuration file may set.
_M.by_name, _M.names = {}, { "apps" }
for _, option in ipairs(_M.list) do
    _M.by_name[option.name] = option
    option.env = option.kind.from_text and "DIRTY_" .. option.name:upper()
    _M.names[#_M.names + 1] = option.name
end
-- These are used only at the start, so a reload can't change them.
for _, name in ipairs { "socket", "user", "group", "arbiter_timeout", "log_format", "log_file",
    "pidfile" } do
    _M.by_name[name].fixed = true
end
for _, hook in ipairs(_M.hooks) do
    hook.kind = types.hook()
    _M.by_name[hook.name] = hook
    _M.names[#_M.names + 1] = hook.name
end

return _M
