--- The error messages of resty.dirty: what is wrong, the value, and what helps. Messages for a
-- connection that fails are the same as libdirty's (runtime/client/socket_path.c).
-- @module resty.dirty.messages

local facts = require "resty.dirty.facts"

local _M = {}

local LISTEN = "nothing listens at %s: %s; start the runtime with: dirty serve --socket %s"

-- "mode 0600, owner uid 0, group gid 0" of a path, or why that is not known.
local function describe(path)
    local found, err = facts.of(path)
    return found and ("mode %04o, owner uid %d, group gid %d"):format(found.mode, found.uid,
        found.gid) or "can't be examined: " .. (err or "no FFI here")
end

local function explain_denied(path)
    local uid, gid = facts.caller()
    local dir = facts.closed_directory(path)
    if not uid then
        return ("not allowed to use %s: the user of nginx's workers (its directive user) can't "
            .. "write to the socket, or can't search its directory; allow a group of the caller "
            .. "by the server's options socket_group and socket_mode 0660, or change socket_user")
            :format(path)
    elseif dir then
        return ("can't reach %s: the directory %s is closed to the caller, uid %d gid %d (%s); "
            .. "allow the caller to search it (chmod o+x, or a group), or give the server another "
            .. "socket path"):format(path, dir, uid, gid, describe(dir))
    end
    return ("not allowed to use %s (%s): the caller is uid %d gid %d; allow a group of the caller "
        .. "by the server's options socket_group and socket_mode 0660, or change socket_user")
        :format(path, describe(path), uid, gid)
end

-- By nginx's message for the error of connect(2).
local CONNECT = {
    ["no such file or directory"] = function(path)
        local dir = path:match("^(.*)/[^/]*$") or "."
        local there, err = facts.of(dir == "" and "/" or dir)
        return LISTEN:format(path, (there or not err) and "there is no such socket"
            or "there is no such directory", path)
    end,
    ["connection refused"] = function(path)
        local found = facts.of(path)
        if found and found.is_directory then
            return ("%s is a directory: name the socket in it, for example %s/dirty.sock"):format(
                path, (path:gsub("/$", "")))
        end
        return LISTEN:format(path, "its server has ended, or it is not a socket", path)
    end,
    ["permission denied"] = explain_denied,
    ["protocol wrong type for socket"] = function(path)
        return ("%s is a socket of another type: no runtime listens there"):format(path)
    end,
    ["too many open files"] = function(path)
        return ("can't connect to %s: too few descriptors; raise nginx's "
            .. "worker_rlimit_nofile"):format(path)
    end,
}

--- Bytes of a path that fit into a unix socket's address.
_M.PATH_MAX = 107

--- The code and message for a connection that can't be opened.
-- @tparam string path
-- @tparam string err nginx's message
-- @tparam number budget_ms
-- @treturn string code
-- @treturn string message
function _M.connect(path, err, budget_ms)
    if err == "resource temporarily unavailable" then
        return "OVERLOADED", ("the listen queue of %s stayed full for the budget of %d ms; "
            .. "raise the server's option backlog, or make fewer calls"):format(path, budget_ms)
    elseif #path > _M.PATH_MAX then
        return "CONNECTION", ("socket path of %d bytes is too long, a unix socket's address takes "
            .. "%d at most; use a shorter one: %s"):format(#path, _M.PATH_MAX, path:sub(1, 400))
    end
    local words = CONNECT[err]
    return "CONNECTION", words and words(path) or ("can't connect to %s: %s"):format(path, err)
end

--- The message for an answer that did not come.
function _M.no_answer(route, path, budget_ms, margin_ms)
    return ("%s.%s got no answer from %s within its budget of %d ms and %d ms more"):format(
        route.app, route.action, path, budget_ms, margin_ms)
end

--- The message for a stream that has not ended in time.
function _M.no_end(route, path, budget_ms, margin_ms)
    return ("the stream of %s.%s from %s did not end within its budget of %d ms and %d ms more")
        :format(route.app, route.action, path, budget_ms, margin_ms)
end

--- The message for a stream that another light thread closed while it was read.
function _M.left(route)
    return ("the stream of %s.%s was closed while it was read"):format(route.app, route.action)
end

--- The message for a stream that already has a reader.
function _M.reader(route)
    return ("another light thread is reading this stream of %s.%s: read it in only one"):format(
        route.app, route.action)
end

--- The message for an action that streams, called by execute.
function _M.streams(route)
    return ("%s.%s streams its result: use stream, a plain call takes a single answer"):format(
        route.app, route.action)
end

--- The message for a request over a limit of the client.
-- @tparam string text the codec's message
function _M.too_long(text)
    return text .. "; raise the client's option max_message, and the server's"
end

--- The message for a body of an HTTP request over the limit.
function _M.body_too_long(size, limit)
    return ("the request's body has %.0f bytes, the client's option max_message allows %.0f; "
        .. "raise it, and the server's"):format(size, limit)
end

--- The message for a phase of nginx in which Lua can't wait.
-- @tparam string method
-- @tparam string phase as `ngx.get_phase` names it
-- @tparam string where it works, in words
function _M.phase(method, phase, where)
    return ("client:%s does not work in nginx's phase %s: %s"):format(method, phase, where)
end

return _M
