--- The app of the chaos test: calls whose effects are seen from outside.
local dirty = require("dirty")

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

return Chaos
