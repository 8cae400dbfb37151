--- Loads apps, makes their objects and closes them. An app goes through three phases, and a
-- failure names the one it came from:
--
--     load  require(module), and take its field `object` if the spec has one
--     new   App:new(options), or a table that inherits from the app if it has no `new`
--     init  object:init(options), if the object has it
--
-- The host publishes the phase (`host.booting`), so that the arbiter can name it if the app
-- hangs. `try` goes through the same phases in a probe (runtime/worker/probe.c), which serves
-- nobody: for `dirty check`, and before a reload.
-- @module dirty.lane.loader

-- Taken when the lane opens: apps may change the globals and the strings' metatable later.
local error, ipairs, pairs, require, select = error, ipairs, pairs, require, select
local setmetatable, type = setmetatable, type
local find, format, gmatch, gsub = string.find, string.format, string.gmatch, string.gsub
local concat, package = table.concat, package

local actions = require("dirty.lane.actions")
local advice = require("dirty.lane.advice")
local dirty = require("dirty")
local errors = require("dirty.lane.errors")
local host = require("dirty.host")
local json = require("dirty.lane.json")
local suggest = require("dirty.suggest")

local attempt, booting = errors.attempt, host.booting

local _M = {}

-- The functions of an app that the runtime calls.
local LIFECYCLE = { "new", "init", "call", "close" }

-- -- Loading ----------------------------------------------------------------------------

local function indented(list)
    return "\n  " .. concat(list, "\n  ")
end

-- The message for a module that is not found. It lists the places without the prefix that
-- require puts before each.
local function not_found(module)
    local places = {}
    for _, path in ipairs({ package.path, package.cpath }) do
        for template in gmatch(path, "[^;]+") do
            places[#places + 1] = (gsub(template, "%?", (gsub(module, "%.", "/"))))
        end
    end
    return format("module '%s' was not found at%s", module, indented(places))
end

-- What require returns; or nil and the failure.
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

-- The app's table of a spec; or nil and the failure.
local function find_app(spec)
    local module, failure = load_module(spec.module)
    if failure then
        return nil, failure
    end
    if type(module) ~= "table" then
        return nil, { message = format("module '%s' returned a %s: an app must be a table",
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
        return nil, { message = format("'%s' of module '%s' is a %s: an app must be a table",
            spec.object, spec.module, type(object)) }
    end
    return object
end

local function with_phase(phase, failure)
    failure.phase = phase
    return nil, failure
end

-- The failure if a field that the runtime calls is not a function; nil if all are functions
-- or absent.
local function lifecycle_fault(app, what)
    for _, name in ipairs(LIFECYCLE) do
        local kind = type(app[name])
        if kind ~= "nil" and kind ~= "function" then
            return { message = format("'%s' of %s is a %s: new, init, call and close must be "
                .. "functions", name, what, kind) }
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

-- The app's table; or nil and the failure, with its phase.
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

-- -- Making objects ---------------------------------------------------------------------

-- App:new(options), or a table that inherits from the app.
local function make(app, options)
    if app.new == nil then
        return setmetatable({}, { __index = app })
    end
    local object, err = app:new(options)
    if type(object) ~= "table" then
        error(err ~= nil and err
            or format("new returned a %s: it must return the app's object, a table",
                type(object)), 0)
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
    local options = spec.options and json.decode(spec.options) or {}
    booting("new")
    local ok, object = attempt(make, app, options)
    if not ok then
        return nil, false, select(2, with_phase("new", object))
    end
    local call = object.call
    if call == nil then
        object.call, call = actions.call, false
    end
    booting("init")
    ok, failure = attempt(init, object, options)
    booting("none")
    if not ok then
        return nil, false, select(2, with_phase("init", failure))
    end
    return object, call
end

--- Call an app object's close(), if it has one. Logs what close raises.
-- @tparam table object
function _M.close(object)
    if type(object.close) ~= "function" then
        return
    end
    local ok, failure = attempt(object.close, object)
    if not ok then
        dirty.log.error("close failed", failure)
    end
end

-- -- Trying apps ------------------------------------------------------------------------

-- The object that the last step "init" of try has made.
local tried

--- Try an app without serving it, step by step.
-- @tparam table spec as for open
-- @tparam string step "load" its module, "init" an object too, "close" that object
-- @treturn string|nil JSON text of members about the app: `declared`, `file`
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
    local members = '"declared":' .. json.encode(dirty.declared(app))
    local warnings = advice.on_actions(app, spec.name)
    if #warnings > 0 then
        members = members .. ',"warnings":' .. json.encode(warnings)
    end
    local file = package.searchpath(spec.module, package.path)
    return file and members .. ',"file":' .. json.encode(file) or members
end

return _M
