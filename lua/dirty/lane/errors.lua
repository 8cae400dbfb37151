--- Errors of apps in words. An error object of any type becomes a message and, if it has
-- them, a code and details. Code of apps runs here under protection, with a traceback.
-- @module dirty.lane.errors

-- Taken when the lane opens: apps may change the globals later.
local getmetatable, pcall, select, tostring, type = getmetatable, pcall, select, tostring, type
local unpack, xpcall = unpack, xpcall
local find, sub = string.find, string.sub
local sethook, traceback = debug.sethook, debug.traceback

local fault = require("dirty.fault")
local json = require("dirty.lane.json")

local _M = {}

-- The details of an error hold its error object as JSON, up to this many bytes.
local ERROR_JSON_MAX = 48 * 1024

-- JSON text of a non-string error object; nil if it can't be encoded or is too large.
local function error_json(x)
    local ok, text = pcall(json.encode, x)
    return ok and #text <= ERROR_JSON_MAX and text or nil
end

-- One line for an error object of any type. May raise: an app's metamethods run.
local function error_text(x, text_of_x)
    if type(x) == "string" then
        return x
    end
    local mt = getmetatable(x)
    if type(mt) == "table" and mt.__tostring then
        local ok, text = pcall(tostring, x)
        if ok and type(text) == "string" then
            return text
        end
    end
    if type(x) == "table" and type(x.message) == "string" then
        return x.message
    end
    if type(x) == "table" and text_of_x then
        return "error object: " .. text_of_x
    end
    return type(x) == "table" and "error object: a table that is not JSON" or tostring(x)
end

-- The same under protection.
local function safe_text(x, text_of_x)
    local ok, text = pcall(error_text, x, text_of_x)
    return ok and text or "error object: a " .. type(x)
end

-- Add advice on a common mistake.
local function with_advice(message)
    if find(message, "global 'ngx' (a nil value)", 1, true) then
        return message .. " (apps run outside of nginx, and have no ngx: see \"Code from "
            .. "OpenResty\" in docs/apps.md)"
    end
    return message
end

--- Describe an error that an app raised or returned.
-- @param x the error object: whatever was raised, or returned as err
-- @treturn string message
-- @treturn string|nil code, if the error has its own
-- @treturn string|nil started
-- @treturn string|nil phase
-- @treturn string|nil JSON text of further members of the details
function _M.describe(x)
    if fault.is(x) then
        return x.message, x.code, x.started, x.phase, x.members
    end
    if type(x) == "string" then
        return with_advice(x)
    end
    local text = error_json(x)
    return safe_text(x, text), nil, nil, nil, text and '"error":' .. text or nil
end

--- Run f(...) under protection.
-- @tparam function f
-- @param ... its arguments
-- @treturn boolean whether it returned
-- @return its first result; or a table with `message` and `traceback`
-- @return its second result
function _M.attempt(f, ...)
    local args, n = { ... }, select("#", ...)
    local function run()
        return f(unpack(args, 1, n))
    end
    local function on_error(x)
        return { message = (_M.describe(x)), traceback = sub(traceback("", 2), 2) }
    end
    local results = { xpcall(run, on_error) }
    sethook() -- a hook that the app has set ends with the app's code
    if results[1] then
        return true, results[2], results[3]
    end
    return false, results[2]
end

return _M
