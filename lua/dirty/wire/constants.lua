--- The constants of the protocol, and the texts of its faults.
-- @module dirty.wire.constants

local _M = {}

--- The version of the protocol.
_M.PROTOCOL_VERSION = 1
--- Bytes of a frame's header, and of a value's head.
_M.HEADER_LEN, _M.VALUE_HEAD_LEN = 16, 5
--- Types of messages.
_M.REQUEST, _M.RESPONSE, _M.ERROR, _M.CHUNK, _M.END = 1, 2, 3, 4, 5
--- Tags of values: `b` raw bytes, `j` JSON.
_M.TAG_BYTES, _M.TAG_JSON = 0x62, 0x6a
--- Limits of a REQUEST: bytes of the names of apps and actions, and priorities.
_M.NAME_MAX, _M.PRIORITY_LAST, _M.PRIORITY_DEFAULT = 255, 9, 5
--- Bits of a REQUEST's flags. Below: the largest block of extensions in bytes, and the known
-- type of extension.
_M.FLAG_METADATA, _M.FLAG_EXTENSION = 1, 2
_M.EXTENSION_MAX, _M.EXTENSION_DEADLINE = 1024, 1
--- Limits of the parts of an ERROR in bytes. `max_message` does not apply to them.
_M.ERROR_MESSAGE_MAX, _M.ERROR_DETAILS_MAX = 65536, 262144
_M.ERROR_PAYLOAD_MAX = 4 + 5 + _M.ERROR_MESSAGE_MAX + 5 + _M.ERROR_DETAILS_MAX

--- The text of each fault, as in the C runtime.
_M.FAULTS = {
    BAD_MAGIC = 'wrong magic: a frame starts with the bytes "DW"',
    BAD_VERSION = "unknown protocol version: version 1 is supported",
    BAD_TYPE = "wrong message type: 1 REQUEST, 2 RESPONSE, 3 ERROR, 4 CHUNK, 5 END, "
        .. "and a server takes only REQUEST",
    TOO_LONG = "the message is longer than max_message",
    BAD_FLAGS = "unknown flag: bits 0 (metadata) and 1 (extensions) are supported",
    BAD_PRIORITY = "wrong priority: 0 (first) to 9 (last)",
    BAD_NAME = "wrong app or action name: 1 to 255 bytes of printable ASCII, no spaces",
    BAD_TAG = "wrong value tag: 'b' (bytes) and 'j' (JSON) are supported, and metadata and "
        .. "details must be 'j'",
    BAD_COUNT = "the count of values does not match the values",
    TRUNCATED = "a field reaches past the end of the message",
    TOO_MANY = "more values than max_args",
    BAD_JSON = "a value with tag 'j' is not JSON",
    BAD_LENGTH = "an END message must have no payload",
    BAD_EXTENSION = "wrong extensions: at most 1024 bytes of type, length and value, each inside "
        .. "them; at most one of type 1 (deadline), with 8 bytes",
}

--- Make the return values for a fault.
-- @tparam string name
-- @tparam[opt] string more what was found, follows the fault's text
-- @treturn nil
-- @treturn string name
-- @treturn string text
function _M.fault(name, more)
    local text = _M.FAULTS[name]
    return nil, name, more and text .. ": " .. more or text
end

return _M
