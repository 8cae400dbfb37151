--- The grammar and help of the commands for operators of a running runtime.
-- @module dirty.cli.operator

local _M = {}

local STATUS = "Exit status: 0; 2 usage; 3 refused, the reason is on stderr; 4 TIMEOUT; "
    .. "5 CONNECTION (nothing\nserves there); 1 any other error, DENIED among them: whom "
    .. "admin_users names may ask,\nelse root and the socket's owner."

local RELOAD = [[
Reads the configuration file again, with the same flags, loads the apps' code anew and replaces
the workers one by one. Calls that run are finished by the old workers, those that wait stay in
their queues: callers see nothing of it. New code that does not load or init changes nothing, the
old one serves on. HUP does the same.

Without --wait it returns once the runtime has agreed. With --wait it returns when the reload
has ended, and says how: done; failed (nothing was changed) or partial (some workers could not
be replaced and serve with the old code, or an option can't be changed), with the reason on
stderr.

Exit status: 0 agreed, with --wait: done; 6 failed or partial, the reason is on stderr; 2 usage;
4 TIMEOUT, it still goes on; 5 CONNECTION; 1 any other error, DENIED among them: whom admin_users
names may ask, else root and the socket's owner.

Example:
   dirty reload --wait && echo "the new code serves"]]

local SCALE = [[
N is a number of workers, +N or -N so many more or less. The last worker of an app stays, and no
app goes below its limit. A reload sets the number to what the configuration says. TTIN and
TTOU are +1 and -1.
]] .. STATUS .. [[


Examples:
   dirty scale 8
   dirty scale -1]]

local KILL = [[
WORKER is a number of `dirty status`. Its process and all it has started end by SIGKILL at once:
what it runs is answered WORKER_LOST, and a new worker with the same apps takes its place. To
end one call and keep the worker, see `dirty cancel`.
]] .. STATUS .. [[


Example:
   dirty kill 2]]

local CANCEL = [[
WORKER is a number of `dirty status`, LANE one of its lanes (the first, 0, if not given). The call
that runs there is interrupted and answered CANCELLED; the worker keeps what it has loaded. A call
that does not end within timeout_grace costs its worker, as a late one does.
]] .. STATUS .. [[


Examples:
   dirty cancel 2
   dirty cancel 2.1]]

local REOPEN = [[
For the rotation of logs: rename the file first, then ask. USR1 does the same. Where the file can't
be opened (exit status 3) the former one is kept. A runtime that logs to stderr has nothing to open.
]] .. STATUS .. [[


Example:
   mv dirty.log dirty.log.1 && dirty reopen-logs]]

local STACK = [[
Shows what each busy lane is doing: app, action, how long, and the Lua traceback of where it is
now. WORKER shows one worker alone. A traceback is taken by a signal, which ends a poll or a sleep
of the app with EINTR; so it must be allowed: allow_stack = true in the configuration. A lane
that stays inside a C function, or whose app has set interruptible = false, has none.
With --json: a list of worker, pid, lane, app, action, running_ms, traceback (null: none came).
]] .. STATUS .. [[


Example:
   dirty stack 2]]

local PING = [[
Asks the arbiter to answer, which it does without any worker: it says whether the runtime is there,
not whether its apps are (`dirty status --ready` does).
Exit status: 0 it answers; 2 usage; 4 TIMEOUT; 5 CONNECTION (nothing serves there); 1 any other
error.

Example:
   dirty ping --timeout 1 || systemctl restart dirty]]

local METRICS = [[
Prints counters, gauges and histograms in Prometheus' text format: requests by app, action and
code, times in the queue and in the app, lanes, exits of workers, reloads, memory. Action names
that no app has count as "other". For a scrape, put it where node_exporter's textfile collector
looks, or behind a location of nginx.
Exit status: 0; 2 usage; 4 TIMEOUT; 5 CONNECTION (nothing serves there); 1 any other error.

Example:
   dirty metrics > /var/lib/node_exporter/dirty.prom.new &&
      mv /var/lib/node_exporter/dirty.prom.new /var/lib/node_exporter/dirty.prom]]

local STATUS_COMMAND = [[
With --json: one object with arbiter, workers (each with pid and lanes), apps, queue, reload and
counters, as the runtime gives it. With --ready it prints nothing where every app has a worker that
serves, else which have none.
Exit status: 0; 2 usage; 4 TIMEOUT; 5 CONNECTION (nothing serves there); 6 with --ready: not
ready; 1 any other error.

Examples:
   dirty status --json | jq '.workers[].pid'
   until dirty status --ready; do sleep 0.1; done]]

local STOP = [[
Asks for a graceful stop: running and waiting calls finish within graceful_timeout. With --now
they are answered SHUTDOWN and everything ends at once. Returns once the runtime has agreed; with
--wait once its processes are gone, for which --timeout waits 60 seconds if not given.
]] .. STATUS .. [[


Example:
   dirty stop --wait && dirty serve]]

local function add_worker(command, name, text)
    command:argument(name, text):argname(name:upper())
end

local COMMANDS = {
    { "status", "Show what the runtime is doing.", STATUS_COMMAND, 5, function(command)
        command:mutex(command:flag("--json", "Print the status as JSON."),
            command:flag("--ready", "Tell by the exit status whether every app is served."))
    end },
    { "metrics", "Print what is counted and measured, for Prometheus.", METRICS, 5 },
    { "reload", "Take over new code and configuration without losing a call.", RELOAD,
        "5, with --wait 300", function(command)
        command:flag("--wait", "Wait for the end of the reload and tell how it went.")
        command:flag("--json", "Print the number of the reload, and with --wait how it went, "
            .. "as JSON.")
    end },
    { "scale", "Change the number of workers.", SCALE, 5, function(command)
        command:argument("workers", "How many, or +N, -N."):argname("N")
        command:flag("--json", "Print the number as JSON.")
    end },
    { "stack", "Show where in their code running calls are.", STACK, 5, function(command)
        command:argument("worker", "The worker, a number of `dirty status`."):argname("WORKER")
            :args("?")
        command:flag("--json", "Print them as JSON.")
    end },
    { "cancel", "End the call that a lane runs.", CANCEL, 5, function(command)
        add_worker(command, "lane", "The worker, or WORKER.LANE.")
        command:flag("--json", "Print whether a call ran as JSON.")
    end },
    { "kill", "Kill a worker; another takes its place.", KILL, 5, function(command)
        add_worker(command, "worker", "The worker, a number of `dirty status`.")
        command:flag("--json", "Print its pid as JSON.")
    end },
    { "reopen-logs", "Open the log file again, after it was renamed.", REOPEN, 5 },
    { "ping", "Tell whether a runtime answers.", PING, 5, function(command)
        command:flag("--json", "Print the pid of the arbiter as JSON.")
    end },
    { "stop", "Stop the runtime gracefully.", STOP, "5, with --wait 60", function(command)
        command:flag("--now", "End running calls too.")
        command:flag("--wait", "Wait until it is gone.")
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
