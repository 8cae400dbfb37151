-- The request's body is an image; answer with a small one, as wide as the argument says.
local client = require("dirty").get_client()
local fail = require "web.failure"
local number = require "web.number"

local image, err, info = client:body() -- from memory, or from the file nginx has put it into
if not image then
    return fail(err, info)
end

local small, about
small, about, info = client:with({ timeout = 5 }):execute("images", "thumbnail", image,
    { width = number("width", 16, 2048) or 256 })
if not small then
    return fail(about, info)
end

ngx.header["Content-Type"] = "image/" .. about.format
ngx.header["Content-Length"] = #small
ngx.print(small)
