--- The app of the chaos test: calls whose effects are seen from outside.
local dirty = require("dirty")
local ffi = require("ffi")

ffi.cdef("int chaos_poll(void *, unsigned long, int) __asm__(\"poll\");")

local C = ffi.C

local Chaos = dirty.app()

function Chaos:init(options)
    self.log = assert(io.open(options.log, "a"))
end

--- Append a line to the log, in one write, so that it shows how often each call ran.
function Chaos:once(id)
    self.log:write(id, "\n")
    self.log:flush()
    return id
end

--- Leave a process behind that would live for minutes.
function Chaos:brood(id)
    os.execute("sleep 300 >/dev/null 2>&1 &")
    return id
end

--- Hold the lane until there is a file of this name.
function Chaos:gate(path)
    local file
    repeat
        C.chaos_poll(nil, 0, 5)
        file = io.open(path)
    until file
    file:close()
end

--- The number of the caller's turn.
function Chaos:ticket()
    self.tickets = (self.tickets or 0) + 1
    return self.tickets
end

return Chaos
