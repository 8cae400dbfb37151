--- Advice for whoever writes an app, about mistakes that its functions show.
-- @module dirty.lane.advice

-- Taken when the lane opens: apps may change the globals and the strings' metatable later.
local getinfo, getlocal = debug.getinfo, debug.getlocal
local ipairs = ipairs
local byte, format = string.byte, string.format

local actions = require("dirty.lane.actions")

local _M = {}

-- First parameters that are meant as the object. The others are taken for an argument.
local OBJECT = { self = true, this = true, me = true, app = true, object = true, obj = true,
    instance = true, o = true, s = true, t = true }

local UNDERSCORE = 95

-- The first parameter if it is not meant as the object.
local function odd_parameter(f)
    local info = getinfo(f, "u")
    local name = info.nparams > 0 and getlocal(f, 1)
    return name and not OBJECT[name] and byte(name) ~= UNDERSCORE and name or nil
end

--- Find actions that were written with a dot in place of a colon: `function App.hello(name)`. Their
-- first parameter is the object. An app with a `call` of its own may use them so.
-- @tparam table app
-- @tparam string name its name
-- @treturn {string,...} texts
function _M.on_actions(app, name)
    local texts = {}
    for _, action in ipairs(app.call == nil and actions.names(app) or {}) do
        local odd = odd_parameter(app[action])
        if odd then
            texts[#texts + 1] = format("app %s: the first parameter of the action %s is '%s', and "
                .. "it gets the app's object: write function App:%s(%s…) with a colon, or name it "
                .. "self", name, action, odd, action, odd)
        end
    end
    return texts
end

return _M
