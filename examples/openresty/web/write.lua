-- Words as server-sent events: one for each, as soon as it is there.
local cjson = require "cjson"
local client = require("dirty").get_client()
local fail = require "web.failure"
local number = require "web.number"

local words, err, info = client:with({ timeout = 60 }):stream("writer", "write",
    ngx.var.arg_first or "The", number("count", 0, 1000000))
if not words then
    return fail(err, info)
end

ngx.header["Content-Type"] = "text/event-stream"
ngx.header["Cache-Control"] = "no-cache"
for word in words do
    ngx.print("data: ", cjson.encode(word), "\n\n")
    if not ngx.flush(true) then -- nobody reads any more
        return words:close()
    end
end

-- The status is sent already, so an error is told by an event.
if words.err then
    ngx.log(ngx.ERR, words.err)
    ngx.print("event: failure\ndata: ", cjson.encode(words.info.code), "\n\n")
else
    ngx.print("event: done\ndata: null\n\n")
end
