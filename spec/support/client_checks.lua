--- Checks of the client against a puppet (support.puppet), as plain functions:
-- client_spec.lua runs each as a test, and the whole file in every other Lua that clients
-- may have; openresty/client_spec.lua runs each inside nginx, where `require "dirty"` has
-- another transport behind the same functions:
--
--     lua5.4 spec/support/client_checks.lua SOCKET     prints how many passed, or raises
--
-- @module support.client_checks

local dirty = require "dirty"
local cjson = require "cjson"
local client = { new = dirty.client }

local _M = { CHECKS = {} }

local unpack = rawget(table, "unpack") or unpack

local function show(value)
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

local function equal(expected, got, what)
    if expected ~= got then
        error(("%s: %s expected, got %s"):format(what or "value", show(expected), show(got)), 2)
    end
end

local function has(text, words)
    if not tostring(text):find(words, 1, true) then
        error(("%s expected in %s"):format(show(words), show(text)), 2)
    end
end

local function raises(words, f, ...)
    local ok, err = pcall(f, ...)
    if ok then
        error(("nothing was raised; %s expected"):format(show(words)), 2)
    end
    has(err, words)
    return err
end

local function pack(...)
    return { n = select("#", ...), ... }
end

local function check(name, f)
    _M.CHECKS[#_M.CHECKS + 1] = name
    _M[name] = f
end

-- -- Values ------------------------------------------------------------------------------

check("strings travel byte for byte", function(c)
    local all = {}
    for i = 0, 255 do
        all[i + 1] = string.char(i)
    end
    local bytes = table.concat(all)
    local got = pack(c:execute("app", "echo", bytes, "", bytes:rep(9000)))
    equal(3, got.n)
    equal(bytes, got[1])
    equal("", got[2])
    equal(bytes:rep(9000), got[3])
end)

check("scalars come back as they went", function(c)
    local numbers = { 0, 1, -1, 0.1, 1 / 3, 2 ^ 53, -2 ^ 53, 1e300, -1e-300, 5e-324, 123456789 }
    local got = pack(c:execute("app", "echo", true, false, unpack(numbers)))
    equal(#numbers + 2, got.n)
    equal(true, got[1])
    equal(false, got[2])
    for i, n in ipairs(numbers) do
        equal(n, got[i + 2], "number " .. i)
    end
end)

check("numbers in tables come back as they went", function(c)
    local numbers = { 1234567890123456, 0.1 + 0.2, 1 / 3, 2 ^ 53, 1e300, -1e-300, 5e-324, 19.99 }
    local list, row = c:execute("app", "echo", { { numbers } }, { id = 1234567890123456 })
    for i, n in ipairs(numbers) do
        equal(n, list[1][1][i], "number " .. i)
    end
    equal(1234567890123456, row.id)
    equal(0.1 + 0.2, c:with { metadata = { x = 0.1 + 0.2 } }:execute("app", "request").metadata.x)
    local _, _, info = c:execute("app", "fail", 9, "oops",
        { error = { id = 1234567890123456 } })
    equal(1234567890123456, info.error.id)
end)

check("a number that Lua can't hold is a PROTOCOL error that names its place", function(c)
    local value, err, info = c:execute("app", "json", "1",
        '{"rows":[1,{"id":9223372036854775809}]}')
    equal(nil, value)
    has(err, "PROTOCOL: ")
    has(err, "value 2: .rows[2].id is 9223372036854775809, ")
    equal("PROTOCOL", info.code)
    has(select(2, c:execute("app", "json", "9223372036854775809")), "it is 9223372036854775809, ")
    has(select(2, c:execute("app", "json", "[1e999]")), "[1] is 1e999, ")
end)

check("nils are kept, trailing ones too", function(c)
    local got = pack(c:execute("app", "echo", nil, 1, nil, nil))
    equal(4, got.n)
    equal(nil, got[1])
    equal(1, got[2])
    equal(4, pack(c:execute("app", "echo", nil, nil, nil, nil)).n)
    equal(0, pack(c:execute("app", "echo")).n)
end)

check("tables travel as JSON", function(c)
    local back, null = c:execute("app", "echo",
        { list = { 1, 2, "x" }, empty = {}, null = cjson.null, deep = { { { true } } } },
        cjson.null)
    equal(nil, null)
    equal("x", back.list[3])
    equal(cjson.null, back.null)
    equal(true, back.deep[1][1][1])
    equal(nil, next(back.empty))
end)

check("whole numbers are integers where Lua has them", function(c)
    local got = pack(c:execute("app", "echo", 5, -0.5, { n = 5, list = { 1, 2.5, { 2 ^ 40 } } }))
    equal("5", tostring(got[1]))
    equal(-0.5, got[2])
    equal("5", tostring(got[3].n))
    equal("1", tostring(got[3].list[1]))
    equal(2.5, got[3].list[2])
    local integer_type = rawget(math, "type")
    if integer_type then
        equal("integer", integer_type(got[3].list[3][1]))
    end
end)

check("JSON of other makers is understood", function(c)
    local got = pack(c:execute("app", "json", " null ", "\ttrue\n", " 12 ", "-0.5e1", '"text"',
        ' [1, {"a": null}] ', "1E2", "1e300", '["\\ud800", -1e300]'))
    equal(9, got.n)
    equal(nil, got[1])
    equal(true, got[2])
    equal(12, got[3])
    equal(-5, got[4])
    equal("text", got[5])
    equal(cjson.null, got[6][2].a)
    equal(100, got[7])
    equal(1e300, got[8])
    equal("\239\191\189", got[9][1])
    equal(-1e300, got[9][2])
end)

check("a result that is no JSON is a PROTOCOL error", function(c)
    for _, text in ipairs { "", " ", "{", "nul", "01", "0x10", "1.", "-", "NaN", "nan",
        "Infinity", "[1] 2", "[1]\0", "+1", "[1.]", "[-.5]", '"a\1"' } do
        local value, err, info = c:execute("app", "json", "1", text)
        equal(nil, value, text)
        has(err, "PROTOCOL: ")
        has(err, "value 2")
        equal("PROTOCOL", info.code)
        equal("yes", info.started)
        equal("client", info.phase)
        equal("json", info.action)
    end
end)

check("many values travel", function(c)
    local many = {}
    for i = 1, 5000 do
        many[i] = i % 2 == 0 and i or "s" .. i
    end
    local got = pack(c:execute("app", "echo", unpack(many)))
    equal(5000, got.n)
    for i = 1, 5000 do
        equal(many[i], got[i])
    end
end)

check("deep tables travel up to max_depth", function(c, options)
    local function nested(depth)
        local t = {}
        for _ = 2, depth do
            t = { t }
        end
        return t
    end
    equal("table", type(c:execute("app", "echo", nested(1000))))
    raises("argument #1 can't be sent as JSON", c.execute, c, "app", "echo", nested(1001))
    local shallow = client.new { socket = options.socket, max_depth = 3 }
    equal("table", type(shallow:execute("app", "echo", nested(3))))
    raises("argument #2", shallow.execute, shallow, "app", "echo", 1, nested(4))
    local value, err = shallow:execute("app", "json", "[[[[]]]]")
    equal(nil, value)
    has(err, "PROTOCOL")
end)

-- -- Wrong use ---------------------------------------------------------------------------

check("what can't be sent raises and names it", function(c)
    raises("argument #2 is a function", c.execute, c, "app", "echo", 1, print)
    raises("argument #1 is a thread", c.execute, c, "app", "echo", coroutine.create(function() end))
    raises("argument #1 is nan", c.execute, c, "app", "echo", math.abs(0 / 0))
    raises("argument #1 is -inf", c.execute, c, "app", "echo", -math.huge)
    raises("argument #1 can't be sent as JSON", c.execute, c, "app", "echo", { print })
    raises("argument #1 can't be sent as JSON", c.execute, c, "app", "echo", { 0 / 0 })
    raises("argument #1 can't be sent as JSON", c.execute, c, "app", "echo", { [1] = 1, [99] = 2 })
    raises("argument #1", c.execute, c, "app", "echo", io.stdout)
end)

check("wrong names raise", function(c)
    raises("app must be a string, is nil", c.execute, c)
    raises("action must be a string, is a table", c.execute, c, "app", {})
    for _, name in ipairs { "", "a b", "a\0b", "\195\164", ("x"):rep(256) } do
        raises("app must be 1 to 255 bytes", c.execute, c, name, "echo")
        raises("action must be 1 to 255 bytes", c.execute, c, "app", name)
    end
    equal("x", c:execute(("x"):rep(255), "echo", "x"))
    raises("call it with a colon: client:execute(", c.execute, "app", "echo")
    raises("client:with(", c.with, { timeout = 1 })
    raises("client:close(", c.close)
    raises("client:status(", c.status)
end)

check("errors of wrong use point at the caller's line", function(c)
    local where = "client_checks.lua:" .. tostring(debug.getinfo(1, "l").currentline) + 1
    raises(where, function() return (c:execute("app", "echo", print)) end)
    where = "client_checks.lua:" .. tostring(debug.getinfo(1, "l").currentline) + 1
    raises(where, function() c:execute("") end)
    where = "client_checks.lua:" .. tostring(debug.getinfo(1, "l").currentline) + 1
    raises(where, function() return (c:arbiter("echo", print)) end)
    where = "client_checks.lua:" .. tostring(debug.getinfo(1, "l").currentline) + 1
    raises(where, function() return (c:arbiter()) end)
    where = "client_checks.lua:" .. tostring(debug.getinfo(1, "l").currentline) + 1
    raises(where, function() c:with { tiemout = 1 }:close() end)
    where = "client_checks.lua:" .. tostring(debug.getinfo(1, "l").currentline) + 1
    raises(where, function() client.new { timeout = 0 }:close() end)
    where = "client_checks.lua:" .. tostring(debug.getinfo(1, "l").currentline) + 1
    raises(where, function() client.new(5):close() end)
    where = "client_checks.lua:" .. tostring(debug.getinfo(1, "l").currentline) + 1
    raises(where, function() c:with(5):close() end)
end)

check("wrong options raise, with the nearest right one", function(c)
    raises("unknown option 'sokcet' (did you mean 'socket'?)", client.new, { sokcet = "x" })
    raises("unknown option 'colour'; there are socket, timeout, max_message, max_depth, priority, "
        .. "metadata, pool_size, keepalive_timeout", client.new, { colour = "x" })
    raises("unknown option 'prio'; there are timeout, priority, metadata", c.with, c, { prio = 1 })
    raises('option timeout must be a number of seconds from 0.001 to 4294967, is the string "5"',
        client.new, { timeout = "5" })
    raises("option socket must be a path of 1 to 107 bytes without NULs, is the string \"\"",
        client.new, { socket = "" })
    raises("option metadata must be a table, is a function", client.new, { metadata = print })
    raises("unknown option 'socket'", c.with, c, { socket = "x" })
    raises("unknown option '1'", client.new, { "x" })
    raises("options must be a table, is a string", client.new, "/run/x.sock")
    raises("options must be a table, is nil", c.with, c)
    for _, bad in ipairs { 0, -1, 0 / 0, math.huge, "1", true, 4294968 } do
        raises("option timeout must be a number of seconds", client.new, { timeout = bad })
        raises("option timeout must be a number of seconds", c.with, c, { timeout = bad })
    end
    for name, wrong in pairs {
        timeout = { 0.0009 }, max_message = { -1, 0.5, 4294967296 }, max_depth = { 0, 2001 },
        priority = { -1, 9.5 }, pool_size = { 0, 1.5, 65536 },
        keepalive_timeout = { 0, 0.0009, 2147484 }, socket = { ("x"):rep(108), 5 },
    } do
        for _, bad in ipairs(wrong) do
            raises(("option %s must be"):format(name), client.new, { [name] = bad })
        end
    end
    raises("is a string of 108 bytes: " .. ("x"):rep(107) .. "…", client.new,
        { socket = ("x"):rep(108) })
    for name, right in pairs {
        timeout = { 0.001, 4294967 }, max_message = { 1, 4294967295 }, max_depth = { 1, 2000 },
        priority = { 0, 9 }, pool_size = { 1, 65535 }, keepalive_timeout = { 0.001, 2147483 },
        socket = { "x", ("x"):rep(107) },
    } do
        for _, good in ipairs(right) do
            equal("table", type(client.new { [name] = good }), name)
        end
    end
    raises("option priority must be", c.with, c, { priority = 10 })
    raises("option priority must be", c.with, c, { priority = 0.5 })
    raises("option metadata must be a table", c.with, c, { metadata = "x" })
    raises("metadata can't be sent as JSON", c.with, c, { metadata = { print } })
    raises("option max_message must be", client.new, { max_message = 0 })
    raises("option max_depth must be", client.new, { max_depth = 1.5 })
    raises("option socket must be a path", client.new, { socket = "a\0b" })
end)

-- -- Options -----------------------------------------------------------------------------

check("a view has other options and the same connection", function(c)
    local before = c:execute("app", "request")
    equal(5, before.priority)
    equal(nil, before.metadata)
    local view = c:with { timeout = 3, priority = 0, metadata = { tenant = "a", n = 1 } }
    local got = view:execute("app", "request")
    equal(0, got.priority)
    equal("a", got.metadata.tenant)
    equal(true, got.budget_ms > 1000 and got.budget_ms <= 3000, "budget of the view")
    equal(before.accepted, got.accepted, "connections")
    local inner = view:with { priority = 9 }:execute("app", "request")
    equal(9, inner.priority)
    equal("a", inner.metadata.tenant)
    equal(true, inner.budget_ms <= 3000, "budget inherited")
    local after = c:execute("app", "request")
    equal(5, after.priority)
    equal(nil, after.metadata)
    equal(true, after.budget_ms > 3000, "budget of the client")
end)

check("a request carries the end of its budget as a deadline", function(c)
    local spent_ms = 4000 -- on the way, on a machine that is slow
    for _, timeout in ipairs { 5, 20, 3600 } do
        local got = c:with { timeout = timeout }:execute("app", "request")
        local left = got.deadline_in_ms
        equal(true, left ~= nil and left <= timeout * 1000 and left > timeout * 1000 - spent_ms,
            ("deadline in %s ms at a timeout of %d s"):format(tostring(left), timeout))
    end
    local s = assert(c:with { timeout = 20 }:stream("app", "request"))
    local left = s().deadline_in_ms
    equal(true, left ~= nil and left <= 20000 and left > 20000 - spent_ms, "deadline of a stream")
end)

check("get_client gives one for the whole process", function(_, options)
    pcall(dirty.get_client, options) -- it is made once, whoever comes first
    local one = dirty.get_client()
    equal("x", one:execute("app", "echo", "x"))
    equal(one, dirty.get_client())
    raises("exists already", dirty.get_client, options)
end)

check("a closed client connects again", function(c)
    local before = c:execute("app", "request").accepted
    c:close()
    c:close()
    equal(before + 1, c:execute("app", "request").accepted)
end)

check("a collected client ends its connection", function(c, options)
    local function use_and_drop()
        for _ = 1, 200 do
            equal("x", client.new(options):execute("app", "echo", "x"))
        end
    end
    use_and_drop()
    collectgarbage()
    collectgarbage()
    equal("x", c:execute("app", "echo", "x"))
end)

check("it says what it is", function(c, options)
    has(tostring(c), ("dirty.client(%s, timeout 5 s)"):format(options.socket))
    has(tostring(c:with { timeout = 0.25 }), "timeout 0.25 s")
    has(tostring(client.new()), "timeout 30 s")
    has(dirty._VERSION, ".")
end)

-- -- Errors ------------------------------------------------------------------------------

check("an error of the server comes whole", function(c)
    local value, err, info = c:execute("images", "fail", 3, "boom\0and more", {
        started = "yes", phase = "run", app = "images", action = "thumbnail",
        traceback = "stack traceback: …", retry_after_ms = 7, anything = { 1 },
    })
    equal(nil, value)
    equal("APP: boom\0and more", err)
    equal("APP", info.code)
    equal("boom\0and more", info.message)
    equal("yes", info.started)
    equal(500, info.http_status)
    equal("run", info.phase)
    equal("images", info.app)
    equal("thumbnail", info.action)
    equal("stack traceback: …", info.traceback)
    equal(7, info.retry_after_ms)
    equal(1, info.anything[1])
end)

check("every code has its status", function(c)
    local statuses = { [1] = "TIMEOUT 504", [4] = "APP_NOT_FOUND 404", [6] = "NO_WORKERS 503",
        [8] = "WORKER_LOST 502", [12] = "DENIED 403", [999] = "UNKNOWN 500" }
    for number, expected in pairs(statuses) do
        local _, err, info = c:execute("app", "fail", number, "text", { started = "unknown" })
        equal(expected, info.code .. " " .. info.http_status)
        equal(info.code .. ": text", err)
        equal("unknown", info.started)
    end
end)

check("details never hide what the client knows", function(c)
    local _, _, info = c:execute("app", "fail", 3, "text",
        { code = "X", message = "X", http_status = 1, started = 5 })
    equal("APP", info.code)
    equal("text", info.message)
    equal(500, info.http_status)
    equal("yes", info.started)
    equal("app", info.app)
    equal("fail", info.action)
end)

check("a lost connection is told, and the next call works", function(c)
    local value, err, info = c:execute("app", "close")
    equal(nil, value)
    has(err, "CONNECTION: ")
    equal("unknown", info.started)
    equal("client", info.phase)
    equal("app", info.app)
    equal("close", info.action)
    equal(502, info.http_status)
    equal("number", type(info.elapsed_ms))
    equal("x", c:execute("app", "echo", "x"))
end)

check("garbage is told, and the next call works", function(c)
    local _, err, info = c:execute("app", "raw", ("HTTP/1.1 400 Bad Request\r\n"):rep(2))
    has(err, "PROTOCOL: ")
    has(err, "magic")
    equal("client", info.phase)
    equal("x", c:execute("app", "echo", "x"))
end)

check("a stream is refused by execute", function(c)
    local _, err, info = c:execute("app", "stream")
    has(err, "PROTOCOL: app.stream streams its result")
    equal("yes", info.started)
    equal("x", c:execute("app", "echo", "x"))
end)

check("no answer in time is told", function(c)
    local value, err, info = c:with({ timeout = 0.05 }):execute("app", "hold")
    equal(nil, value)
    has(err, "TIMEOUT: app.hold got no answer")
    equal("unknown", info.started)
    equal("client", info.phase)
    equal(504, info.http_status)
    equal("x", c:execute("app", "echo", "x"))
end)

check("max_message is kept both ways", function(_, options)
    local small = client.new { socket = options.socket, max_message = 1000 }
    local _, err, info = small:execute("app", "echo", ("x"):rep(1000))
    has(err, "PROTOCOL: ")
    has(err, "max_message")
    equal("no", info.started)
    equal(900, #small:execute("app", "echo", ("x"):rep(900)))
    _, err, info = small:execute("app", "raw", "DW\1\2\0\0\4\0" .. ("\0"):rep(8))
    has(err, "max_message")
    equal("PROTOCOL", info.code)
end)

check("nobody there is told", function(_, options)
    local _, err, info = client.new { socket = options.socket .. ".not" }:execute("app", "echo")
    has(err, "CONNECTION: nothing listens at " .. options.socket .. ".not")
    has(err, "dirty serve --socket")
    equal("no", info.started)
    equal("app", info.app)
    _, err, info = client.new { socket = "/" }:execute("app", "echo")
    equal("CONNECTION: / is a directory: name the socket in it, for example /dirty.sock", err)
    equal("no", info.started)
    raises("option socket must be a path of 1 to 107 bytes without NULs, is a string of 200 "
        .. "bytes: xxx",
        client.new, { socket = ("x"):rep(200) })
end)

check("the status is an ordinary call", function(c)
    local _, err = c:status()
    has(err, "CONNECTION") -- the puppet knows no such action
    _, err = c:metrics()
    has(err, "CONNECTION")
end)

check("the runtime itself is asked by a method of its own", function(c)
    equal("@arbiter", c:with({ metadata = { 1 } }):arbiter("request").app)
    local got = pack(c:arbiter("echo", "stop", nil, { n = 1 }, nil))
    equal(4, got.n)
    equal("stop", got[1])
    equal(1, got[3].n)
    local _, err, info = c:arbiter("fail", 12, "not you", { started = "no" })
    equal("DENIED: not you", err)
    equal("@arbiter", info.app)
    raises("action must be a string, is a number", c.arbiter, c, 5)
    raises("printable ASCII", c.arbiter, c, "")
    raises("argument #1 is a function", c.arbiter, c, "echo", print)
    raises("client:arbiter", c.arbiter, {}, "status")
end)

-- A name that comes from an URL must not reach what the process may do by itself.
check("names that belong to the runtime are refused, and nothing is sent", function(c, options)
    local nobody = client.new { socket = options.socket .. ".not" }
    c:arbiter("echo", 1) -- names that were used by it are none for all
    local accepted = c:execute("app", "request").accepted
    for _, caller in ipairs { c, c:with { timeout = 1 }, nobody } do
        for _, method in ipairs { "execute", "stream" } do
            for _, app in ipairs { "@arbiter", "@", "@other" } do
                local value, err, info = caller[method](caller, app, "echo", 1)
                equal(nil, value)
                has(err, ("DENIED: %s.echo was not called: names that start with @ belong to the "
                    .. "runtime"):format(app))
                has(err, "client:arbiter")
                equal("DENIED", info.code)
                equal(403, info.http_status)
                equal("no", info.started)
                equal("client", info.phase)
                equal(app, info.app)
                equal("echo", info.action)
            end
        end
    end
    equal(accepted, c:execute("app", "request").accepted)
    raises("action must be", c.execute, c, "@arbiter", 5)
end)

-- -- Streams -----------------------------------------------------------------------------

local function chunks_of(s)
    local got = {}
    for a, b, c in s do
        got[#got + 1] = pack(a, b, c)
    end
    return got
end

check("a stream gives its chunks one by one", function(c)
    local s = assert(c:stream("app", "steps", { "chunk", "one" }, { "chunk", 2, { x = true } },
        { "chunk", ("big"):rep(30000) }, { "end" }))
    local got = chunks_of(s)
    equal(3, #got)
    equal("one", got[1][1])
    equal(2, got[2][1])
    equal(true, got[2][2].x)
    equal(("big"):rep(30000), got[3][1])
    equal(nil, s.err)
    equal(nil, s.info)
    equal(nil, s())
    s:close()
    equal(nil, s())
end)

check("a stream may be empty", function(c)
    local s = assert(c:stream("app", "steps", { "end" }))
    equal(0, #chunks_of(s))
    equal(nil, s.err)
    s = assert(c:stream("app", "steps", { "chunk" }, { "chunk", 1 }, { "chunk" }, { "end" }))
    equal(1, #chunks_of(s))
end)

check("no value of a chunk ends the loop", function(c)
    local s = assert(c:stream("app", "steps", { "chunk", false }, { "chunk", cjson.null, "x" },
        { "chunk", 0 }, { "end" }))
    local got = chunks_of(s)
    equal(3, #got)
    equal(false, got[1][1])
    equal(dirty.null, got[2][1])
    equal("x", got[2][2])
    equal(0, got[3][1])
end)

check("a plain action gives its values once", function(c)
    local got = chunks_of(assert(c:stream("app", "echo", "x", nil, { 1 })))
    equal(1, #got)
    equal("x", got[1][1])
    equal(nil, got[1][2])
    equal(1, got[1][3][1])
    equal(0, #chunks_of(assert(c:stream("app", "echo"))))
    equal(dirty.null, chunks_of(assert(c:stream("app", "echo", nil)))[1][1])
end)

check("a stream that can't begin is an error", function(c, options)
    local s, err, info = c:stream("app", "steps", { "fail", 4, "no such app" })
    equal(nil, s)
    equal("APP_NOT_FOUND: no such app", err)
    equal(404, info.http_status)
    equal("no", info.started)
    equal("steps", info.action)
    s, err, info = client.new { socket = options.socket .. ".not" }:stream("app", "steps")
    equal(nil, s)
    has(err, "CONNECTION: nothing listens")
    equal("no", info.started)
    local _
    _, err = c:stream("app", "close")
    has(err, "CONNECTION: ")
end)

check("an error in the midst of a stream comes after its chunks", function(c)
    local s = assert(c:stream("app", "steps", { "chunk", 1 }, { "chunk", 2 },
        { "fail", 3, "out of tokens" }))
    local got = chunks_of(s)
    equal(2, #got)
    equal("APP: out of tokens", s.err)
    equal("APP", s.info.code)
    equal(500, s.info.http_status)
    equal("yes", s.info.started)
    equal("app", s.info.app)
    equal(nil, s())
    equal("APP: out of tokens", s.err)
    equal("x", c:execute("app", "echo", "x"))
end)

check("a stream that is lost or broken says so", function(c)
    local endings = {
        { { "close" }, "CONNECTION: the connection to" },
        { { "junk", "HTTP/1.1 400 Bad Request" }, "PROTOCOL: broken answer" },
    }
    for _, ending in ipairs(endings) do
        local s = assert(c:stream("app", "steps", { "chunk", "x" }, ending[1]))
        equal(1, #chunks_of(s))
        has(s.err, ending[2])
        equal(true, s.err:sub(1, #s.info.code + 1) == s.info.code .. ":")
        equal("yes", s.info.started)
        equal("client", s.info.phase)
        equal("x", c:execute("app", "echo", "x"))
    end
end)

check("a stream left early poisons nothing", function(c)
    for i = 1, 20 do
        local s = assert(c:stream("app", "steps", { "chunk", 1 }, { "chunk", 2 }, { "end" }))
        for chunk in s do
            if chunk == 1 then
                break
            end
        end
        if i % 2 == 0 then
            s:close()
            s:close()
            equal(nil, s())
            equal(nil, s.err)
        end
        equal(i, c:execute("app", "echo", i))
    end
    collectgarbage()
    equal("x", c:execute("app", "echo", "x"))
end)

check("a stream read to its end keeps its connection", function(c)
    local function accepted()
        return chunks_of(assert(c:stream("app", "request")))[1][1].accepted
    end
    local before = accepted()
    for _ = 1, 5 do
        chunks_of(assert(c:stream("app", "steps", { "chunk", 1 }, { "end" })))
    end
    equal(before, accepted())
end)

check("calls can be made while a stream is open", function(c)
    local s = assert(c:stream("app", "steps", { "chunk", 1 }, { "chunk", 2 }, { "end" }))
    local other = assert(c:stream("app", "steps", { "chunk", 3 }, { "end" }))
    local sum = 0
    for n in s do
        sum = sum + n + c:execute("app", "echo", 10)
    end
    equal(23, sum)
    equal(3, other())
    equal(nil, other())
end)

check("a stream has the client's budget and options", function(c)
    local one = c:with { timeout = 20, metadata = { tenant = "a" }, priority = 2 }
    local request = chunks_of(assert(one:stream("app", "request")))[1][1]
    equal("a", request.metadata.tenant)
    equal(2, request.priority)
    equal(true, request.budget_ms > 10000 and request.budget_ms <= 20000)
    local s, err, info = c:with({ timeout = 0.05 }):stream("app", "hold")
    equal(nil, s)
    has(err, "TIMEOUT: app.hold got no answer")
    equal("unknown", info.started)
    s = assert(c:with({ timeout = 0.05 }):stream("app", "steps", { "chunk", 1 }))
    equal(1, s())
    equal(nil, s())
    has(s.err, "TIMEOUT: ")
    equal("yes", s.info.started)
end)

check("wrong use of streams raises", function(c)
    raises("client:stream(", c.stream, "app", "echo")
    raises("app must be a string, is nil", c.stream, c)
    raises("action must be 1 to 255 bytes", c.stream, c, "app", "")
    raises("argument #1 is a function", c.stream, c, "app", "echo", print)
    local where = "client_checks.lua:" .. tostring(debug.getinfo(1, "l").currentline) + 1
    raises(where, function() return (c:stream("app", "echo", print)) end)
end)

--- Run one check on a client of its own.
function _M.run(name, socket)
    local options = { socket = socket, timeout = 5 }
    local c = client.new(options)
    _M[name](c, options)
    c:close()
end

if arg and arg[0] and arg[0]:find("client_checks.lua$") then
    for _, name in ipairs(_M.CHECKS) do
        local ok, err = pcall(_M.run, name, arg[1])
        if not ok then
            error(name .. ": " .. tostring(err), 0)
        end
    end
    print(#_M.CHECKS .. " passed")
end

return _M
