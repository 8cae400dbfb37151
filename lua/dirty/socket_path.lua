--- The default path of the runtime's socket, and checks of a path. For the commands only: needs
-- the C module dirty.sys.
-- @module dirty.socket_path

local _M = {}

--- Bytes of a path that fit into sockaddr_un, without the closing NUL.
_M.LEN_MAX = 107

--- Get the default socket of this user: `$DIRTY_SOCKET`, else `$XDG_RUNTIME_DIR/dirty.sock`, else
-- `/run/dirty/dirty.sock` for root, else `/tmp/dirty-UID/dirty.sock`.
-- @tparam table sys the module dirty.sys
-- @treturn string path
-- @treturn string where it comes from, for people
function _M.default(sys)
    local path = sys.default_socket()
    if (os.getenv("XDG_RUNTIME_DIR") or "") ~= "" then
        return path, "environment XDG_RUNTIME_DIR"
    end
    return path, sys.uid() == 0 and "default for root" or "default for this user"
end

--- Check the text of a path.
-- @tparam string path
-- @treturn string|nil what is wrong and what helps
function _M.fault(path)
    if #path > _M.LEN_MAX then
        return ("it has %d bytes, a unix socket's path at most %d: use a shorter one"):format(
            #path, _M.LEN_MAX)
    elseif path:sub(-1) == "/" then
        return "it ends with /: name the socket in that directory, for example "
            .. path .. "dirty.sock"
    end
end

-- Check that a directory is ours and closed to others. Somebody else may have made a directory
-- under /tmp as a trap.
local function check_private(sys, dir)
    local st, err = sys.stat(dir)
    if not st then
        return nil, ("%s: %s"):format(dir, err)
    elseif st.type ~= "directory" then
        return nil, ("%s is not a directory: remove it or give --socket PATH"):format(dir)
    elseif st.uid ~= sys.uid() then
        return nil, ("%s belongs to the user %d, not to %d: give --socket PATH"):format(
            dir, st.uid, sys.uid())
    elseif st.mode % 0x40 ~= 0 then -- group or others have a right
        return nil, ("%s is open to others (mode %04o): chmod 700 %s"):format(dir, st.mode, dir)
    end
    return true
end

-- The directory of a default socket, and whether it is this user's alone. Nil for other paths.
local function default_directory(sys, path)
    local shared = "/run/dirty"
    local private = ("/tmp/dirty-%d"):format(sys.uid())
    local dir = path:match("^(.*)/[^/]*$")
    if dir == private or dir == shared and sys.uid() == 0 then
        return dir, dir == private
    end
end

--- Whether `prepare` would have to make the directory of the socket.
-- @tparam table sys the module dirty.sys
-- @tparam string path
-- @treturn boolean
function _M.makes(sys, path)
    local dir = default_directory(sys, path)
    return dir ~= nil and not sys.stat(dir)
end

--- Make the directory of a default socket if it does not exist. For root it is /run/dirty with
-- mode 0755, because the socket's own mode guards it. In /tmp it has mode 0700 and must belong
-- to this user. Directories of other paths are never made.
-- @tparam table sys the module dirty.sys
-- @tparam string path
-- @treturn boolean|nil true
-- @treturn nil|string what is wrong and what helps
function _M.prepare(sys, path)
    local dir, is_private = default_directory(sys, path)
    if not dir then
        return true
    end
    if not sys.stat(dir) then
        local ok, err = sys.mkdir(dir, tonumber(is_private and "700" or "755", 8))
        if not ok and not sys.stat(dir) then
            return nil, ("%s can't be created: %s"):format(dir, err)
        end
    end
    if is_private then
        return check_private(sys, dir)
    end
    return true
end

return _M
