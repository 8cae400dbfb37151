--- A private nginx with the Lua module for a spec: everything it writes is in a directory of
-- its own, and it listens on a unix socket there.
--
--     local nginx = nginx.start { server = [[
--         location = /hello { content_by_lua_block { ngx.print("hello") } }
--     ]] }
--     finally(function() nginx:close() end)
--     assert.equal("hello", nginx:request("/hello").body)
--
-- @module support.nginx

local http = require "support.http"
local process = require "support.process"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local _M = {}
local methods = {}
local mt = { __index = methods }

local NGINX = os.getenv("NGINX") or (unistd.access("/usr/sbin/nginx", "x") == 0
    and "/usr/sbin/nginx" or "nginx")
local MODULES = { "ndk_http_module", "ngx_http_lua_module" }

local modules_dir

local function find_modules()
    if not modules_dir then
        local told = process.run({ NGINX, "-V" }).stderr
        modules_dir = told:match("%-%-modules%-path=(%S+)") or "/usr/lib/nginx/modules"
    end
    return modules_dir
end

-- Lines that load the Lua module where it is one of its own, as on Debian.
local function load_modules()
    local lines = {}
    for _, name in ipairs(MODULES) do
        local path = ("%s/%s.so"):format(find_modules(), name)
        if stat.lstat(path) then
            lines[#lines + 1] = ("load_module %s;"):format(path)
        end
    end
    return table.concat(lines, "\n")
end

local PATHS = [[
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
]]

local CONFIG = [[
$modules
$user
daemon off;
worker_processes $workers;
worker_rlimit_nofile 8192;
pid $dir/nginx.pid;
error_log $dir/error.log $level;
$main
events { worker_connections 4096; }
http {
    access_log off;
    $paths
    lua_package_path "$dir/?.lua;$root/lua/?.lua;$root/lua/?/init.lua;$root/spec/?.lua;;";
    $http
    server {
        listen unix:$dir/http.sock backlog=4096;
        $server
    }
}
]]

local function configuration(self, o)
    local words = {
        modules = load_modules(), paths = PATHS, dir = self.dir, root = unistd.getcwd(),
        user = unistd.getuid() == 0 and ("user %s;"):format(o.user or "root") or "",
        workers = o.workers or 1, level = o.level or "info",
        main = o.main or "", http = o.http or "", server = o.server or "",
    }
    -- the words of a spec may have words of their own: $dir, or a name of `o.words`
    local function fill(text)
        return (text:gsub("%$(%l+)", function(name)
            return words[name] or (o.words or {})[name]
        end))
    end
    return fill(fill(o.config or CONFIG))
end

--- Start nginx and wait until it answers.
-- @tparam table o `server`, `http`, `main` (text of these blocks), `workers` (1), `level`
--   (of the error log, "info"), `user` (of its workers, where root starts it), `files` (text
--   by name, in its directory, where Lua finds modules), `words` (replaced in the text:
--   `$name`), `env`; or `config`, all of the configuration, with
--   `$user daemon off; pid $dir/nginx.pid;`, in http `$paths`, and `$modules` where it loads
--   none itself
-- @treturn table nginx: `dir`, `socket`, `pid` of the master
function _M.start(o)
    local self = setmetatable({ dir = o.dir or tempdir.new() }, mt)
    self.socket = self.dir .. "/http.sock"
    for name, text in pairs(o.files or {}) do
        tempdir.write(self.dir .. "/" .. name, text)
    end
    tempdir.write(self.dir .. "/nginx.conf", configuration(self, o))
    -- Debian's own lines name modules from nginx's prefix on, which here is this directory
    unistd.link(find_modules(), self.dir .. "/modules", true)
    local env = { LUA_PATH = false, LUA_CPATH = false }
    for name, value in pairs(o.env or {}) do
        env[name] = value
    end
    self.process = process.start({ NGINX, "-p", self.dir, "-e", self.dir .. "/error.log",
        "-c", self.dir .. "/nginx.conf" }, { env = env })
    self.pid = self.process.pid
    local ok, err = pcall(wait.until_true, function()
        return self.process:ended() or #self:workers() == (o.workers or 1)
    end, 20, "nginx has its workers")
    if not ok or self.process:ended() then
        local log = self.process:stderr() .. self:log()
        self:close()
        error(("nginx: %s\n%s"):format(ok and "ended" or err, log), 2)
    end
    return self
end

--- The error log so far.
function methods.log(self)
    return tempdir.read(self.dir .. "/error.log") or ""
end

--- The lines of the error log that are errors: level error and above.
-- @tparam[opt] string but lines with this pattern are left out
-- @treturn {string,...}
function methods.errors(self, but)
    local lines = {}
    for line in self:log():gmatch("[^\n]+") do
        if (line:find("%[error%]") or line:find("%[crit%]") or line:find("%[alert%]")
            or line:find("%[emerg%]")) and not (but and line:find(but)) then
            lines[#lines + 1] = line
        end
    end
    return lines
end

--- The process ids of its workers, sorted.
function methods.workers(self)
    local text = tempdir.read(("/proc/%d/task/%d/children"):format(self.pid, self.pid)) or ""
    local pids = {}
    for pid in text:gmatch("%d+") do
        local title = tempdir.read(("/proc/%s/cmdline"):format(pid)) or ""
        if title:find("worker process", 1, true) then
            pids[#pids + 1] = tonumber(pid)
        end
    end
    table.sort(pids)
    return pids
end

--- Make a request: see support.http.
function methods.request(self, o)
    return http.request(self.socket, o)
end

--- Open a request, to be finished later.
function methods.open(self, o)
    return http.open(self.socket, o)
end

--- Read the configuration again.
function methods.reload(self)
    self.process:signal(signal.SIGHUP)
end

--- End it and remove its directory.
function methods.close(self)
    self.process:signal(signal.SIGTERM)
    pcall(self.process.wait, self.process, 10)
    self.process:close()
    tempdir.remove(self.dir)
end

return _M
