--- The dirty protocol in Lua: encodes and decodes frames, without a socket. docs/protocol.md is
-- the normative text. The C runtime has its own implementation (runtime/wire); both pass the
-- byte vectors of spec/fixtures. For LuaJIT (OpenResty) and every Lua from 5.1 on; needs no FFI
-- and no bit library.
--
-- Nothing here waits, and nothing raises because of a peer's bytes. A decoder returns `nil,
-- fault, text`: `fault` is a name of the protocol ("BAD_TAG"), or "MORE" if the bytes are only
-- the start of a message; `text` is for people. An encoder returns `nil, fault, text` if a value
-- may not be sent. Its faults are those of the protocol and "BAD_VALUE": a value that can't be
-- written.
--
-- **Ids** are numbers below 2^53. Larger ids, which only other clients make, are strings of 8
-- bytes. Equal ids are equal in Lua (`==`).
--
-- The methods of a codec are in `dirty.wire.encode` and `dirty.wire.decode`.
-- @module dirty.wire
-- @usage
-- local codec = require("dirty.wire").new()
-- local call = { app = "images", action = "info", budget_ms = 5000 }
-- sock:send((codec:encode_request(1, call, { jpeg }, 1)))
-- local kind, len, id = codec:decode_header(sock:receive(16))
-- if kind == codec.RESPONSE then print(codec:decode_values(sock:receive(len))) end

local decode = require "dirty.wire.decode"
local encode = require "dirty.wire.encode"
local reader = require "dirty.wire.reader"
local constants = require "dirty.wire.constants"
local values = require "dirty.values"

local _M = { _VERSION = "0.1.0" }

local DEFAULTS = { max_message = 67108864, max_args = 255, max_depth = 1000 }

-- The methods and constants of a codec, by name.
local methods = {}
for _, module in ipairs { constants, encode, decode } do
    for name, value in pairs(module) do
        methods[name] = value
    end
end
local mt = { __index = methods }

--- Make a codec with its limits and a JSON instance of its own.
-- @tparam[opt] table options `max_message` (bytes of a payload, default 64 MiB), `max_args`
-- (values in one message, default 255), `max_depth` (nesting of JSON, default 1000)
-- @treturn table with the constants and methods of the modules named above
function _M.new(options)
    local codec = {}
    for name, default in pairs(DEFAULTS) do
        codec[name] = options and options[name] or default
    end
    codec._values = values.new(codec.max_depth)
    return setmetatable(codec, mt)
end

--- Make a reader, which reads answers in pieces; see `dirty.wire.reader`.
function methods:reader()
    return reader.new(self)
end

return _M
