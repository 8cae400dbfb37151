--- The apps of the random client: one that notes what it runs and ends its worker when it is
-- asked to, and one that nobody calls.
local dirty = require("dirty")
local ffi = require("ffi")

ffi.cdef([[
    int random_getpid(void) __asm__("getpid");
    int random_kill(int pid, int signal) __asm__("kill");
    void random_exit(int status) __asm__("_exit");
]])

local C = ffi.C
local SIGKILL = 9

local Noted = dirty.app()

function Noted:init(options)
    self.log = assert(io.open(options.log, "a"))
end

--- Append a line to the log, in one write, so that it shows how often each call ran.
function Noted:note(text)
    self.log:write(text, "\n")
    self.log:flush()
    return text
end

--- End the worker.
-- @tparam number how 0: by a signal, 1: with status 3
function Noted:die(how)
    if how == 0 then
        C.random_kill(C.random_getpid(), SIGKILL)
    end
    C.random_exit(3)
end

--- One call of C that takes for ever: it can't be interrupted.
function Noted:stuck()
    return (("a"):rep(60)):find(("a*"):rep(30) .. "b")
end

-- An app that is named only inside of arguments.
local Never = dirty.app()

function Never:init(options)
    self.log = assert(io.open(options.log, "a"))
end

function Never:run(text)
    self.log:write("never ", tostring(text), "\n")
    self.log:flush()
    return text
end

Noted.Never = Never

return Noted
