--- Locales made for a spec: one whose decimal point is a comma.
-- @module support.locale

local process = require "support.process"

local _M = {}

--- The one that `make` makes.
_M.COMMA = "de_DE.UTF-8"

--- Make it.
-- @tparam string dir a directory for it
-- @treturn string what LOCPATH must be for it to be found
function _M.make(dir)
    local made = process.run({ "localedef", "-i", "de_DE", "-f", "UTF-8",
        dir .. "/" .. _M.COMMA })
    assert(made.exit == 0, "localedef (apt-get install locales): " .. made.stderr)
    return dir
end

return _M
