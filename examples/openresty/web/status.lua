-- The state of the runtime, as JSON.
local cjson = require "cjson"
local fail = require "web.failure"

local status, err, info = require("dirty").get_client():status()
if not status then
    return fail(err, info)
end
ngx.header["Content-Type"] = "application/json"
ngx.say(cjson.encode(status))
