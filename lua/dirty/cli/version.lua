--- `dirty --version`: print the versions.
-- @module dirty.cli.version

local _M = {}

--- Get the versions of all parts.
-- @treturn table `{dirty=, luajit=, libuv=, cjson=, protocol=}`
function _M.all()
    local sys = require "dirty.sys"
    return {
        dirty = sys.version.dirty,
        luajit = jit.version,
        libuv = sys.version.libuv,
        cjson = require("cjson")._VERSION,
        protocol = sys.version.protocol,
    }
end

--- Print the versions.
-- @treturn number exit status
function _M.run()
    local v = _M.all()
    require("dirty.cli.say").out("dirty %s\n%s\nlibuv %s\nlua-cjson %s\nprotocol %d\n", v.dirty,
        v.luajit, v.libuv, v.cjson, v.protocol)
    return 0
end

return _M
