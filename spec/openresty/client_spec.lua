-- The checks of the plain Lua client, inside a real nginx.
local checks = require "support.client_checks"
local nginx = require "support.nginx"
local process = require "support.process"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

describe("the client inside nginx", function()
    local dir, server, puppet

    setup(function()
        dir = tempdir.new()
        local socket = dir .. "/puppet.sock"
        puppet = process.start({ process.LUAJIT, "spec/support/puppet.lua", socket }, {
            env = { LUA_PATH = "./lua/?.lua;./lua/?/init.lua;./spec/?.lua;;" },
        })
        wait.until_true(function()
            return unistd.access(socket, "f") == 0 or puppet:ended()
        end, 10, "the puppet listens")
        server = nginx.start { words = { puppet = socket }, server = [[
            location = /check {
                content_by_lua_block {
                    local checks = require "support.client_checks"
                    local ok, err = xpcall(checks.run, debug.traceback,
                        checks.CHECKS[tonumber(ngx.var.arg_number)], "$puppet")
                    ngx.print(ok and "passed" or err)
                }
            }
            location = /transport {
                content_by_lua_block {
                    ngx.print(tostring(require("dirty").client { socket = "/x" }))
                }
            }
        ]] }
    end)

    teardown(function()
        server:close()
        puppet:close()
        tempdir.remove(dir)
    end)

    it("is resty.dirty", function()
        assert.equal("resty.dirty.client(/x, timeout 30 s)", server:request("/transport").body)
    end)

    for number, name in ipairs(checks.CHECKS) do
        it(": " .. name, function()
            assert.equal("passed", server:request("/check?number=" .. number).body)
        end)
    end
end)
