-- dirty.testing gives what a runtime gives: the same app's actions run both ways.
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local testing = require "dirty.testing"

local APP = [[
local dirty = require "dirty"
local App = dirty.app { timeout = 7 }
local sparse = { 1, [50] = 2 }
local loop = {}
loop[1] = loop
function App:init(options) self.options = options end
function App:options_of() return self.options end
function App:echo(...) return ... end
function App:count_of(...) return select("#", ...) end
function App:string() return "a\0b\255" end
function App:many() return 1, nil, "x", true, { 1, 2 }, {}, { a = dirty.null }, dirty.null, 0.1 end
function App:long() return 1234567890123456, { 0.1 + 0.2, 1e300, -0.0 } end
function App:none() end
function App:nothing() return nil end
function App:false_err() return false, "not an error" end
function App:nil_err() return nil, "not today" end
function App:nil_table() return nil, { message = "too many" } end
function App:nil_false() return nil, false end
function App:raise() error("broken") end
function App:raise_0() error("broken", 0) end
function App:raise_table() error { list = { 1 } } end
function App:raise_message() error { message = "in words" } end
function App:raise_tostring()
    error(setmetatable({}, { __tostring = function() return "of its own" end }))
end
function App:raise_nil() error() end
function App:raise_number() error(42) end
function App:raise_function() error(print) end
function App:raise_fault() require("dirty.fault").raise("OVERLOADED", "too much") end
function App:index() return nil + 1 end
function App:deep()
    local function down(n) if n == 0 then error("bottom") end down(n - 1) return n end
    down(3)
end
function App:yield() return coroutine.yield(1) end
function App:returns_function() return 1, print end
function App:returns_nan() return 1, { a = { 0 / 0 } } end
function App:returns_nan_alone() return 0 / 0 end
function App:returns_sparse() return sparse end
function App:returns_loop() return loop end
function App:returns_userdata() return io.stdout end
function App:returns_cdata() return 1LL end
function App:returns_key() return { [true] = 1 } end
function App:too_many() return unpack({}, 1, 256) end
function App:metadata() return dirty.request.metadata end
function App:request() return dirty.request.app, dirty.request.action, dirty.request.uid end
function App:unknown() return dirty.request.nonsense end
function App:remaining() return dirty.remaining() > 6 and dirty.remaining() <= 7 end
function App:stream(n)
    return coroutine.wrap(function() for i = 1, n do coroutine.yield(i, { i }) end end)
end
function App:stream_pairs() return ipairs { "a", "b" } end
function App:stream_raises()
    return coroutine.wrap(function() coroutine.yield(1) error("after one") end)
end
function App:stream_fails()
    local i = 0
    return function() i = i + 1 if i < 3 then return i end return nil, "after two" end
end
function App:stream_wrong() return function() return 1, print end end
function App:stream_none() return function() end end
function App:loops() while true do end end
function App:_private() end
App.not_a_function = 5
return App]]

-- Calls by action: lists of arguments. One call without arguments if there is no entry.
local ARGUMENTS = {
    echo = { {}, { nil }, { 1, nil, "x", nil }, { { a = { 1, 2 } }, false }, { "\0\255" },
        { 9007199254740992, -0.0, 1e-300 } },
    count_of = { { nil, nil }, {} },
    stream = { { 0 }, { 3 } },
    options_of = { {} },
}

local ACTIONS = { "no_such_action", "init", "call", "new", "close", "not_a_function" }
for name in APP:gmatch("function App:([%w_]+)") do
    ACTIONS[#ACTIONS + 1] = name
end

-- What differs between two calls in any case, and the number of the frame's bytes.
local function plain(info)
    if type(info) ~= "table" or not info.code then
        return info
    end
    local copy = {}
    for name, value in pairs(info) do
        copy[name] = value
    end
    copy.elapsed_ms = type(copy.elapsed_ms)
    copy.pid, copy.worker = type(copy.pid), type(copy.worker)
    return copy
end

local function same_words(text)
    if type(text) ~= "string" then
        return text
    end
    return (text:gsub("ran %d+ ms", "ran N ms"):gsub("0x%x+", "0xN")
        :gsub("[^%s]*/lua/dirty/", "lua/dirty/")
        :gsub("\n\t%[C%]: %?$", "")) -- the lane itself
end

local function result(...)
    local out = { n = select("#", ...), ... }
    for i = 1, out.n do
        out[i] = plain(same_words(out[i]))
    end
    if type(out[3]) == "table" and out[3].message then
        out[3].message = same_words(out[3].message)
        out[3].traceback = same_words(out[3].traceback)
    end
    return out
end

describe("dirty.testing and a runtime", function()
    local rt, app, dir
    setup(function()
        rt = runtime.start { files = { ["twice.lua"] = APP }, config = [[
            workers = 1
            apps = { twice = { module = "twice", options = { list = { 1, { a = true } } } } }]] }
        dir = rt.dir
        package.path = dir .. "/?.lua;" .. package.path
        app = assert(testing.open("twice",
            { name = "twice", options = { list = { 1, { a = true } } } }))
    end)
    teardown(function()
        rt:close()
        tempdir.remove(dir)
    end)

    it("give the same values and errors", function()
        local count = 0
        for _, action in ipairs(ACTIONS) do
            for _, args in ipairs(action ~= "loops" and ARGUMENTS[action] or { {} }) do
                local n = table.maxn(args)
                local seconds = action == "loops" and 0.1 or 20
                local ours = result(app:with { timeout = seconds }
                    :execute(action, unpack(args, 1, n)))
                local theirs = result(rt:client { timeout = seconds }
                    :execute("twice", action, unpack(args, 1, n)))
                if action == "yield" or action == "unknown" then -- raised by the lane's own C
                    theirs[3].traceback, ours[3].traceback = nil, nil
                end
                assert.same(theirs, ours, action)
                count = count + 1
            end
        end
        assert.is_true(count >= #ACTIONS)
    end)

    it("give the same streams", function()
        local function chunks_of(stream, err, info)
            local out = {}
            if not stream then
                return result(nil, err, info)
            end
            for a, b in stream do
                out[#out + 1] = { a, b }
            end
            return out, same_words(stream.err), result(1, 2, stream.info)
        end
        for _, action in ipairs { "stream", "stream_pairs", "stream_raises", "stream_fails",
            "stream_wrong", "stream_none", "many", "nothing", "raise", "none" } do
            local theirs = { chunks_of(rt:client():stream("twice", action, 3)) }
            assert.same(theirs, { chunks_of(app:stream(action, 3)) }, action)
        end
    end)

    it("give the same metadata", function()
        local metadata = { trace = { 1, "x" }, nested = { a = { b = false } } }
        assert.same({ rt:client { metadata = metadata }:execute("twice", "metadata") },
            { app:with { metadata = metadata }:execute("metadata") })
    end)
end)
