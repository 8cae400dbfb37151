--- The body of the HTTP request that runs, wherever nginx has put it.
-- @module resty.dirty.body

local refusal = require "resty.dirty.refusal"

local _M = {}

-- All of a file; nil, err.
local function read_file(path, limit)
    local file, err = io.open(path, "rb")
    if not file then
        return nil, err
    end
    local size = file:seek("end")
    if size > limit then
        file:close()
        return nil, nil, size
    end
    file:seek("set")
    local bytes = size == 0 and "" or file:read(size)
    file:close()
    if not bytes or #bytes ~= size then
        return nil, ("%d of %d bytes are there"):format(bytes and #bytes or 0, size)
    end
    return bytes
end

local function too_long(size, limit)
    return nil, "PROTOCOL", refusal.body_too_long(size, limit), 413
end

--- Read the body, all of it. Waits until the browser has sent it, other requests go on. A
-- body that nginx keeps in a temporary file is read from there, and that read is one that
-- blocks.
-- @tparam number limit bytes at most
-- @treturn string|nil "" if there is none
-- @treturn nil|string code
-- @treturn nil|string message
-- @treturn nil|number HTTP status
function _M.read(limit)
    local told = tonumber(ngx.var.content_length)
    if told and told > limit then
        return too_long(told, limit)
    end
    ngx.req.read_body()
    local path = ngx.req.get_body_file()
    if not path then
        local bytes = ngx.req.get_body_data() or ""
        if #bytes > limit then
            return too_long(#bytes, limit)
        end
        return bytes
    end
    local bytes, err, size = read_file(path, limit)
    if size then
        return too_long(size, limit)
    elseif not bytes then
        return nil, "CONNECTION", ("can't read the request's body from %s: %s"):format(path, err),
            500
    end
    return bytes
end

return _M
