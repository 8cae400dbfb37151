---@meta resty.dirty

--- The client for nginx with the Lua module; see docs/openresty.md.
---@class resty.dirty
local resty_dirty = {}

---@class resty.dirty.client: dirty.client
local client = {}

--- Call an action; only its own request waits.
---@param app string
---@param action string
---@param ... any
---@return any ... the values; or nil, err, info
function client:execute(app, action, ...) end

--- Call an action that streams, and wait for its first chunk.
---@param app string
---@param action string
---@param ... any
---@return dirty.stream? stream
---@return string? err
---@return dirty.info? info
function client:stream(app, action, ...) end

--- Make a client with other options for its calls.
---@param options dirty.call.options
---@return resty.dirty.client
function client:with(options) end

--- Ask the runtime itself.
---@param action string
---@param ... any
---@return any ...
function client:arbiter(action, ...) end

--- Get the whole body of the running request.
---@return string? body
---@return string? err
---@return dirty.info? info
function client:body() end

function client:close() end

--- Make a client. It holds no socket, and can be shared by all requests of a worker.
---@param options? dirty.client.options
---@return resty.dirty.client
function resty_dirty.new(options) end

--- The same as new.
---@param options? dirty.client.options
---@return resty.dirty.client
function resty_dirty.client(options) end

return resty_dirty
