---@meta dirty

--- The module for dirty apps and for their callers; see docs/apps.md.
---@class dirty
---@field null lightuserdata the null of JSON inside tables
---@field log dirty.log
---@field request dirty.request
local dirty = {}

--- What an app declares. The configuration takes precedence.
---@class dirty.declaration
---@field workers? integer in how many workers it runs; default all
---@field timeout? number seconds of a call, 0: no limit
---@field max_queue? integer requests that may wait for it
---@field interruptible? boolean a late call can be ended without its worker
---@field cancel_on_disconnect? boolean a call is ended when its caller has left
---@field exclusive? boolean never in more workers than its limit
---@field isolated? boolean its workers hold no connections of other calls

--- An app. Its other functions are actions, which callers call by name; `self` is its object.
---@class dirty.app
---@field new? fun(self: dirty.app, options: table): dirty.app?, any makes the object
---@field init? fun(self: dirty.app, options: table): any, any once per lane, before any call
---@field call? fun(self: dirty.app, action: string, ...: any): ... decides by itself what an action is
---@field close? fun(self: dirty.app) once, when the worker stops
---@field [string] any

--- The request that runs. Every field is nil while none runs.
---@class dirty.request
---@field id? integer the caller's own number
---@field app? string
---@field action? string
---@field metadata? any what the caller sent along
---@field deadline? number as os.time() counts, with fractions
---@field pid? integer of the caller
---@field uid? integer of the caller

---@class dirty.log
local log = {}

---@param msg string
---@param fields? table<string, any>
function log.debug(msg, fields) end

---@param msg string
---@param fields? table<string, any>
function log.info(msg, fields) end

---@param msg string
---@param fields? table<string, any>
function log.warn(msg, fields) end

---@param msg string
---@param fields? table<string, any>
function log.error(msg, fields) end

--- Make an app.
---@param options? dirty.declaration
---@return dirty.app
function dirty.app(options) end

--- Get what an app has declared.
---@param app dirty.app
---@return dirty.declaration
function dirty.declared(app) end

--- Seconds until the deadline of the running request, math.huge without one.
---@return number
function dirty.remaining() end

--- Raise if the deadline has passed, or the caller has hung up.
function dirty.check() end

--- Make a client: resty.dirty inside nginx, else dirty.client.
---@param options? dirty.client.options
---@return dirty.client
function dirty.client(options) end

--- Get the client of this process.
---@param options? dirty.client.options for the first call
---@return dirty.client
function dirty.get_client(options) end

---@class dirty.client.options
---@field socket? string path of the runtime's socket
---@field timeout? number seconds of a call; default 30
---@field max_message? integer bytes of a request or an answer
---@field max_depth? integer how deep tables may nest
---@field priority? integer 0 (first) to 9 (last)
---@field metadata? table reaches the app as dirty.request.metadata
---@field pool_size? integer idle connections per worker of nginx
---@field keepalive_timeout? number seconds that an idle connection is kept in nginx

---@class dirty.call.options
---@field timeout? number seconds
---@field priority? integer 0 (first) to 9 (last)
---@field metadata? table

--- What a failed call gives as its third value.
---@class dirty.info
---@field code string "TIMEOUT", "APP", …
---@field message string
---@field http_status integer
---@field started "no"|"yes"|"unknown" whether the app may have run
---@field app? string
---@field action? string
---@field phase? "receive"|"queue"|"run"|"client"
---@field traceback? string
---@field elapsed_ms? number
---@field retry_after_ms? number
---@field error? any the error object, if it was no string
---@field pid? integer
---@field worker? integer

--- A streamed answer: call it for the next chunk, as a generic `for` does.
---@class dirty.stream
---@field err? string why it ended early
---@field info? dirty.info
---@overload fun(): ...
local stream = {}

--- Leave the stream before its end.
function stream:close() end

---@class dirty.client
local client = {}

--- Call an action and wait for its values.
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
---@return dirty.client
function client:with(options) end

--- Ask the runtime itself.
---@param action string
---@param ... any
---@return any ...
function client:arbiter(action, ...) end

---@return table? status as `dirty status --json` prints it
---@return string? err
---@return dirty.info? info
function client:status() end

---@return string? metrics
---@return string? err
---@return dirty.info? info
function client:metrics() end

--- Close its connections.
function client:close() end

return dirty
