--- Writes the effective configuration as text: Lua for a configuration file, or JSON.
-- @module dirty.config.show

local exact = require "dirty.json_exact"
local options = require "dirty.config.options"
local spec = require "dirty.config.spec"

local _M = {}

local json = require("dirty.json").new()

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or
    repeat return then true until while]]):gmatch("%a+") do
    KEYWORDS[word] = true
end

local function quote(text)
    return (("%q"):format(text):gsub("\\\n", "\\n"):gsub("%c", function(char)
        return ("\\%03d"):format(char:byte())
    end))
end

local function scalar(value)
    if type(value) == "string" then
        return quote(value)
    elseif type(value) == "number" then
        return exact.number(value) or tostring(value)
    elseif type(value) == "userdata" then
        return "nil --[[ null ]]"
    end
    return tostring(value)
end

local function key_text(key)
    if type(key) == "string" and key:match("^[%a_][%w_]*$") and not KEYWORDS[key] then
        return key
    end
    return "[" .. scalar(key) .. "]"
end

local function by_text(a, b)
    return type(a) == type(b) and a < b or type(a) < type(b)
end

-- Format a value on one line.
local function inline(value)
    if type(value) ~= "table" then
        return scalar(value)
    end
    local keys, out, list_len = {}, {}, #value
    for i = 1, list_len do
        out[i] = inline(value[i])
    end
    for key in pairs(value) do
        if not (type(key) == "number" and key >= 1 and key <= list_len) then
            keys[#keys + 1] = key
        end
    end
    table.sort(keys, by_text)
    for _, key in ipairs(keys) do
        out[#out + 1] = key_text(key) .. " = " .. inline(value[key])
    end
    return #out == 0 and "{}" or "{ " .. table.concat(out, ", ") .. " }"
end

local function app_line(app)
    local out = {}
    for _, field in ipairs(spec.FIELDS) do
        if app[field] ~= nil then
            out[#out + 1] = field .. " = " .. inline(app[field])
        end
    end
    return "    { " .. table.concat(out, ", ") .. " },"
end

local function setting_line(config, option)
    local value, from = config.values[option.name], config.from[option.name]
    if value == nil then
        return ("-- %s is not set"):format(option.name)
    end
    local text = option.format and option.format(value) or scalar(value)
    return ("%s = %s -- %s"):format(option.name, text, from)
end

--- Write the configuration as Lua. Hooks are functions, so comments name them.
-- @tparam table config of dirty.config
-- @tparam string version of dirty
-- @treturn string
function _M.lua(config, version)
    local out = {
        ("-- effective configuration of dirty %s, %s"):format(version,
            config.file and "file " .. config.file or "no configuration file"),
    }
    for _, option in ipairs(options.list) do
        out[#out + 1] = setting_line(config, option)
    end
    out[#out + 1] = ("apps = { -- %s"):format(config.from.apps)
    for _, app in ipairs(config.apps) do
        out[#out + 1] = app_line(app)
    end
    out[#out + 1] = "}"
    for _, hook in ipairs(options.hooks) do
        local from = config.from[hook.name]
        out[#out + 1] = ("-- hook %s: %s"):format(hook.name, from or "not set")
    end
    return table.concat(out, "\n") .. "\n"
end

--- Write the configuration as JSON: `{"file":…, "options":{NAME:{"value":…,"from":…}},
-- "apps":[…], "hooks":{NAME:FROM}}`.
-- @tparam table config of dirty.config
-- @treturn string
function _M.json(config)
    local out = { file = config.file, options = {}, apps = config.apps, hooks = {} }
    for _, option in ipairs(options.list) do
        local value = config.values[option.name]
        out.options[option.name] = {
            value = value == nil and json.null or value,
            from = config.from[option.name] or "not set",
        }
    end
    for _, hook in ipairs(options.hooks) do
        out.hooks[hook.name] = config.from[hook.name]
    end
    local text = json.encode(out)
    if #config.apps == 0 then -- cjson writes an empty table as an object
        text = text:gsub('"apps":{}', '"apps":[]', 1)
    end
    return text
end

return _M
