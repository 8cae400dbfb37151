--- The Lua side of a lane. The Lua host (runtime/worker/lua_host.c) requires this module when
-- the lane opens and calls its functions by name. Apps don't need it.
--
-- A lane calls them in this order:
--
--     open     for each app: load it and make its object  (dirty.lane.loader)
--     booted   once all apps are made                     (dirty.lane.globals)
--     encode, decode, explain, misfit, plain              (dirty.lane.json)
--     no_action, describe    when a call fails            (dirty.lane.actions, dirty.lane.errors)
--     close    for each app, when the lane ends           (dirty.lane.loader)
--
-- All of these modules load before the apps. They take the globals that they use as locals, so
-- they don't notice what an app does to the globals later. They never write s:method(),
-- because an app can change the strings' metatable.
-- @module dirty.lane

local actions = require("dirty.lane.actions")
local errors = require("dirty.lane.errors")
local globals = require("dirty.lane.globals")
local json = require("dirty.lane.json")
local host = require("dirty.host")
local loaded = require("dirty.loaded")
local loader = require("dirty.lane.loader")

if host.loaded then -- `dirty serve --dev`
    loaded.begin(host.loaded)
end

return {
    booted = globals.booted,
    call = actions.call,
    close = loader.close,
    decode = json.decode,
    describe = errors.describe,
    encode = json.encode,
    explain = json.explain,
    misfit = json.misfit,
    no_action = actions.no_action,
    open = loader.open,
    plain = json.plain,
    try = loader.try,
}
