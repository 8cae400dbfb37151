--- Installations of dirty of our own, for specs that replace their files.
-- @module support.installation

local process = require "support.process"
local tempdir = require "support.tempdir"

local _M = {}

--- Run a shell command, which must succeed.
-- @treturn string its output
function _M.shell(command, ...)
    local r = process.run({ "sh", "-c", command, "sh", ... }, { seconds = 60 })
    assert(r.exit == 0, r.stderr)
    return r.stdout
end

--- Install into a directory, with lua-cjson and argparse.
-- @tparam string dir
-- @treturn string path of the program
function _M.install(dir)
    _M.shell([[
        set -e
        mkdir -p "$1/bin" "$1/share/lua/5.1" "$1/lib/lua/5.1/dirty"
        cp "$2/dirty" "$1/bin/dirty"
        cp -r lua/dirty "$1/share/lua/5.1/"
        [ ! -e "$2/lua/dirty/core.so" ] || cp "$2/lua/dirty/core.so" "$1/lib/lua/5.1/dirty/"
        cp "$3" "$1/lib/lua/5.1/cjson.so"
        cp "$4" "$1/share/lua/5.1/argparse.lua"]], dir, process.BUILD,
        assert(package.searchpath("cjson", package.cpath)),
        assert(package.searchpath("argparse", package.path)))
    return dir .. "/bin/dirty"
end

--- Put a program in the place of another, as packages do it: the file is new.
-- @tparam string program its path
-- @tparam string bytes
-- @tparam[opt="755"] string mode
function _M.replace(program, bytes, mode)
    tempdir.write(program .. ".new", bytes)
    _M.shell([[chmod "$2" "$1.new" && mv -f "$1.new" "$1"]], program, mode or "755")
end

--- The program's bytes with another version in it.
-- @tparam string program its path
-- @tparam string from
-- @tparam string to as long as `from`
-- @treturn string
function _M.with_version(program, from, to)
    assert(#from == #to)
    local bytes, count = tempdir.read(program):gsub("%z" .. from:gsub("%.", "%%.") .. "%z",
        "\0" .. to .. "\0")
    assert(count > 0, "the program does not hold its version")
    return bytes
end

return _M
