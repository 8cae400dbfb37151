---@meta dirty.testing

--- Runs an app in a test, without a runtime; see docs/apps.md.
---@class dirty.testing
local testing = {}

---@class dirty.testing.options
---@field options? table what init gets
---@field name? string in calls; default the spec
---@field timeout? number seconds, instead of what the app declares

---@class dirty.testing.calls
---@field timeout? number seconds; an endless loop ends then
---@field metadata? table
---@field priority? integer has no effect
---@field gone? boolean the caller has hung up

---@class dirty.testing.line
---@field level "debug"|"info"|"warn"|"error"
---@field message string
---@field fields string logfmt

---@class dirty.testing.failure
---@field phase "load"|"new"|"init"
---@field message string
---@field traceback? string

---@class dirty.testing.app
---@field object table what `self` is in actions
---@field name string
---@field log dirty.testing.line[]
local app = {}

--- Call an action.
---@param action string
---@param ... any
---@return any ... the values; or nil, err, info
function app:execute(action, ...) end

--- Call an action that streams, up to its first chunk.
---@param action string
---@param ... any
---@return dirty.stream? stream
---@return string? err
---@return dirty.info? info
function app:stream(action, ...) end

--- Call an action that streams and collect its chunks.
---@param action string
---@param ... any
---@return any[] chunks
---@return string? err
---@return dirty.info? info
function app:collect(action, ...) end

--- Make calls with other options, on the same object.
---@param options dirty.testing.calls
---@return dirty.testing.app
function app:with(options) end

--- Call the app's close().
function app:close() end

--- Load an app and make its object.
---@param app string|table its spec or its table
---@param options? dirty.testing.options
---@return dirty.testing.app? app
---@return string? err
---@return dirty.testing.failure? failure
function testing.open(app, options) end

return testing
