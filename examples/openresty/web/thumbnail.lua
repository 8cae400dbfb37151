-- The request's body is an image; answer with a small one, as wide as the argument says.
local client = require("dirty").get_client()
local fail = require "web.failure"

local image, err, info = client:body() -- from memory, or from the file nginx has put it into
if not image then
    return fail(err, info)
end

local width = math.max(16, math.min(tonumber(ngx.var.arg_width) or 256, 2048))
local small, about
small, about, info = client:with({ timeout = 5 }):execute("images", "thumbnail", image,
    { width = math.floor(width) })
if not small then
    return fail(about, info)
end

ngx.header["Content-Type"] = "image/" .. about.format
ngx.header["Content-Length"] = #small
ngx.print(small)
