--- What a lane does in Lua: it loads apps and makes their objects, tells errors in words,
-- and has the JSON instance of the lane. The host (runtime/worker/lua_host.c) drives it;
-- apps don't need it.
-- @module dirty.lane

-- Taken when the lane opens: what an app does to the globals and to the strings' metatable
-- later doesn't reach us. So there is no s:method() in what runs here.
local assert, error, getmetatable, ipairs, pairs = assert, error, getmetatable, ipairs, pairs
local pcall, rawset, require, select, setmetatable = pcall, rawset, require, select, setmetatable
local tostring, type, unpack, xpcall = tostring, type, unpack, xpcall
local byte, find, format, gmatch = string.byte, string.find, string.format, string.gmatch
local gsub, sub, concat, sort = string.gsub, string.sub, table.concat, table.sort
local getinfo, sethook, traceback = debug.getinfo, debug.sethook, debug.traceback
local package, globals = package, _G

local dirty = require("dirty")
local explain = require("dirty.explain")
local fault = require("dirty.fault")
local fit = require("dirty.json_fit")
local host = require("dirty.host")
local json = require("dirty.json")
local suggest = require("dirty.suggest")

local booting = host.booting

local _M = {}

-- JSON of an error object above this is left out of the error's details.
local ERROR_JSON_MAX = 48 * 1024
-- How many tables an __index chain is followed when an app's actions are listed.
local CHAIN_MAX = 16

-- What the runtime calls of an app, and callers can't.
local LIFECYCLE = { "new", "init", "call", "close" }
local RESERVED = { new = true, init = true, call = true, close = true }

-- -- JSON -------------------------------------------------------------------------------

local cjson = assert(json.cjson(host.max_depth))

_M.encode = host.json_encoder(cjson, host.max_depth)
_M.decode = cjson.decode

--- Tell lua-cjson's error; see dirty.json.
_M.plain = json.plain

--- Say which number of a JSON text its value can't hold; see dirty.json_fit.
function _M.misfit(text, value)
    return (fit.check(text, value, cjson.decode))
end

--- Say why a value can't be encoded; see dirty.explain.
function _M.explain(value, name, reason)
    return explain.explain(value, name, reason, { max_depth = host.max_depth, null = cjson.null })
end

--- Give back what a large answer has made cjson's buffer grow to.
function _M.tidy()
    cjson.encode_keep_buffer(false)
    cjson.encode_keep_buffer(true)
end

-- -- Errors -----------------------------------------------------------------------------

-- JSON text of a non-string error object, nil if it has none or too much.
local function error_json(x)
    local ok, text = pcall(_M.encode, x)
    return ok and #text <= ERROR_JSON_MAX and text or nil
end

-- One line for an error object of any type.
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
    return type(x) == "table" and "error object: a table that is no JSON" or tostring(x)
end

-- error_text under protection: fields of error objects may be computed.
local function safe_text(x, text_of_x)
    local ok, text = pcall(error_text, x, text_of_x)
    return ok and text or "error object: a " .. type(x)
end

--- Tell an error that came out of an app.
-- @param x whatever was raised or returned as err
-- @treturn string message
-- @treturn string|nil code, if the error has one of its own
-- @treturn string|nil started
-- @treturn string|nil phase
-- @treturn string|nil JSON text of further members of the details
function _M.describe(x)
    if fault.is(x) then
        return x.message, x.code, x.started, x.phase, x.members
    end
    if type(x) == "string" then
        return x
    end
    local text = error_json(x)
    return safe_text(x, text), nil, nil, nil, text and '"error":' .. text or nil
end

-- Run f(...); its results, or nil and {message, traceback}.
local function attempt(f, ...)
    local args, n = { ... }, select("#", ...)
    local function run()
        return f(unpack(args, 1, n))
    end
    local function on_error(x)
        return { message = (_M.describe(x)), traceback = sub(traceback("", 2), 2) }
    end
    local results = { xpcall(run, on_error) }
    sethook() -- the app's, if it has set one, ends with its code
    if results[1] then
        return true, results[2], results[3]
    end
    return false, results[2]
end

-- -- Apps -------------------------------------------------------------------------------

local function indented(list)
    return "\n  " .. concat(list, "\n  ")
end

-- require's own words list places with a prefix each; we list the places.
local function not_found(module)
    local places = {}
    for _, path in ipairs({ package.path, package.cpath }) do
        for template in gmatch(path, "[^;]+") do
            places[#places + 1] = (gsub(template, "%?", (gsub(module, "%.", "/"))))
        end
    end
    return format("module '%s' is not found; it was looked for at%s", module, indented(places))
end

local function load_module(module)
    local ok, result = attempt(require, module)
    if ok then
        return result
    end
    if find(result.message, "module '" .. module .. "' not found:", 1, true) == 1 then
        return nil, { message = not_found(module) }
    end
    return nil, result
end

local function field_names(t)
    local names = {}
    for key in pairs(t) do
        names[#names + 1] = key
    end
    return names
end

-- The app's table of a spec, or nil and what is wrong.
local function find_app(spec)
    local module, failure = load_module(spec.module)
    if failure then
        return nil, failure
    end
    if type(module) ~= "table" then
        return nil, { message = format("module '%s' returned a %s: an app is a table",
            spec.module, module == true and "boolean (nothing)" or type(module)) }
    end
    if not spec.object then
        return module
    end
    local object = module[spec.object]
    if object == nil then
        return nil, { message = format("module '%s' has no field '%s'%s",
            spec.module, spec.object, suggest.hint(spec.object, field_names(module))) }
    end
    if type(object) ~= "table" then
        return nil, { message = format("'%s' of module '%s' is a %s: an app is a table",
            spec.object, spec.module, type(object)) }
    end
    return object
end

local function with_phase(phase, failure)
    failure.phase = phase
    return nil, failure
end

-- What is wrong with the functions that the runtime calls, nil if they are some or absent.
local function lifecycle_fault(app, what)
    for _, name in ipairs(LIFECYCLE) do
        local kind = type(app[name])
        if kind ~= "nil" and kind ~= "function" then
            return { message = format("'%s' of %s is a %s: new, init, call and close are "
                .. "functions that the runtime calls", name, what, kind) }
        end
    end
end

local function find_right_app(spec)
    local app, failure = find_app(spec)
    if not app then
        return nil, failure
    end
    local fault_found = lifecycle_fault(app, format("the app '%s'", spec.name))
    return not fault_found and app or nil, fault_found
end

local function load(spec)
    booting("load")
    local ok, app, failure = attempt(find_right_app, spec)
    if not ok then
        app, failure = nil, app
    end
    if not app then
        return with_phase("load", failure)
    end
    return app
end

-- App:new(options), or a table that inherits from the app.
local function make(app, options)
    if app.new == nil then
        return setmetatable({}, { __index = app })
    end
    local object, err = app:new(options)
    if type(object) ~= "table" then
        error(err ~= nil and err
            or format("new returned a %s, not the app's object, a table", type(object)), 0)
    end
    local wrong = lifecycle_fault(object, "the object that new returned")
    if wrong then
        error(wrong.message, 0)
    end
    return object
end

local function init(object, options)
    if object.init == nil then
        return
    end
    local result, err = object:init(options)
    if not result and err ~= nil then
        error(err, 0)
    end
end

--- Load an app and make its object.
-- @tparam table spec `name`, `module`, `object` (a field of the module, or nil), `options`
--   (JSON text, or nil)
-- @treturn table|nil the object
-- @treturn function|false its own `call`, false for the default one
-- @treturn table|nil what failed: `phase` ("load", "new", "init"), `message`, `traceback`
function _M.open(spec)
    local app, failure = load(spec)
    if not app then
        return nil, false, failure
    end
    local options = spec.options and cjson.decode(spec.options) or {}
    booting("new")
    local ok, object = attempt(make, app, options)
    if not ok then
        return nil, false, select(2, with_phase("new", object))
    end
    local call = object.call
    if call == nil then
        object.call, call = _M.call, false
    end
    booting("init")
    ok, failure = attempt(init, object, options)
    booting("none")
    if not ok then
        return nil, false, select(2, with_phase("init", failure))
    end
    return object, call
end

--- Call an app object's close(), if it has one. What it raises is logged.
function _M.close(object)
    if type(object.close) ~= "function" then
        return
    end
    local ok, failure = attempt(object.close, object)
    if not ok then
        dirty.log.error("close failed", failure)
    end
end

-- The object that the last try has made.
local tried

--- Try an app without serving it, step by step.
-- @tparam table spec as for open
-- @tparam string step "load" its module, "init" an object too, "close" that object
-- @treturn string|nil JSON text of members that tell of the app: `declared`, `file`
-- @treturn table|nil what failed, as for open
function _M.try(spec, step)
    local app, failure = load(spec)
    if not app then
        return nil, failure
    end
    if step == "init" then
        local object, _, why = _M.open(spec)
        if not object then
            return nil, why
        end
        tried = object
    elseif step == "close" then
        _M.close(tried)
        tried = nil
    end
    local members = '"declared":' .. _M.encode(dirty.declared(app))
    local file = package.searchpath(spec.module, package.path)
    return file and members .. ',"file":' .. _M.encode(file) or members
end

-- -- Actions ----------------------------------------------------------------------------

local function is_action(name)
    return type(name) == "string" and byte(name) ~= 95 and not RESERVED[name]
end

-- Names of the functions that callers can reach, in order.
local function actions_of(object)
    local names, seen = {}, {}
    for _ = 1, CHAIN_MAX do
        if type(object) ~= "table" then
            break
        end
        for key, value in pairs(object) do
            if type(value) == "function" and is_action(key) and not seen[key] then
                seen[key] = true
                names[#names + 1] = key
            end
        end
        object = (getmetatable(object) or {}).__index
    end
    sort(names)
    return names
end

--- Raise ACTION_NOT_FOUND.
-- @tparam table object the app object
-- @tparam string app its name
-- @tparam string action what was asked for
function _M.no_action(object, app, action)
    local names = actions_of(object)
    local found = suggest.nearest(action, names)
    local message = format("app '%s' has no action '%s'%s", app, action,
        suggest.hint(action, names))
    if not is_action(action) then
        message = format("'%s' of app '%s' is not an action: names that begin with '_', and "
            .. "new, init, call, close, are the app's own", action, app)
    end
    fault.raise("ACTION_NOT_FOUND", message, {
        started = "no",
        members = found and '"nearest":' .. _M.encode(found) or nil,
    })
end

--- The default `call` of an app: runs the object's function of that name.
-- Lanes do the same in C; this one is for apps that call it by themselves.
-- @tparam table self the app object
-- @tparam string action
-- @return whatever the action returns
function _M.call(self, action, ...)
    local f = is_action(action) and self[action]
    if type(f) ~= "function" then
        _M.no_action(self, dirty.request.app or "?", tostring(action))
    end
    return f(self, ...)
end

-- -- Globals ----------------------------------------------------------------------------

-- A global that an app sets while it serves is most often a forgotten `local`: say so once.
local function report_global(t, name, value)
    rawset(t, name, value)
    local where = getinfo(2, "Sl") or { short_src = "?", currentline = 0 }
    if where.what ~= "C" then
        dirty.log.warn("a global variable was made after load: is a 'local' missing?", {
            name = tostring(name),
            where = format("%s:%d", where.short_src, where.currentline),
        })
    end
end

-- Where the lane opened.
local home = host.cwd()

-- Templates of `package.path` as they are from there.
local function from_home(path)
    return (gsub(path, "[^;]+", function(template)
        return byte(template) ~= 47 and home .. "/" .. gsub(template, "^%./", "") or nil
    end))
end

--- The lane has its apps: watch the table of globals from now on. And find modules where they
-- are now, should an app change the working directory of all.
function _M.booted()
    if home and host.cwd() == home then
        package.path, package.cpath = from_home(package.path), from_home(package.cpath)
    end
    if getmetatable(globals) == nil then
        setmetatable(globals, { __newindex = report_global })
    end
end

return _M
