-- Servers that break the rules, behind a real nginx: every call ends with the right code, in
-- time, nginx lives on and its memory stays as it is.
local nginx = require "support.nginx"
local process = require "support.process"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local HTTP = [[
    lua_socket_log_errors off;
    init_by_lua_block {
        client = require("resty.dirty").client {
            socket = "$hostile", timeout = 0.3, max_depth = 100,
        }
        function outcome(value, err, info)
            return info and info.code .. " " .. info.started or tostring(value)
        end
    }
]]

local SERVER = [[
    location = /call {
        content_by_lua_block {
            local args = ngx.req.get_uri_args()
            for _ = 1, tonumber(args.times or 1) do
                ngx.say(outcome(client:execute("app", args.way)))
            end
        }
    }
    location = /stream {
        content_by_lua_block {
            local args = ngx.req.get_uri_args()
            for _ = 1, tonumber(args.times or 1) do
                local s, err, info = client:stream("app", args.way)
                local got, most = 0, tonumber(args.most or 100)
                if s then
                    for _ in s do
                        got = got + 1
                        if got == most then break end
                    end
                    err, info = s.err, s.info
                end
                ngx.say(got, " ", outcome("ended", err, info))
            end
        }
    }
    location = /large {
        content_by_lua_block {
            ngx.say(outcome(client:execute("app", "fine", ("x"):rep(8 * 1024 * 1024))))
        }
    }
    location = /deaf {
        content_by_lua_block {
            local deaf = require("resty.dirty").client { socket = "$hostile.deaf" }
            ngx.say(outcome(deaf:execute("app", "fine", ("x"):rep(tonumber(ngx.var.arg_len)))))
        }
    }
    location = /mute {
        content_by_lua_block {
            local mute = require("resty.dirty").client { socket = "$hostile.mute", timeout = 0.1 }
            ngx.say(outcome(mute:execute("app", "fine", ("x"):rep(tonumber(ngx.var.arg_len)))))
        }
    }
    location = /memory {
        content_by_lua_block {
            collectgarbage() collectgarbage()
            ngx.print(collectgarbage("count"))
        }
    }
]]

local PROTOCOL_YES, PROTOCOL_UNKNOWN = "PROTOCOL yes", "PROTOCOL unknown"

-- By way: what a call says.
local EXECUTE = {
    garbled = PROTOCOL_UNKNOWN, http = PROTOCOL_UNKNOWN, one_byte = PROTOCOL_UNKNOWN,
    another_version = PROTOCOL_UNKNOWN, another_type = PROTOCOL_UNKNOWN,
    a_request = PROTOCOL_UNKNOWN, oversized = PROTOCOL_UNKNOWN,
    oversized_error = PROTOCOL_UNKNOWN, another_id = PROTOCOL_UNKNOWN,
    id_zero = PROTOCOL_UNKNOWN, no_count = PROTOCOL_YES, empty = PROTOCOL_YES,
    more_than_counted = PROTOCOL_YES, less_than_counted = PROTOCOL_YES,
    longer_than_payload = PROTOCOL_YES, another_tag = PROTOCOL_YES, bad_json = PROTOCOL_YES,
    deep_json = PROTOCOL_YES, code_zero = PROTOCOL_UNKNOWN,
    details_no_object = PROTOCOL_UNKNOWN, error_cut = PROTOCOL_UNKNOWN,
    end_with_payload = PROTOCOL_UNKNOWN, a_chunk = PROTOCOL_YES, an_end = PROTOCOL_YES,
    response_after_chunk = PROTOCOL_YES, many_values = PROTOCOL_YES,
    endless_chunks = PROTOCOL_YES, close = "CONNECTION unknown",
    half_a_header = "CONNECTION unknown", half_a_payload = "CONNECTION yes",
    half_of_large = "CONNECTION yes",
}
local SLOW = { trickle = "TIMEOUT yes", large_trickle = "TIMEOUT yes", hold = "TIMEOUT unknown" }
local STREAM = {
    response_after_chunk = "1 PROTOCOL yes", garbled = "0 PROTOCOL unknown",
    a_chunk = "1 TIMEOUT yes", close = "0 CONNECTION unknown", an_end = "0 ended",
    end_with_payload = "0 PROTOCOL unknown", many_values = "0 PROTOCOL yes",
    endless_chunks = "100 ended", fine = "1 ended", half_of_large = "0 CONNECTION yes",
    reset_after_chunk = "1 CONNECTION yes", reset_within_chunk = "0 CONNECTION yes",
}

-- By way: how many chunks come before the deadline, as a pattern.
local ENDLESS = { empty_chunks = "0", slow_empty_chunks = "0", slow_chunks = "%d+",
    endless_chunks = "%d+" }

describe("resty.dirty with a server that breaks the protocol", function()
    local dir, server, hostile, pids

    setup(function()
        dir = tempdir.new()
        local socket = dir .. "/hostile.sock"
        hostile = process.start({ process.LUAJIT, "spec/support/hostile.lua", socket }, {
            env = { LUA_PATH = "./lua/?.lua;./lua/?/init.lua;./spec/?.lua;;" },
        })
        wait.until_true(function()
            return unistd.access(socket, "f") == 0 or hostile:ended()
        end, 10, "the hostile server listens")
        server = nginx.start { words = { hostile = socket }, http = HTTP, server = SERVER }
        pids = server:workers()
    end)

    teardown(function()
        server:close()
        hostile:close()
        tempdir.remove(dir)
    end)

    local function get(uri)
        local r = server:request(uri)
        assert.equal(200, r.status, server:log())
        return r.body
    end

    local function kilobytes()
        local status = tempdir.read(("/proc/%d/status"):format(pids[1]))
        return tonumber(status:match("VmRSS:%s*(%d+)"))
    end

    for way, said in pairs(EXECUTE) do
        it("says " .. said .. ": " .. way, function()
            assert.equal((said .. "\n"):rep(3), get("/call?times=3&way=" .. way))
        end)
    end

    for way, said in pairs(SLOW) do
        it("says " .. said .. " in time: " .. way, function()
            local began = wait.now()
            assert.equal(said .. "\n", get("/call?way=" .. way))
            assert.is_true(wait.now() - began < 10 * wait.SLOW)
        end)
    end

    for way, said in pairs(STREAM) do
        it("says " .. said .. " of a stream: " .. way, function()
            assert.equal(said .. "\n", get("/stream?way=" .. way))
        end)
    end

    it("ends an endless stream at its deadline", function()
        local streams = {}
        for way, count in pairs(ENDLESS) do
            streams[server:open { uri = "/stream?most=1e9&way=" .. way }] = { way, count }
        end
        wait.until_true(function()
            local all = true
            for x in pairs(streams) do
                all = x:step() and all
            end
            return all
        end, 10, "the streams' ends")
        for x, told in pairs(streams) do
            assert.matches("^" .. told[2] .. " TIMEOUT yes\n$", x.body, told[1])
            x:close()
        end
    end)

    it("does not reuse a connection with unread bytes", function()
        for _, way in ipairs { "twice", "endless_rest", "late" } do
            for line in get("/call?times=50&way=" .. way):gmatch("[^\n]+") do
                -- the late frame of the call before is seen, if not by nginx, by its id
                assert.is_true(line == "once" or line == "fine" or line == PROTOCOL_UNKNOWN,
                    way .. ": " .. line)
            end
            get("/call?way=fine")
            assert.equal("fine\n", get("/call?way=fine"))
        end
    end)

    it("ends a connection with its answer, where bytes came behind it", function()
        local function accepted()
            get("/call?way=count") -- may be on one that was kept
            return tonumber(get("/call?way=count"))
        end
        for _, way in ipairs { "joined", "joined_with_a_byte" } do
            local before = accepted()
            assert.equal(("once\n"):rep(5), get("/call?times=5&way=" .. way))
            assert.equal(before + 5 + 1, tonumber(get("/call?way=count")), way)
        end
    end)

    it("knows that nothing has run if the request was not sent completely", function()
        assert.equal("TIMEOUT no\n", get("/mute?len=4000000"))
        assert.equal("TIMEOUT unknown\n", get("/mute?len=10"))
        assert.equal("CONNECTION no\n", get("/deaf?len=4000000"))
    end)

    it("reads the answer that came while it was still sending", function()
        for _ = 1, 5 do
            assert.equal("OVERLOADED no\n", get("/large"))
        end
    end)

    it("retries only a request that nobody has read, once", function()
        local function accepted()
            return tonumber(get("/call?way=count"))
        end
        for _, len in ipairs { 1, 1000, 30000, 200000, 1000000 } do
            local before = accepted()
            assert.equal("CONNECTION no\n", get("/deaf?len=" .. len))
            assert.equal(before + 2 + 1, accepted(), len .. " bytes") -- and one to ask
        end
        local before = accepted()
        assert.equal("CONNECTION unknown\n", get("/call?way=close"))
        assert.equal(before + 1 + 1, accepted())
    end)

    it("keeps its memory, and nginx its process", function()
        local function storm()
            for way in pairs(EXECUTE) do
                get("/call?times=5&way=" .. way)
            end
            get("/stream?times=5&way=endless_chunks")
            return tonumber(get("/memory"))
        end
        storm()
        local lua_before, before = storm(), kilobytes()
        storm()
        local lua_after, after = storm(), kilobytes()
        assert.is_true(lua_after - lua_before < 80, lua_before .. " → " .. lua_after .. " KB")
        assert.is_true(after - before < 800, before .. " → " .. after .. " KB")
        assert.same(pids, server:workers())
    end)

    it("leaves nothing in nginx's error log but what the system says of sockets", function()
        assert.same({}, server:errors(" failed %(%d+: "))
    end)
end)
