---@meta

--- The options of dirty.conf.lua, which assigns globals; see docs/configuration.md. Add this file to
--- the library of the workspace where that file is.

--- Unix socket to listen on; at most 107 bytes.
---@type string
socket = nil

--- Permission bits of the socket, octal.
---@type string|integer
socket_mode = nil

--- Owner of the socket: a name or a number.
---@type string|integer
socket_user = nil

--- Group of the socket: a name or a number.
---@type string|integer
socket_group = nil

--- Users that can stop, reload and change the runtime over the socket; false: nobody.
---@type string[]|false
admin_users = nil

--- Run arbiter and workers as this user; for root only.
---@type string|integer
user = nil

--- Run both with this group. Default: the user's group.
---@type string|integer
group = nil

--- Connections that can wait to be accepted; the kernel's somaxconn is the maximum.
---@type integer
backlog = nil

--- Worker processes; 0 disables the runtime.
---@type integer
workers = nil

--- Lanes (an OS thread and a LuaJIT state each) per worker.
---@type integer
threads = nil

--- Seconds that a call may take, waiting included; 0: no limit.
---@type number
timeout = nil

--- Seconds that running calls have to finish at a stop.
---@type number
graceful_timeout = nil

--- Seconds between the interrupt of a late call and the kill of its worker.
---@type number
timeout_grace = nil

--- Whether a late call can be interrupted; otherwise its worker is killed.
---@type boolean
interruptible = nil

--- Seconds that the apps of a worker may take to load and init.
---@type number
boot_timeout = nil

--- Seconds after which an arbiter that hangs is killed and replaced; 0: never.
---@type number
arbiter_timeout = nil

--- Seconds that a request may take to arrive, from its first byte.
---@type number
recv_timeout = nil

--- Seconds to wait for a caller that does not read its answer.
---@type number
send_timeout = nil

--- Seconds to discard the input of an ended connection before closing it.
---@type number
linger_timeout = nil

--- Requests that can wait, in total and for each app.
---@type integer
max_queue = nil

--- Maximum bytes of a request or an answer.
---@type integer|string
max_message = nil

--- Maximum number of values in a request or an answer.
---@type integer
max_args = nil

--- Maximum nesting of JSON values.
---@type integer
max_depth = nil

--- Bytes of a lane's Lua heap; a call that exceeds them gets MEMORY. 0: no limit.
---@type integer|string
max_memory = nil

--- Requests after which a worker is replaced; 0: never.
---@type integer
max_requests = nil

--- Maximum random addition to max_requests, to spread the replacements.
---@type integer
max_requests_jitter = nil

--- Bytes of resident memory above which a worker is replaced; 0: never.
---@type integer|string
max_rss = nil

--- Whether `dirty stack` can ask running calls for their tracebacks.
---@type boolean
allow_stack = nil

--- An idle lane takes the next call of a known connection itself (threads = 1).
---@type boolean
fast_path = nil

--- debug, info, warn or error.
---@type "debug"|"info"|"warn"|"error"
log_level = nil

--- logfmt (key=value), json (one object per line) or text (for people).
---@type "logfmt"|"json"|"text"
log_format = nil

--- Log every call, without its arguments.
---@type boolean
access_log = nil

--- Log calls that take at least this many seconds, waiting included; 0: none.
---@type number
slow_log_threshold = nil

--- Log to this file instead of stderr; USR1 reopens it.
---@type string
log_file = nil

--- Write the supervisor's process id to this file once the runtime serves.
---@type string
pidfile = nil

--- Where to search for apps, after ./?.lua;./?/init.lua.
---@type string
lua_path = nil

--- Where to search for C modules of apps first.
---@type string
lua_cpath = nil

--- Change to this directory first; relative paths start there.
---@type string
chdir = nil

---@class dirty.conf.app: dirty.declaration
---@field module? string what require gets
---@field object? string the field of the module's table that is the app
---@field name? string the name callers use, in the list part
---@field options? table what init gets

--- Specs in the list part, tables and specs under the names that callers use.
---@type table<integer|string, string|dirty.conf.app>
apps = nil

---@class dirty.conf.arbiter
---@field pid integer

---@class dirty.conf.worker
---@field number integer its place, from 1
---@field pid integer
---@field generation integer how often the place was filled
---@field apps string[]

---@class dirty.conf.status
---@field exit? integer
---@field signal? integer
---@field name? string of the signal

--- In the arbiter, before any fork.
---@param arbiter dirty.conf.arbiter
function on_starting(arbiter) end

--- In a new worker, before its apps load.
---@param worker dirty.conf.worker
function post_fork(worker) end

--- In the worker, after all apps booted.
---@param worker dirty.conf.worker
function worker_init(worker) end

--- After the worker ended, in a process of its own.
---@param worker dirty.conf.worker
---@param status dirty.conf.status
function worker_exit(worker, status) end
