--- Answer a request whose call has failed. The browser gets the status and the code, the log
-- all that is known: messages and tracebacks are for those who run the server.

local cjson = require "cjson"

-- An app that returns nil, err has refused what it was given; one that raised has failed,
-- and then there is a traceback.
local function status_of(info)
    if info.code == "APP" and not info.traceback then
        return 422
    end
    return info.http_status
end

--- @tparam string err
-- @tparam table info both as the client gives them
return function(err, info)
    local status = status_of(info)
    ngx.log(status < 500 and ngx.NOTICE or ngx.ERR, err, "\n", info.traceback or "")
    ngx.status = status
    if info.retry_after_ms then
        ngx.header["Retry-After"] = math.ceil(info.retry_after_ms / 1000)
    end
    ngx.header["Content-Type"] = "application/json"
    ngx.say(cjson.encode { error = info.code })
end
