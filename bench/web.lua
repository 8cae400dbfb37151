--- The web server that is measured by `make bench-openresty`: a real nginx with the Lua
-- module, one worker, and behind it the runtime with two workers, PHP-FPM, and nginx's own
-- threads. Everything is in a directory of its own; nginx listens on a free port of
-- 127.0.0.1, as wrk knows no unix sockets.
-- @module bench.web

local cjson = require "cjson"
local glob = require "posix.glob"
local nginx = require "support.nginx"
local process = require "bench.process"
local runtime = require "support.runtime"
local socket = require "posix.sys.socket"
local unistd = require "posix.unistd"

local _M = {}
local Web = {}
Web.__index = Web

local BOOT_TIMEOUT_S = 30
--- Workers of the runtime, and threads of nginx's pool.
_M.WORKERS = 2

local MAIN = "thread_pool bench threads=$threads;"

-- A connection of wrk lives for the whole run, and so does each to PHP-FPM.
local HTTP = [[
    keepalive_requests 1000000000;
    upstream php {
        server unix:$php;
        keepalive $children;
        keepalive_requests 1000000000;
    }
    init_by_lua_block {
        client = require("dirty").client { socket = "$socket" }
        local wire = require("dirty.wire").new()
        local call = { app = "apps.echo", action = "noop", budget_ms = 30000 }
        local frame = table.concat((wire:encode_request(1, call, {}, 0)))
        floor_pool, ready_pool = { pool = "floor" }, { pool = "ready" }
        -- the same bytes both ways, by hand
        function floor(address, pool)
            local sock = ngx.socket.tcp()
            sock:settimeouts(30000, 32000, 32000)
            local ok = sock:connect(address, pool) and sock:send(frame)
            local answer = ok and sock:receiveany(65536)
            return answer and sock:setkeepalive(60000, 100)
        end
    }
]]

-- The first five answer alike: status 200, no body.
local SERVER = [[
    listen 127.0.0.1:$port backlog=4096;
    location = /dirty {
        content_by_lua_block {
            local _, err, info = client:execute("apps.echo", "noop")
            ngx.exit(err and info.http_status or 200)
        }
    }
    location = /floor {
        content_by_lua_block {
            ngx.exit(floor("unix:$socket", floor_pool) and 200 or 500)
        }
    }
    location = /ready {
        content_by_lua_block {
            ngx.exit(floor("unix:$ready", ready_pool) and 200 or 500)
        }
    }
    location = /thread {
        content_by_lua_block {
            local ok, err = ngx.run_worker_thread("bench", "noop", "noop")
            if not ok then
                ngx.log(ngx.ERR, err)
            end
            ngx.exit(ok and 200 or 500)
        }
    }
    location = /php {
        fastcgi_pass php;
        fastcgi_keep_conn on;
        include /etc/nginx/fastcgi_params;
        fastcgi_param SCRIPT_FILENAME $dir/noop.php;
    }
    location = /empty { return 204; }
    location = /spin {
        content_by_lua_block {
            local ok, err, info = client:execute("apps.echo", "spin", 100)
            ngx.exit(ok and 200 or info.http_status)
        }
    }
]]

local FILES = {
    ["noop.lua"] = "return { noop = function() return nil end }\n",
    ["noop.php"] = "<?php\n",
}

local FPM = [[
[global]
error_log = %s/fpm.log
daemonize = no
[www]
user = root
group = root
listen = %s/php.sock
listen.backlog = 4096
pm = static
pm.max_children = %d
]]

-- A TCP port that nobody listens on.
local function free_port()
    local fd = assert(socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0))
    assert(socket.bind(fd, { family = socket.AF_INET, addr = "127.0.0.1", port = 0 }))
    local port = assert(socket.getsockname(fd)).port
    unistd.close(fd)
    return port
end

local function start_php(self, children)
    local found = glob.glob("/usr/sbin/php-fpm*") or {}
    local program = assert(found[1], "there is no /usr/sbin/php-fpm*: apt-get install php-fpm")
    local config = self.dir .. "/fpm.conf"
    local file = assert(io.open(config, "w"))
    file:write(FPM:format(self.dir, self.dir, children))
    file:close()
    self.php = process.start({ program, "-F", "-R", "-y", config }, nil, self.dir .. "/fpm.err")
    assert(process.poll(BOOT_TIMEOUT_S, function()
        return unistd.access(self.dir .. "/php.sock", "f") == 0
    end), "PHP-FPM does not come up: see " .. self.dir .. "/fpm.log")
end

-- The workers of bare C that take ready connections from the kernel.
local function start_ready(self)
    self.ready_socket = self.dir .. "/ready.sock"
    self.ready = process.start({ (os.getenv("DIRTY_BUILD") or "build") .. "/bench/floor", "ready",
        tostring(_M.WORKERS), self.ready_socket }, nil, self.dir .. "/ready.err")
    assert(process.poll(BOOT_TIMEOUT_S, function()
        return unistd.access(self.ready_socket, "f") == 0
    end), "floor ready does not come up")
end

--- Start everything and wait until every location answers.
-- @tparam table env `dir`, `children` (of PHP-FPM: it keeps one busy for each connection that
--   is kept alive)
-- @treturn Web
function _M.start(env)
    local self = setmetatable({ env = env, dir = env.dir, port = free_port() }, Web)
    self.runtime = runtime.start { apps = { "apps.echo" },
        args = { "--workers", tostring(_M.WORKERS) } }
    start_php(self, env.children)
    start_ready(self)
    self.nginx = nginx.start { main = MAIN, http = HTTP, server = SERVER, files = FILES,
        level = "error", words = {
            socket = self.runtime.socket, ready = self.ready_socket,
            php = self.dir .. "/php.sock", port = self.port, children = env.children,
            threads = _M.WORKERS,
        } }
    self.behind = { ["/dirty"] = {}, ["/php"] = process.children(self.php),
        ["/ready"] = process.children(self.ready) }
    for i, entry in ipairs(self.runtime:tree()) do
        self.behind["/dirty"][i] = entry.pid
    end
    self.behind["/floor"] = self.behind["/dirty"]
    for _, uri in ipairs { "/empty", "/dirty", "/floor", "/ready", "/thread", "/php", "/spin" } do
        local r = self.nginx:request(uri)
        assert(r.status < 300, ("%s answers %d: %s"):format(uri, r.status, self.nginx:log()))
    end
    return self
end

local function wrk(self, uri, connections, seconds)
    local argv = { "wrk", "-t1", "-c" .. connections, "-d" .. seconds .. "s", "-s",
        "bench/wrk.lua", ("http://127.0.0.1:%d%s"):format(self.port, uri) }
    return self.cpu and { "taskset", "-c", self.cpu, unpack(argv) } or argv
end

--- Load a location.
-- @tparam string uri
-- @tparam number connections
-- @tparam number seconds whole ones
-- @treturn table report: `rate` (requests per second), `p50_us`, `p99_us`, `sent`, and the
--   CPU time per request of nginx (`nginx_us`) and of whom it asks (`behind_us`). Raises if
--   an answer was no success
function Web:load(uri, connections, seconds)
    local nginx_s, behind_s = self:cpu_seconds(uri)
    local text, err = process.output(wrk(self, uri, connections, seconds),
        self.dir .. "/wrk", seconds + 30)
    local report = cjson.decode(text and text:match("{[^\n]+}") or error(err, 0))
    if report.errors > 0 then
        error(("%s: %d of %d answers are errors: %s"):format(uri, report.errors, report.sent,
            self.nginx:log():sub(-500)), 0)
    end
    local nginx_after, behind_after = self:cpu_seconds(uri)
    report.nginx_us = (nginx_after - nginx_s) * 1e6 / report.sent
    report.behind_us = (behind_after - behind_s) * 1e6 / report.sent
    return report
end

--- Load a location and don't wait.
-- @treturn number pid, for `process.wait` and `process.stop`
function Web:start_load(uri, connections, seconds)
    return process.start(wrk(self, uri, connections, seconds))
end

-- CPU time so far: of nginx's worker with its threads, and of the processes behind `uri`.
function Web:cpu_seconds(uri)
    local behind = 0
    for _, pid in ipairs(self.behind[uri] or {}) do
        behind = behind + process.cpu_seconds(pid)
    end
    return process.cpu_seconds(self.nginx:workers()[1]), behind
end

--- How many calls the runtime's workers run at this moment.
-- @treturn number
function Web:running()
    local count = 0
    for _, worker in ipairs(self.runtime:status().workers) do
        for _, lane in ipairs(worker.lanes) do
            count = count + (lane.state == "running" and 1 or 0)
        end
    end
    return count
end

--- Let all of it, wrk too, run on one CPU from now on.
-- @tparam number cpu
function Web:pin(cpu)
    self.cpu = tostring(cpu)
    local pids = self.nginx:workers()
    for _, list in pairs(self.behind) do
        for _, pid in ipairs(list) do
            pids[#pids + 1] = pid
        end
    end
    for _, pid in ipairs(pids) do
        assert(process.output({ "taskset", "-a", "-c", "-p", self.cpu, tostring(pid) },
            self.dir .. "/taskset", 10))
    end
end

--- Stop everything.
function Web:stop()
    self.nginx:close()
    process.stop(self.php)
    process.stop(self.ready)
    self.runtime:close()
end

return _M
