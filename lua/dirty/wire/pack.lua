--- Packs the head of a REQUEST: all bytes in front of its metadata and its arguments. Every call
-- needs one, so there are two functions that return the same bytes. With LuaJIT's FFI the head is
-- written into memory, and makes one string. Without FFI it is joined from shorter strings.
-- @module dirty.wire.pack

local constants = require "dirty.wire.constants"

local char, sub = string.char, string.sub
local type = type

local _M = {}

local HEADER_LEN, VERSION, REQUEST = constants.HEADER_LEN, constants.PROTOCOL_VERSION,
    constants.REQUEST
local MAGIC_1, MAGIC_2 = 0x44, 0x57
local U16_MAX, U32 = 65535, 4294967296
local DEADLINE_MAX = 2 ^ 63
-- The head of a block of extensions with a deadline: its length, type 1, 8 bytes.
local DEADLINE_HEAD = char(0, 11, constants.EXTENSION_DEADLINE, 0, 8)
-- The part of a route before the names. The lengths of the names go with the names.
local ROUTE_HEAD_LEN = 8

--- Bytes of a block of extensions with a deadline.
_M.DEADLINE_LEN = #DEADLINE_HEAD + 8

local function u16_bytes(n)
    local low = n % 256
    return (n - low) / 256, low
end

local function u32_bytes(n)
    local d = n % 256
    n = (n - d) / 256
    local c = n % 256
    n = (n - c) / 256
    local b = n % 256
    return (n - b) / 256, b, c, d
end

--- The big-endian bytes of a whole number from 0 to 65535, or below 2^32.
_M.u16_bytes, _M.u32_bytes = u16_bytes, u32_bytes

-- Split a number into its high and low 32 bits.
local function halves(n)
    local low = n % U32
    return (n - low) / U32, low
end

-- The same for a deadline, which may have a fraction or be too late.
local function deadline_halves(ns)
    if ns >= DEADLINE_MAX then
        return 2147483647, 4294967295
    end
    return halves(ns - ns % 1)
end

-- -- Without FFI -------------------------------------------------------------------------

-- All but the names, as two strings: what comes before them and what comes behind.
local function parts(id, len, budget_ms, priority, flags, argc, deadline_ns)
    local high, low = halves(id)
    local l1, l2, l3, l4 = u32_bytes(len)
    local h1, h2, h3, h4 = u32_bytes(high)
    local i1, i2, i3, i4 = u32_bytes(low)
    local b1, b2, b3, b4 = u32_bytes(budget_ms)
    local head = char(MAGIC_1, MAGIC_2, VERSION, REQUEST, l1, l2, l3, l4, h1, h2, h3, h4, i1, i2,
        i3, i4, b1, b2, b3, b4, priority, flags, u16_bytes(argc))
    if not deadline_ns then
        return head, ""
    end
    high, low = deadline_halves(deadline_ns)
    h1, h2, h3, h4 = u32_bytes(high)
    return head, DEADLINE_HEAD .. char(h1, h2, h3, h4, u32_bytes(low))
end

local function joined(id, len, budget_ms, priority, flags, argc, names, deadline_ns)
    local head, tail = parts(id, len, budget_ms, priority, flags, argc, deadline_ns)
    return head .. names .. tail
end

-- -- With FFI ----------------------------------------------------------------------------

-- Make the function that writes into memory; nil where numbers have another order of bytes.
local function writer()
    local ffi, bit = require "ffi", require "bit"
    if not ffi.abi "le" then
        return nil
    end
    local copy, text, swap = ffi.copy, ffi.string, bit.bswap
    local NAMES = HEADER_LEN + ROUTE_HEAD_LEN
    local NAMES_MAX = 2 + 2 * constants.NAME_MAX
    local bytes = ffi.new("uint8_t[?]", NAMES + NAMES_MAX + _M.DEADLINE_LEN)
    local words = ffi.cast("int32_t *", bytes)
    local deadline = ffi.new "int32_t[2]"
    copy(bytes, char(MAGIC_1, MAGIC_2, VERSION, REQUEST))
    return function(id, len, budget_ms, priority, flags, argc, names, deadline_ns)
        if #names > NAMES_MAX or argc > U16_MAX or budget_ms >= U32 then
            -- no room: string.char raises what is wrong
            return joined(id, len, budget_ms, priority, flags, argc, names, deadline_ns)
        end
        local high, low = halves(id)
        words[1], words[2], words[3], words[4] = swap(len), swap(high), swap(low), swap(budget_ms)
        bytes[20], bytes[21] = priority, flags
        bytes[22], bytes[23] = u16_bytes(argc)
        local stop = NAMES + #names
        copy(bytes + NAMES, names, #names)
        if deadline_ns then
            high, low = deadline_halves(deadline_ns)
            deadline[0], deadline[1] = swap(high), swap(low)
            copy(bytes + stop, DEADLINE_HEAD, 5)
            copy(bytes + stop + 5, deadline, 8)
            stop = stop + _M.DEADLINE_LEN
        end
        return text(bytes, stop)
    end
end

-- -- Both --------------------------------------------------------------------------------

local has_writer, written = pcall(writer)
local pack = has_writer and written or joined

--- Both functions, for their test. `written` is nil without FFI.
_M.joined, _M.written = joined, has_writer and written or nil

--- Pack the head of a REQUEST.
-- @tparam number|string id a number below 2^53, or 8 bytes
-- @tparam number len bytes of the payload
-- @tparam number budget_ms
-- @tparam number priority
-- @tparam number flags
-- @tparam number argc
-- @tparam string names of `encode_names`
-- @tparam[opt] number deadline_ns
-- @treturn string
function _M.request(id, len, budget_ms, priority, flags, argc, names, deadline_ns)
    if type(id) == "string" then
        local head = pack(0, len, budget_ms, priority, flags, argc, names, deadline_ns)
        return sub(head, 1, 8) .. id .. sub(head, 17)
    end
    return pack(id, len, budget_ms, priority, flags, argc, names, deadline_ns)
end

return _M
