#include "wire/fault.h"

#include <assert.h>

typedef struct fault_info {
    const char *name, *members, *text;
} fault_info;

#define FAULT(name, text) \
    { name, ",\"fault\":\"" name "\"", text }
#define FAULT_SPOKEN(name, spoken, text) \
    { name, ",\"fault\":\"" name "\"," spoken, text }

static const fault_info faults[] = {
    [-DIRTY_WIRE_BAD_MAGIC] =
        FAULT("BAD_MAGIC", "wrong magic: a frame starts with the bytes \"DW\""),
    [-DIRTY_WIRE_BAD_VERSION] =
        FAULT_SPOKEN("BAD_VERSION", "\"versions\":[1]",
                     "unknown protocol version: version 1 is spoken"),
    [-DIRTY_WIRE_BAD_TYPE] =
        FAULT_SPOKEN("BAD_TYPE", "\"types\":[1]",
                     "wrong message type: 1 REQUEST, 2 RESPONSE, 3 ERROR, 4 CHUNK, "
                     "5 END, and a server takes only REQUEST"),
    [-DIRTY_WIRE_TOO_LONG] = FAULT("TOO_LONG", "the message is longer than max_message"),
    [-DIRTY_WIRE_BAD_FLAGS] = FAULT_SPOKEN(
        "BAD_FLAGS", "\"flags\":[0]", "unknown flag: only bit 0 (metadata) is spoken"),
    [-DIRTY_WIRE_BAD_PRIORITY] =
        FAULT("BAD_PRIORITY", "wrong priority: 0 (first) to 9 (last)"),
    [-DIRTY_WIRE_BAD_NAME] =
        FAULT("BAD_NAME", "wrong app or action name: 1 to 255 bytes of printable ASCII, "
                          "no spaces"),
    [-DIRTY_WIRE_BAD_TAG] =
        FAULT_SPOKEN("BAD_TAG", "\"tags\":[\"b\",\"j\"]",
                     "wrong value tag: 'b' (bytes) and 'j' (JSON) are spoken, metadata "
                     "and details are 'j'"),
    [-DIRTY_WIRE_BAD_COUNT] =
        FAULT("BAD_COUNT", "the count of values does not match the values"),
    [-DIRTY_WIRE_TRUNCATED] =
        FAULT("TRUNCATED", "a field reaches past the end of the message"),
    [-DIRTY_WIRE_TOO_MANY] = FAULT("TOO_MANY", "more values than max_args"),
    [-DIRTY_WIRE_BAD_JSON] = FAULT("BAD_JSON", "a value with tag 'j' is not JSON"),
    [-DIRTY_WIRE_BAD_LENGTH] = FAULT("BAD_LENGTH", "an END message has no payload"),
};

static const fault_info *info_of(dirty_wire_fault fault) {
    static const fault_info ok = {"OK", "", "no fault"};
    static const fault_info more = {"MORE", "", "more bytes are needed"};
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

const char *dirty_wire_fault_members(dirty_wire_fault fault) {
    return info_of(fault)->members;
}
