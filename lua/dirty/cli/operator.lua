--- The grammar and help of the commands for operators of a running runtime.
-- @module dirty.cli.operator

local _M = {}

local STATUS = "Exit status: 0; 2 usage; 3 refused, with the reason on stderr; 4 TIMEOUT; "
    .. "5 CONNECTION (nothing\nlistens there); 1 any other error. DENIED is one of those: only "
    .. "users in admin_users are\nallowed, by default root and the socket's owner."

local RELOAD = [[
Reads the configuration file again, with the same flags, loads the apps' code anew and replaces
the workers one by one. The old workers finish the calls that they run, waiting calls stay in
their queues, so callers notice nothing. If the new code fails to load or init, nothing is changed
and the old code keeps serving. The signal HUP does the same.

With --wait, or if stdout is a terminal, it returns when the reload has ended, and prints the
result: done; failed (nothing was changed) or partial (some workers could not be replaced and run
the old code, or an option can't be changed), with the reason on stderr. Otherwise, with --no-wait
or with --json alone, it returns when the runtime has accepted the reload, and says so. A reload
that is asked for while one runs follows it; more of them are merged into that one.

Exit status: 0 done, or accepted if it did not wait; 6 failed or partial, with the reason on
stderr; 2 usage; 4 TIMEOUT, the reload is still running; 5 CONNECTION; 1 any other error. DENIED
is one of those: only users in admin_users are allowed, by default root and the socket's owner.

Example:
   dirty reload --wait && echo "the new code serves"]]

local UPGRADE = [[
For a new version of dirty: install it, then run this command. The runtime starts the program that
is now at the path of its own, with the same flags, on the same socket. When the new runtime is
ready it serves all new calls; the old one finishes the calls that it has accepted, and ends. No
call is lost and none is refused. If the new runtime fails, or is not ready in time, it is ended
and the old one goes on. The signal USR2 to the supervisor does the same.

It returns when the new runtime serves, or the upgrade has failed. --timeout limits the start of the
new runtime; the default is 300 seconds.

Exit status: 0 the new runtime serves; 6 the upgrade failed and the old one goes on, with the reason
on stderr; 2 usage; 3 refused, for instance because a reload is running; 4 TIMEOUT; 5 CONNECTION; 1
any other error. DENIED is one of those: only users in admin_users are allowed, by default root and
the socket's owner.

Example:
   apt-get install lua-dirty && dirty upgrade]]

local SCALE = [[
N is a number of workers; +N and -N add and remove workers. The last worker of an app stays, and
no app goes below its limit. A reload sets the number to what the configuration says. The signals
TTIN and TTOU are +1 and -1.
]] .. STATUS .. [[


Examples:
   dirty scale 8
   dirty scale -1]]

local KILL = [[
WORKER is a worker's number from `dirty status`. Its process, and all processes that it has started,
are killed by SIGKILL at once. The callers of its running calls get WORKER_LOST, and a new worker
with the same apps takes its place. To end one call and keep the worker, see `dirty cancel`.
]] .. STATUS .. [[


Example:
   dirty kill 2]]

local CANCEL = [[
WORKER is a worker's number from `dirty status`, LANE is one of its lanes (default: the first, 0).
The call that runs there is interrupted, and its caller gets CANCELLED; the worker keeps its state.
If the call does not end within timeout_grace, the worker is killed, as for a late call.
]] .. STATUS .. [[


Examples:
   dirty cancel 2
   dirty cancel 2.1]]

local REOPEN = [[
For log rotation: rename the file first, then run this command. The signal USR1 does the same. If
the file can't be opened (exit status 3), the runtime keeps the old one. A runtime that logs to
stderr has no file to reopen.
]] .. STATUS .. [[


Example:
   mv dirty.log dirty.log.1 && dirty reopen-logs]]

local STACK = [[
Shows what each busy lane is doing: app, action, how long, and the Lua traceback of its current
position. WORKER limits the output to one worker. The signal that takes a traceback ends a poll or
a sleep of the app with EINTR, so the configuration must allow it: allow_stack = true. There is no
traceback while a lane is inside a C function, or if its app has set interruptible = false.
With --json: a list of worker, pid, lane, app, action, running_ms, traceback (null: none).
]] .. STATUS .. [[


Example:
   dirty stack 2]]

local TAIL = [[
Prints the last calls that failed, and those that took longer than slow_log_threshold: when they
ended, the code, app and action, how long they ran and waited, worker, caller, message and
traceback. Each lane remembers its last 32; a worker's are kept when it ends. With --follow it goes
on with new ones until it is interrupted.
With --json: one object a line, with at (seconds since 1970), code, app, action, queue_ms, run_ms,
worker, worker_pid, caller_pid, caller_uid, message, traceback (null: none).
]] .. STATUS .. [[


Examples:
   dirty tail --follow
   dirty tail --number 200 --json | jq -r .code | sort | uniq -c]]

local PING = [[
Asks the arbiter to answer, which needs no worker: it shows whether the runtime is up, not whether
its apps are (for that, use `dirty status --ready`).
Exit status: 0 it answers; 2 usage; 4 TIMEOUT; 5 CONNECTION (nothing listens there); 1 any other
error.

Example:
   dirty ping --timeout 1 || systemctl restart dirty]]

local METRICS = [[
Prints counters, gauges and histograms in Prometheus' text format: requests by app, action and
code, times in the queue and in the app, lanes, exits of workers, reloads, memory. Action names
that no app has count as "other". To have it scraped, write it to the directory of node_exporter's
textfile collector, or serve it from a location of nginx.
Exit status: 0; 2 usage; 4 TIMEOUT; 5 CONNECTION (nothing listens there); 1 any other error.

Example:
   dirty metrics > /var/lib/node_exporter/dirty.prom.new &&
      mv /var/lib/node_exporter/dirty.prom.new /var/lib/node_exporter/dirty.prom]]

local STATUS_COMMAND = [[
With --json: one object with arbiter, workers (each with pid and lanes), apps, queue, reload and
counters, as the runtime sends it. With --ready it prints nothing if every app has a ready worker;
otherwise it prints which apps have none.
Exit status: 0; 2 usage; 4 TIMEOUT; 5 CONNECTION (nothing listens there); 6 with --ready: not
ready; 1 any other error.

Examples:
   dirty status --json | jq '.workers[].pid'
   until dirty status --ready; do sleep 0.1; done]]

local STOP = [[
Asks for a graceful stop: running and waiting calls finish within graceful_timeout. With --now
they get SHUTDOWN, and all processes end at once. It returns when the runtime has accepted the
stop; with --wait when its processes are gone (--timeout limits that, default 60 seconds).
]] .. STATUS .. [[


Example:
   dirty stop --wait && dirty serve]]

local function add_worker(command, name, text)
    command:argument(name, text):argname(name:upper())
end

local COMMANDS = {
    { "status", "Show what the runtime is doing.", STATUS_COMMAND, 5, function(command)
        command:mutex(command:flag("-j --json", "Print the status as JSON."),
            command:flag("--ready", "Show by the exit status whether every app is served."))
    end },
    { "metrics", "Print counters and measurements for Prometheus.", METRICS, 5 },
    { "reload", "Load new code and configuration without losing a call.", RELOAD,
        "5, with --wait 300", function(command)
        command:mutex(
            command:flag("--wait", "Wait for the end of the reload and print its result; the "
                .. "default at a terminal."),
            command:flag("--no-wait", "Only ask for the reload."))
        command:flag("-j --json", "Print the number of the reload, and with --wait its result, "
            .. "as JSON.")
    end },
    { "upgrade", "Let a new version of dirty take over without losing a call.", UPGRADE, 300,
        function(command)
        command:flag("--json", "Print the result as JSON.")
    end },
    { "scale", "Change the number of workers.", SCALE, 5, function(command)
        command:argument("workers", "The number of workers, or +N, -N."):argname("N")
        command:flag("-j --json", "Print the number as JSON.")
    end },
    { "stack", "Show where running calls are in their code.", STACK, 5, function(command)
        command:argument("worker", "The worker's number from `dirty status`."):argname("WORKER")
            :args("?")
        command:flag("-j --json", "Print the tracebacks as JSON.")
    end },
    { "tail", "Show the last calls that failed or were slow.", TAIL, 5, function(command)
        command:option("-n --number", "How many calls to begin with, up to 200. Default: 20.")
            :argname("N")
        command:flag("-f --follow", "Go on with new ones.")
        command:flag("-j --json", "Print the calls as JSON, one a line.")
    end },
    { "cancel", "End the call that a lane runs.", CANCEL, 5, function(command)
        add_worker(command, "lane", "The worker's number from `dirty status`, or WORKER.LANE.")
        command:flag("-j --json", "Print as JSON whether a call was running.")
    end },
    { "kill", "Kill a worker; a new one takes its place.", KILL, 5, function(command)
        add_worker(command, "worker", "The worker's number from `dirty status`.")
        command:flag("-j --json", "Print its pid as JSON.")
    end },
    { "reopen-logs", "Reopen the log file after it was renamed.", REOPEN, 5 },
    { "ping", "Check whether a runtime answers.", PING, 5, function(command)
        command:flag("-j --json", "Print the pid of the arbiter as JSON.")
    end },
    { "stop", "Stop the runtime gracefully.", STOP, "5, with --wait 60", function(command)
        command:flag("--now", "Stop running calls too.")
        command:flag("--wait", "Wait until its processes are gone.")
    end },
}

--- Names of the commands, in the order of the help.
_M.NAMES = {}
for i, command in ipairs(COMMANDS) do
    _M.NAMES[i] = command[1]
end

--- Add the commands to the parser.
-- @tparam table root the argparse parser
-- @tparam function new_command `new_command(root, name, summary, epilog)`
-- @tparam function add_socket_options `add_socket_options(command, default_timeout)`
function _M.add(root, new_command, add_socket_options)
    for _, entry in ipairs(COMMANDS) do
        local name, summary, epilog, timeout, add_rest = unpack(entry, 1, 5)
        local command = new_command(root, name, summary, epilog)
        add_socket_options(command, timeout)
        if add_rest then
            add_rest(command)
        end
    end
end

return _M
