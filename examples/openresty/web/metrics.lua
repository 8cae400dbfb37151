-- The counters of the runtime, as Prometheus reads them.
local fail = require "web.failure"

local text, err, info = require("dirty").get_client():metrics()
if not text then
    return fail(err, info)
end
ngx.header["Content-Type"] = "text/plain; version=0.0.4"
ngx.print(text)
