--- Reads the body of the current HTTP request, from wherever nginx has put it.
-- @module resty.dirty.body

local messages = require "resty.dirty.messages"

local _M = {}

-- In ngx.ctx: the light thread that reads the body of this request.
local READER = {}
-- Pauses between checks whether it is done, doubling, in seconds.
local PAUSE_FIRST, PAUSE_LAST = 0.001, 0.032

-- Read a whole file; or nil, err.
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
    return nil, "PROTOCOL", messages.body_too_long(size, limit), 413
end

-- Wait until the light thread that reads the body has finished. nginx allows one reader only: a
-- second one gets what is there so far, and then nginx crashes. False: the reader was killed, and
-- nobody can read the rest of the body.
local function wait_for_reader(ctx)
    local pause = PAUSE_FIRST
    while ctx[READER] and ctx[READER] ~= coroutine.running() do
        if coroutine.status(ctx[READER]) == "dead" then
            return false
        end
        ngx.sleep(pause)
        pause = math.min(pause * 2, PAUSE_LAST)
    end
    return true
end

-- Have nginx read the body, or wait for another light thread that does. False: as above.
local function have_it_read()
    local ctx = ngx.ctx
    if not wait_for_reader(ctx) then
        return false
    end
    ctx[READER] = coroutine.running()
    ngx.req.read_body()
    ctx[READER] = nil
    return true
end

--- Read the whole body. Waits until the browser has sent it; other requests go on. Several light
-- threads of the request may read it. A body in nginx's temporary file is read from there, which
-- blocks.
-- @tparam number limit maximum number of bytes
-- @treturn string|nil "" if there is none
-- @treturn nil|string code
-- @treturn nil|string message
-- @treturn nil|number HTTP status
function _M.read(limit)
    local told = tonumber(ngx.var.content_length)
    if told and told > limit then
        return too_long(told, limit)
    end
    if not have_it_read() then
        return nil, "CONNECTION", "the request's body is incomplete: the light thread that read it "
            .. "was killed", 500
    end
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
