--- Checks of dirty.wire against the fixtures, as plain functions: wire_spec.lua runs each
-- as a test, and the whole file in every other Lua that clients may have:
--
--     lua5.4 spec/support/wire_checks.lua      prints how many passed, or raises
--
-- @module support.wire_checks

local fixtures = require "support.fixtures"
local wire = require "dirty.wire"

local _M = {}

local valid, invalid = fixtures.load "valid", fixtures.load "invalid"
local defaults = wire.new()

local KINDS = { REQUEST = defaults.REQUEST, RESPONSE = defaults.RESPONSE,
    ERROR = defaults.ERROR, CHUNK = defaults.CHUNK, END = defaults.END }

local function check(ok, ...)
    if not ok then
        error(table.concat({ ... }, " "), 2)
    end
end

-- -- Decoding a frame by a codec, whole or as a reader wants it ---------------------------

local function decode_payload(codec, kind, payload)
    if kind == codec.REQUEST then
        return codec:decode_request(payload)
    elseif kind == codec.ERROR then
        return codec:decode_error(payload)
    elseif kind == codec.END then
        return true
    end
    local values, count, text = codec:decode_values(payload)
    if not values then
        return nil, count, text
    end
    return { values = values, count = count }
end

--- Decode a frame. Gives the type, the id and what the payload says, or nil, fault, text.
function _M.decode(codec, frame, side)
    local kind, len, id = codec:decode_header(frame:sub(1, 16))
    if not kind then
        return nil, len, id
    elseif side and (side == "server") ~= (kind == codec.REQUEST) then
        return nil, "BAD_TYPE"
    end
    local said, fault, text = decode_payload(codec, kind, frame:sub(17, 16 + len))
    if said == nil then
        return nil, fault, text
    end
    return kind, id, said
end

--- Decode an answer through a reader. Gives it, or nil, fault, text.
function _M.read(codec, frame)
    local reader = codec:reader()
    local want, fault, text = reader:start()
    local at = 1
    while want and want > 0 do
        local bytes = frame:sub(at, at + want - 1)
        at = at + want
        want, fault, text = reader:take(bytes)
    end
    if not want then
        return nil, fault, text
    end
    check(at == #frame + 1, "the reader left bytes")
    return reader
end

-- -- Equality ------------------------------------------------------------------------------

local function same(a, b)
    if type(a) ~= "table" or type(b) ~= "table" then
        return a == b
    end
    for key, value in pairs(a) do
        if not same(value, b[key]) then
            return false
        end
    end
    for key in pairs(b) do
        if a[key] == nil then
            return false
        end
    end
    return true
end
_M.same = same

local function json_value(text)
    if text:find("^%-?%d") then
        return tonumber(text) -- an integer in Lua 5.4
    end
    -- lua-cjson takes no half of a pair of surrogates
    local value = require("cjson").decode((text:gsub("\\u[dD][89a-f]%x%x", "\\ufffd")))
    if value == require("cjson").null then
        return nil
    end
    return value
end

local function check_values(list, values, count)
    check(#list == count, "has", count, "values, not", #list)
    for i, value in ipairs(list) do
        local should = value.bytes
        if value.tag == "j" then
            should = json_value(should)
        end
        check(same(values[i], should), "value", i, "differs")
    end
end

local function id_of(bytes)
    local id = 0.0 -- a double in Lua 5.4 too: no integer runs over
    for i = 1, 8 do
        id = id * 256 + bytes:byte(i)
    end
    return id < 2 ^ 53 and id or bytes
end

-- -- The checks ----------------------------------------------------------------------------

local function check_request(f, request)
    for _, key in ipairs { "app", "action", "budget_ms", "priority", "deadline_ns" } do
        check(request[key] == f[key], key, "differs")
    end
    check(request.has_metadata == (f.metadata ~= nil), "metadata")
    check(not f.metadata or same(request.metadata, json_value(f.metadata)), "metadata differs")
    check_values(f.values, request.args, request.argc)
end

local function check_error(f, said)
    check(said.code == f.code, "code is", said.code)
    check(said.message == f.message, "message differs")
    check(same(said.details, json_value(f.details)), "details differ")
end

--- A valid message means what its fixture says.
function _M.meaning(f)
    local kind, id, said = _M.decode(defaults, f.frame)
    check(kind == KINDS[f.type], id, said)
    check(id == id_of(f.id), "id is", id)
    if kind == defaults.REQUEST then
        check_request(f, said)
    elseif kind == defaults.ERROR then
        check_error(f, said)
    elseif kind ~= defaults.END then
        check_values(f.values, said.values, said.count)
    end
end

--- A reader reads the same from an answer.
function _M.reading(f)
    if f.type == "REQUEST" then
        return
    end
    local reader, fault, text = _M.read(defaults, f.frame)
    check(reader, fault, text)
    check(reader.kind == KINDS[f.type] and reader.id == id_of(f.id), "type or id")
    if f.type == "ERROR" then
        check_error(f, reader.error)
    elseif f.type ~= "END" then
        check_values(f.values, reader.values, reader.count)
    end
end

-- A codec that writes {json = text} as that text: how a JSON library prints is its affair.
local verbatim = wire.new()
verbatim._values = { to_json = function(_, value) return value.json end }

local function encode(f)
    local id, list = id_of(f.id), {}
    for i, value in ipairs(f.values) do
        list[i] = value.tag == "j" and { json = value.bytes } or value.bytes
    end
    if f.type == "REQUEST" then
        return verbatim:encode_request(id, f, list, #list, { "a", "b", "c", "d", "e" })
    elseif f.type == "ERROR" then
        return verbatim:encode_error(id, f.code, f.message, f.details)
    elseif f.type == "END" then
        return verbatim:encode_end(id)
    end
    return verbatim:encode_values(KINDS[f.type], id, list, #list)
end

--- A valid message is written byte for byte.
function _M.writing(f)
    local pieces, len, text = encode(f)
    check(pieces, len, text)
    local frame = table.concat(pieces)
    check(len == #frame, "says it is", len, "bytes long, and is", #frame)
    check((frame == f.frame) == (f.canonical ~= "no"), "written otherwise")
end

--- No start of a valid message is a fault of the header, and no cut payload is valid.
function _M.cutting(f)
    for len = 0, math.min(15, #f.frame - 1) do
        local kind, fault = defaults:decode_header(f.frame:sub(1, len))
        check(kind == nil and fault == "MORE", fault, "after", len, "bytes")
    end
    local kind = KINDS[f.type]
    local step = #f.frame > 4096 and 997 or 1 -- every cut where there are few
    for len = 0, #f.frame - 17, step do
        local said, fault = decode_payload(defaults, kind, f.frame:sub(17, 16 + len))
        check(said == nil and (fault == "TRUNCATED" or fault == "BAD_COUNT"),
            "cut to", len, "bytes:", tostring(fault))
    end
end

--- An invalid message gives its fault, with words, and its header not too late.
function _M.fault(f)
    local codec = wire.new { max_message = f.max_message, max_args = f.max_args }
    local kind, fault, text = _M.decode(codec, f.frame, f.side)
    check(kind == nil and fault == f.fault, "gives", tostring(fault), tostring(text))
    if f.side == "client" then
        local reader, why = _M.read(codec, f.frame)
        check(reader == nil and why == f.fault, "the reader says", tostring(why))
    end
    for len = 0, 15 do
        kind, fault = codec:decode_header(f.frame:sub(1, len))
        local should = f.after and f.after <= len and f.fault or "MORE"
        check(kind == nil and fault == should, fault, "after", len, "bytes")
    end
end

--- Run a check over its fixtures. Raises with the fixture's name.
function _M.run(name)
    for _, f in ipairs(name == "fault" and invalid or valid) do
        local ok, err = pcall(_M[name], f)
        if not ok then
            error(f.name .. ": " .. tostring(err), 0)
        end
    end
    return name == "fault" and #invalid or #valid
end

--- What `run` takes.
_M.CHECKS = { "meaning", "reading", "writing", "cutting", "fault" }

if arg and arg[0] and arg[0]:find("wire_checks.lua$") then
    local count = 0
    for _, name in ipairs(_M.CHECKS) do
        count = count + _M.run(name)
    end
    print(count .. " passed")
end

return _M
