#include "wire/fault.h"

#include <assert.h>

#include "wire/extension.h"
#include "wire/frame.h"

typedef struct fault_info {
    const char *name, *text;
} fault_info;

static const fault_info faults[] = {
    [-DIRTY_WIRE_BAD_MAGIC] = {"BAD_MAGIC",
                               "wrong magic: a frame starts with the bytes \"DW\""},
    [-DIRTY_WIRE_BAD_VERSION] = {"BAD_VERSION",
                                 "unknown protocol version: version 1 is supported"},
    [-DIRTY_WIRE_BAD_TYPE] =
        {"BAD_TYPE",
         "wrong message type: 1 REQUEST, 2 RESPONSE, 3 ERROR, 4 CHUNK, 5 END, "
         "and a server takes only REQUEST"},
    [-DIRTY_WIRE_TOO_LONG] = {"TOO_LONG", "the message is longer than max_message"},
    [-DIRTY_WIRE_BAD_FLAGS] =
        {"BAD_FLAGS", "unknown flag: bits 0 (metadata) and 1 (extensions) are supported"},
    [-DIRTY_WIRE_BAD_PRIORITY] = {"BAD_PRIORITY",
                                  "wrong priority: 0 (first) to 9 (last)"},
    [-DIRTY_WIRE_BAD_NAME] = {"BAD_NAME", "wrong app or action name: 1 to 255 bytes of "
                                          "printable ASCII, no spaces"},
    [-DIRTY_WIRE_BAD_TAG] = {"BAD_TAG",
                             "wrong value tag: 'b' (bytes) and 'j' (JSON) are supported, "
                             "and metadata and details must be 'j'"},
    [-DIRTY_WIRE_BAD_COUNT] = {"BAD_COUNT",
                               "the count of values does not match the values"},
    [-DIRTY_WIRE_TRUNCATED] = {"TRUNCATED",
                               "a field reaches past the end of the message"},
    [-DIRTY_WIRE_TOO_MANY] = {"TOO_MANY", "more values than max_args"},
    [-DIRTY_WIRE_BAD_JSON] = {"BAD_JSON", "a value with tag 'j' is not JSON"},
    [-DIRTY_WIRE_BAD_LENGTH] = {"BAD_LENGTH", "an END message must have no payload"},
    [-DIRTY_WIRE_BAD_EXTENSION] =
        {"BAD_EXTENSION",
         "wrong extensions: at most 1024 bytes of type, length and value, each inside "
         "them; at most one of type 1 (deadline), with 8 bytes"},
};

static const fault_info *info_of(dirty_wire_fault fault) {
    static const fault_info ok = {"OK", "no fault"};
    static const fault_info more = {"MORE", "more bytes are needed"};
    if (fault >= 0)
        return fault == DIRTY_WIRE_OK ? &ok : &more;
    assert(fault >= DIRTY_WIRE_FAULT_LAST);
    return &faults[-fault];
}

const char *dirty_wire_fault_text(dirty_wire_fault fault) {
    return info_of(fault)->text;
}

const char *dirty_wire_fault_name(dirty_wire_fault fault) {
    return info_of(fault)->name;
}

void dirty_wire_fault_members(dirty_buf *out, dirty_wire_fault fault,
                              uint32_t max_message, uint32_t max_args) {
    dirty_buf_printf(out,
                     ",\"fault\":\"%s\",\"versions\":[%d],\"types\":[1,2,3,4,5],"
                     "\"flags\":[0,1],\"extensions\":[%d],\"tags\":[\"b\",\"j\"],"
                     "\"max_message\":%u,\"max_args\":%u",
                     dirty_wire_fault_name(fault), DIRTY_WIRE_VERSION,
                     DIRTY_EXTENSION_DEADLINE, max_message, max_args);
}
