--- What this machine lacks for a spec. Each function returns why the spec can't run here, for
-- busted's `pending`, or nil where it can:
--
--     local lacking = machine.no_root() or machine.closed_to_others()
--     if lacking then
--         pending(lacking)
--         return
--     end
--
-- @module support.machine

local fcntl = require "posix.fcntl"
local process = require "support.process"
local stdlib = require "posix.stdlib"
local unistd = require "posix.unistd"

local _M = {}

--- The words before a command that run it as nobody; for root.
_M.AS_NOBODY = { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups" }

--- Run a command as nobody.
-- @tparam string ... its words
-- @treturn table as support.process.run
function _M.run_as_nobody(...)
    local argv = { ... }
    for i, word in ipairs(_M.AS_NOBODY) do
        table.insert(argv, i, word)
    end
    return process.run(argv)
end

--- Who is not root can't become somebody else, nor give files away.
function _M.no_root()
    if unistd.geteuid() ~= 0 then
        return "needs root, to be somebody else"
    end
end

--- Another user can't run the command `dirty` of this checkout, or read its Lua modules: a
-- directory on the way is closed (/root is), or the files are. For root.
function _M.closed_to_others()
    local root = unistd.getcwd()
    for _, need in ipairs { { "-x", process.dirty() }, { "-r", root .. "/lua/dirty/lane.lua" },
        { "-r", root .. "/apps/echo.lua" } } do
        if _M.run_as_nobody("test", unpack(need)).exit ~= 0 then
            return ("needs a checkout that other users can read: %s is closed to them, by its "
                .. "mode or that of a directory on the way"):format(need[2])
        end
    end
end

--- Namespaces of mounts and processes are not to be had, as in most containers. For root.
function _M.no_namespaces()
    local r = process.run { "unshare", "--mount", "--pid", "--fork", "--mount-proc", "true" }
    if r.exit ~= 0 then
        return "needs namespaces of mounts and processes: " .. r.stderr
    end
end

--- No pseudo-terminal can be opened.
function _M.no_terminal()
    local master, why = stdlib.openpt(fcntl.O_RDWR + fcntl.O_NOCTTY)
    local ready = master and stdlib.grantpt(master) == 0 and stdlib.unlockpt(master) == 0
        and unistd.access(stdlib.ptsname(master) or "", "r") == 0
    if master then
        unistd.close(master)
    end
    if not ready then
        return "needs a pseudo-terminal: is devpts mounted at /dev/pts? " .. (why or "")
    end
end

return _M
