--- What the tools that break a copy of the sources share.
-- @module mutants.copy

local _M = {}

--- The lines that a command prints.
-- @tparam string command
-- @treturn {string,...}
function _M.lines_of(command)
    local pipe, list = assert(io.popen(command)), {}
    for line in pipe:lines() do
        list[#list + 1] = line
    end
    pipe:close()
    return list
end

--- Functions that read and write whole files of a copy.
-- @tparam string place its directory
-- @treturn function (path) → text
-- @treturn function (path, text)
function _M.files(place)
    local function open(path, mode)
        return assert(io.open(place .. "/" .. path, mode))
    end
    return function(path)
        local file = open(path, "rb")
        local text = file:read "*a"
        file:close()
        return text
    end, function(path, text)
        local file = open(path, "wb")
        file:write(text)
        file:close()
    end
end

return _M
