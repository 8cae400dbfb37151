--- A runtime with one small app, for the specs of reloads.
-- @module support.shop

local runtime = require "support.runtime"
local signal = require "posix.signal"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local _M = {}

--- The text of an app that answers what it was made of.
function _M.versioned(version, more)
    return ([[
        local App = require("dirty").app { %s }
        function App:init(options) self.options = options end
        function App:version() return %q, self.options.mark end
        function App:sleep(seconds)
            local ffi = require "ffi"
            ffi.cdef "int usleep(unsigned);"
            ffi.C.usleep(seconds * 1e6)
            return %q
        end
        return App]]):format(more or "", version, version)
end

--- The configuration that serves it by two workers.
_M.CONFIG = [[
    workers = 2
    apps = { shop = { module = "shop", options = { mark = 1 } } }]]

--- Start it, with methods to write its files and to reload.
function _M.start(config, files)
    local rt = runtime.start { config = config or _M.CONFIG,
        files = files or { ["shop.lua"] = _M.versioned "v1" } }
    function rt:write(name, text)
        tempdir.write(self.dir .. "/" .. name, text)
    end
    function rt:configure(text)
        self:write("dirty.conf.lua", text)
    end
    --- HUP, and wait until the reload has ended.
    function rt:reload(seconds)
        local number = self:status().reload.number
        self:signal(signal.SIGHUP)
        return wait.until_true(function()
            local r = self:status().reload
            return r.number > number and r.state == "idle" and r
        end, seconds or 20, "the end of a reload")
    end
    return rt
end

return _M
