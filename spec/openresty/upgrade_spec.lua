-- `dirty upgrade` behind nginx, whose pools keep connections to the runtime.
local cjson = require "cjson"
local http = require "support.http"
local installation = require "support.installation"
local nginx = require "support.nginx"
local process = require "support.process"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"

local HTTP = [[
    init_by_lua_block {
        client = require("dirty").client { socket = "$socket", timeout = 30 }
    }
]]

local SERVER = [[
    location = /echo {
        content_by_lua_block {
            local number = tonumber(ngx.var.arg_number)
            if number % 8 == 0 then
                client:execute("apps.echo", "sleep", 20)
            end
            local long = number % 8 == 1 and ("x"):rep(200000) or nil
            local value, err, info = client:execute("apps.echo", "echo", long or number)
            if not value then
                ngx.status = info.http_status
                return ngx.print(err)
            end
            ngx.print("value ", value == long and number or value)
        }
    }
]]

local UPGRADES, CALLERS = 6, 40

describe("upgrades behind nginx", function()
    local dir, rt, server

    after_each(function()
        server:close()
        rt:command("stop", { "--now", "--wait" }, { seconds = 60 })
        rt:close()
        tempdir.remove(dir)
    end)

    it("are not noticed by any browser", function()
        local old = tempdir.read("VERSION"):match("%S+")
        local new = old:gsub("%d", "9")
        dir = tempdir.new()
        local program = installation.install(dir)
        local versions = { [0] = tempdir.read(program),
            installation.with_version(program, old, new) }
        rt = runtime.start { program = program, config = "workers = 3\napps = { 'apps.echo' }" }
        server = nginx.start { words = { socket = rt.socket }, http = HTTP, server = SERVER,
            workers = 2 }
        local calls, outcomes = 0, {}
        local function round()
            local exchanges = {}
            for i = 1, CALLERS do
                exchanges[i] = server:open { uri = "/echo?number=" .. calls + i }
            end
            http.finish(exchanges, 60)
            for i, x in ipairs(exchanges) do
                local said = x.failed or ("%d %s"):format(x.status,
                    x.body == "value " .. calls + i and "own value" or x.body)
                outcomes[said] = (outcomes[said] or 0) + 1
            end
            calls = calls + CALLERS
        end
        round()
        for i = 1, UPGRADES do
            installation.replace(program, versions[i % 2])
            local upgrade = process.start { process.dirty(), "upgrade", "--json", "--socket",
                rt.socket }
            repeat
                round()
            until upgrade:ended()
            assert.same({ exit = 0 }, upgrade:wait())
            assert.equal(i % 2 == 0 and old or new, cjson.decode(upgrade:stdout()).to)
            upgrade:close()
        end
        round()
        assert.same({ ["200 own value"] = calls }, outcomes, rt:log())
        -- nginx logs the write that failed; the client has sent that request again
        for _, line in ipairs(server:errors()) do
            assert.matches("send() failed (32: Broken pipe)", line, 1, true)
        end
    end)
end)
