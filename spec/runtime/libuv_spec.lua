-- An app that uses libuv itself, as through luv, finds it as any program does: what the arbiter
-- does with its own is not in the way. Run in a program of its own first, to know what is right.
local process = require "support.process"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"

-- What luv's new_signal, spawn and queue_work do. Each returns what its callback has seen.
local PROBE = [[
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

static void on_signal(uv_signal_t *handle, int number) {
    *(int *)handle->data = number;
    uv_signal_stop(handle);
}

int probe_signal(int number) {
    uv_loop_t loop;
    uv_signal_t watcher;
    int seen = -1;
    if (uv_loop_init(&loop) < 0 || uv_signal_init(&loop, &watcher) < 0)
        return -2;
    watcher.data = &seen;
    int rc = uv_signal_start(&watcher, on_signal, number);
    if (rc < 0)
        return rc;
    raise(number);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&watcher, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return seen;
}

static void on_exit_of(uv_process_t *child, int64_t status, int number) {
    *(int *)child->data = number ? -number : (int)status;
    uv_close((uv_handle_t *)child, NULL);
}

int probe_spawn(void) {
    uv_loop_t loop;
    uv_process_t child;
    int seen = -1;
    char *args[] = {"/bin/sh", "-c", "exit 7", NULL};
    uv_process_options_t options = {.file = args[0], .args = args, .exit_cb = on_exit_of};
    if (uv_loop_init(&loop) < 0)
        return -2;
    child.data = &seen;
    int rc = uv_spawn(&loop, &child, &options);
    if (rc < 0)
        return rc;
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return seen;
}

static void work(uv_work_t *request) { *(int *)request->data = 11; }
static void after(uv_work_t *request, int status) { *(int *)request->data += status; }

int probe_work(void) {
    uv_work_t request;
    int seen = -1;
    request.data = &seen;
    uv_queue_work(uv_default_loop(), &request, work, after);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    return seen;
}

/* A child, forked while libuv is in use, has a descriptor of its own where libuv had one. */
#include <sys/wait.h>
#include <unistd.h>
int probe_fork(void) {
    int ends[2], status = -1;
    if (pipe(ends) < 0)
        return -2;
    pid_t pid = fork();
    if (pid == 0) {
        char byte = 'x';
        _exit(write(ends[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1 ? 3 : 4);
    }
    waitpid(pid, &status, 0);
    close(ends[0]);
    close(ends[1]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -3;
}
]]

local APP = [[
local ffi = require "ffi"
ffi.cdef "int probe_signal(int); int probe_spawn(void); int probe_work(void); int probe_fork(void);"
local dir = debug.getinfo(1, "S").source:match("@(.*)/")
local C = ffi.load(dir .. "/probe.so")
local App = {}
function App:use()
    return { signal = C.probe_signal(12), again = C.probe_signal(15), child = C.probe_spawn(),
        second = C.probe_spawn(), work = C.probe_work(), fork = C.probe_fork(), pid = self.pid }
end
return App]]

local RIGHT = { signal = 12, again = 15, child = 7, second = 7, work = 11, fork = 3 }

describe("an app that uses libuv", function()
    local dir

    setup(function()
        dir = tempdir.new()
        local source = tempdir.write(dir .. "/probe.c", PROBE)
        local flags = io.popen("pkg-config --cflags --libs libuv"):read("*l")
        local made = process.run({ "sh", "-c", ("cc -shared -fPIC -o %s/probe.so %s %s"):format(dir,
            source, flags) }, { seconds = 60 })
        assert.equal(0, made.exit, made.stderr)
        tempdir.write(dir .. "/user.lua", APP)
    end)

    teardown(function() tempdir.remove(dir) end)

    it("watches signals, starts programs and threads, in luajit by itself", function()
        local r = process.run { "luajit", "-e", ([[
            package.path = "%s/?.lua"
            local found, out = require("user"):use(), {}
            for _, name in ipairs { "signal", "again", "child", "second", "work", "fork" } do
                out[#out + 1] = name .. "=" .. found[name]
            end
            print(table.concat(out, " "))]]):format(dir) }
        assert.equal("signal=12 again=15 child=7 second=7 work=11 fork=3\n", r.stdout, r.stderr)
    end)

    it("does so in a worker, again and again", function()
        local rt = runtime.start { args = { "--workers", "1", "--lua-path", dir .. "/?.lua" },
            apps = { "user" } }
        finally(function() rt:close() end)
        local before = rt:status().workers[1].pid
        for _ = 1, 3 do
            assert.same({ RIGHT }, { rt:call("user", "use") })
        end
        assert.equal(before, rt:status().workers[1].pid)
    end)

    it("does so in every lane of a worker", function()
        local rt = runtime.start { args = { "--workers", "1", "--lua-path", dir .. "/?.lua" },
            apps = { "user" }, config = "threads = 2" }
        finally(function() rt:close() end)
        for _ = 1, 4 do
            assert.same({ RIGHT }, { rt:call("user", "use") })
        end
    end)
end)
