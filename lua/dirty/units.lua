--- Formats times and sizes for people.
-- @module dirty.units

local _M = {}

--- Format a time.
-- @tparam number|nil seconds
-- @treturn string "1.5 s", "12 m 3 s", "2 d 4 h"; "-" if it is not a number
function _M.duration(seconds)
    if type(seconds) ~= "number" then
        return "-"
    elseif seconds < 60 then
        return ("%.1f s"):format(seconds)
    elseif seconds < 3600 then
        return ("%d m %d s"):format(seconds / 60, seconds % 60)
    elseif seconds < 86400 then
        return ("%d h %d m"):format(seconds / 3600, seconds % 3600 / 60)
    end
    return ("%d d %d h"):format(seconds / 86400, seconds % 86400 / 3600)
end

--- Format a size.
-- @tparam number|nil bytes
-- @treturn string "512 B", "1.5 MB"; "-" if it is not a number
function _M.size(bytes)
    if type(bytes) ~= "number" then
        return "-"
    end
    for _, unit in ipairs { { 1e9, "GB" }, { 1e6, "MB" }, { 1e3, "kB" } } do
        if bytes >= unit[1] then
            return ("%.1f %s"):format(bytes / unit[1], unit[2])
        end
    end
    return ("%d B"):format(bytes)
end

return _M
