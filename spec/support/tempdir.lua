--- A directory of a spec's own, and files in it.
-- @module support.tempdir

local stat = require "posix.sys.stat"
local stdlib = require "posix.stdlib"
local dirent = require "posix.dirent"
local unistd = require "posix.unistd"

local _M = {}

--- Make an empty directory; the caller removes it.
-- @treturn string its path, without a slash at the end
function _M.new()
    return assert(stdlib.mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/dirty-spec-XXXXXX"))
end

--- Remove a directory and what is in it. Links are not followed.
-- @tparam string path
function _M.remove(path)
    local st = stat.lstat(path)
    if not st then
        return
    elseif stat.S_ISDIR(st.st_mode) == 0 then
        os.remove(path)
        return
    end
    for name in dirent.files(path) do
        if name ~= "." and name ~= ".." then
            _M.remove(path .. "/" .. name)
        end
    end
    unistd.rmdir(path)
end

--- Write a file.
-- @tparam string path
-- @tparam string text
-- @treturn string path
function _M.write(path, text)
    local file = assert(io.open(path, "wb"))
    assert(file:write(text))
    assert(file:close())
    return path
end

--- Read a file.
-- @tparam string path
-- @treturn string|nil its bytes, nil if it can't be read
function _M.read(path)
    local file = io.open(path, "rb")
    local text = file and file:read("*a")
    if file then
        file:close()
    end
    return text
end

return _M
