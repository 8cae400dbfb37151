--- Tell of each text whether dirty.values takes it for JSON, in any Lua:
--
--     lua5.4 spec/support/json_verdicts.lua FILE
--
-- FILE has a text a line, in hex. Prints a line of as many characters: 1 taken, 0 refused.
local values = require "dirty.values"

local codec = values.new()
for line in io.lines(arg[1]) do
    local text = line:gsub("%x%x", function(digits)
        return string.char(tonumber(digits, 16))
    end)
    local ok, _, is_json = codec:from_json(text)
    io.write((ok or is_json) and "1" or "0")
end
print()
