--- Checks app specs: `module[:Object][:N]`, and the tables of the configuration file.
-- @module dirty.config.spec

local cjson = require "cjson"
local explain = require "dirty.explain"
local types = require "dirty.config.types"
local suggest = require "dirty.suggest"

local _M = {}

--- The largest number of apps.
_M.APPS_MAX = 1024

local NAME_MAX = 255 -- limit of the wire: the length has one byte

local MAX_DEPTH = 1000
local json = require("dirty.json").new(MAX_DEPTH)

local FIELDS = {
    module = { check = function(value)
        if type(value) ~= "string" then
            return nil, "the name of a Lua module, for example \"myapp.images\""
        elseif value:find("/", 1, true) or value:match("%.lua$") then
            local name = value:gsub("^%./", ""):gsub("%.lua$", ""):gsub("/+", ".")
            return nil, ("the name of a module, not of a file: write %q"):format(name)
        elseif not value:match("^[%w_%-][%w_%-.]*$") then
            return nil, "the name of a Lua module, for example \"myapp.images\""
        end
        return value
    end },
    object = { check = function(value)
        if type(value) == "string" and value:match("^[%a_][%w_]*$") then
            return value
        end
        return nil, "the name of a field of the module, for example \"Model\""
    end },
    workers = types.count(1, 4096),
    timeout = types.seconds("no limit"),
    max_queue = types.count(1, 1000000),
    interruptible = types.boolean(),
    cancel_on_disconnect = types.boolean(),
    exclusive = types.boolean(),
    isolated = types.boolean(),
    options = { check = function(value)
        if type(value) ~= "table" then
            return nil, "a table of JSON values"
        end
        local ok, text = pcall(json.encode, value)
        if ok then
            return value
        end
        local where, what = explain.find(value, { max_depth = MAX_DEPTH, null = cjson.null })
        return nil, where and "JSON values" or "JSON values: " .. text,
            where and where .. " " .. what
    end },
    name = { check = function(value)
        return type(value) == "string" and value or nil, "the name that callers use, a string"
    end },
}

--- The fields of an app's table, in the order in which they are shown.
_M.FIELDS = { "name", "module", "object", "workers", "timeout", "max_queue", "interruptible",
    "cancel_on_disconnect", "exclusive", "isolated", "options" }

--- The kinds of the fields that an app can declare by `dirty.app`, by name.
_M.DECLARED = {}
for _, name in ipairs { "workers", "timeout", "max_queue", "interruptible",
    "cancel_on_disconnect", "exclusive", "isolated" } do
    _M.DECLARED[name] = FIELDS[name]
end

--- Check the name of an app.
-- @tparam string name
-- @treturn string|nil what it must be; nil for a good name
function _M.name_fault(name)
    if #name == 0 or #name > NAME_MAX then
        return ("1 to %d bytes long, it has %d"):format(NAME_MAX, #name)
    elseif not name:match("^[\33-\126]+$") then
        return "printable ASCII without blanks"
    elseif name:sub(1, 1) == "@" then
        return "without @ at its start: those names belong to the runtime"
    end
end

-- What to write in place of a path.
local function path_fault(text)
    local path = text:match("^[^:]*")
    local directory, file = path:match("^(/.*)/([^/]+)$")
    local module = (file or path):gsub("^%./+", ""):gsub("%.lua$", ""):gsub("/init$", "")
        :gsub("/+", ".")
    return ("%q is a path: write %q, as require names it; it is searched for in the working "
        .. "directory and in lua_path%s"):format(text, module,
        directory and (" (--lua-path '%s/?.lua')"):format(directory) or "")
end

--- Parse an app spec.
-- @tparam string text `module[:Object][:N]`
-- @treturn table|nil `{name=, module=, object=|nil, workers=|nil}`; name is the spec without `:N`
-- @treturn nil|string what is wrong, naming the part of the spec
-- @usage spec.parse "apps.ml:Model:2" --> {name="apps.ml:Model", module="apps.ml",
--                                          object="Model", workers=2}
function _M.parse(text)
    if text:find("/", 1, true) or text:find("%.lua$") then
        return nil, path_fault(text)
    end
    local module, rest = text:match("^([^:]*)(.*)$")
    local object, workers
    for part in rest:gmatch(":([^:]*)") do
        if part:match("^%d+$") and not workers then
            workers = tonumber(part)
        elseif not object and not workers then
            object = part
        else
            return nil, ("%q has an extra part %q: write module[:Object][:N], for example "
                .. "apps.ml:Model:2"):format(text, ":" .. part)
        end
    end
    local app = { name = object and module .. ":" .. object or module,
        module = module, object = object, workers = workers }
    for _, field in ipairs { "module", "object", "workers" } do
        if app[field] ~= nil then
            local value, must = FIELDS[field].check(app[field])
            if value == nil then
                return nil, ("%q: its %s %q must be %s"):format(text, field,
                    tostring(app[field]), must)
            end
        end
    end
    return app
end

local function table_field(what, app, key, value)
    local field = type(key) == "string" and FIELDS[key]
    if not field then
        return nil, ("%s has an unknown key %s%s"):format(what, tostring(key),
            suggest.hint(tostring(key), _M.FIELDS))
    end
    local normal, must, flaw = field.check(value)
    if flaw then
        return nil, ("%s: %s%s: must be %s"):format(what, key, flaw, must)
    elseif normal == nil then
        local shown = type(value) == "string" and ("%q"):format(value) or tostring(value)
        return nil, ("%s: %s = %s: must be %s"):format(what, key, shown, must)
    end
    app[key] = normal
    return true
end

local function from_table(what, key, entry)
    local app = {}
    for field, value in pairs(entry) do
        local ok, err = table_field(what, app, field, value)
        if not ok then
            return nil, err
        end
    end
    if not app.module then
        return nil, ("%s has no module: write { module = \"myapp.images\", ... }"):format(what)
    end
    app.name = key or app.name or (app.object and app.module .. ":" .. app.object or app.module)
    return app
end

-- Check one entry of the option apps. key is its name, nil in the list part.
local function entry_to_app(what, key, entry)
    local app, err
    if type(entry) == "string" then
        app, err = _M.parse(entry)
        err = err and ("%s: the app spec %s"):format(what, err)
    elseif type(entry) == "table" then
        app, err = from_table(what, key, entry)
    else
        err = ("%s is a %s: must be a spec like \"myapp.images:2\" or a table like "
            .. "{ module = \"myapp.images\" }"):format(what, type(entry))
    end
    if not app then
        return nil, err
    end
    app.name = key or app.name
    local fault = _M.name_fault(app.name)
    if fault then
        return nil, ("%s: the name %q must be %s"):format(what, app.name, fault)
    end
    return app
end

-- The last index of the list part, and the names, sorted. A hole in the list counts, because a
-- misspelt variable leaves one.
local function split_keys(apps)
    local last, names = 0, {}
    for key in pairs(apps) do
        if type(key) == "string" then
            names[#names + 1] = key
        elseif type(key) == "number" and key == math.floor(key) and key > 0 then
            last = math.max(last, key)
        else
            return nil, ("apps has the key %s: it can have only a list and names"):format(
                tostring(key))
        end
    end
    table.sort(names)
    return last, names
end

local function add(list, seen, what, key, entry)
    local app, err = entry_to_app(what, key, entry)
    if not app then
        return nil, err
    elseif seen[app.name] then
        return nil, ("%s: there is an app %q already; give one of them a name of its own: "
            .. "apps = { other = { module = %q } }"):format(what, app.name, app.module)
    end
    seen[app.name] = true
    list[#list + 1] = app
    return true
end

--- Check the option `apps` and make it a list: the list part first, then the named apps sorted by
-- name.
-- @tparam {string|table,...} apps specs and tables, in the list part or under names
-- @treturn {table,...}|nil list of `{name=, module=, object=, workers=, timeout=, max_queue=,
--   options=}`; nil for what was not given, timeout in seconds
-- @treturn nil|string what is wrong
function _M.list(apps)
    if type(apps) ~= "table" then
        return nil, ("apps = %s: must be a table of specs, for example { \"myapp.images:2\" }")
            :format(tostring(apps))
    end
    local last, names = split_keys(apps)
    if not last then
        return nil, names
    elseif last + #names > _M.APPS_MAX then
        return nil, ("apps has %d entries, at most %d are served"):format(
            last + #names, _M.APPS_MAX)
    end
    local list, seen = {}, {}
    for i = 1, last + #names do
        local key = names[i - last]
        local what = key and "apps." .. key or ("apps[%d]"):format(i)
        local ok, err = add(list, seen, what, key, apps[key or i])
        if not ok then
            return nil, err
        end
    end
    return list
end

--- Write the options of an app as they are sent to the lanes.
-- @tparam table|nil options
-- @treturn string the text of a JSON value
function _M.options_json(options)
    return options and json.encode(options) or "{}"
end

return _M
