/* fault: why a decoder rejects bytes of the wire.
 *
 * OK and MORE are not faults. Every negative value is a protocol violation. The peer gets
 * a PROTOCOL error: its message is the text, its details have the name. Then the
 * connection ends. Names are stable (docs/protocol.md); the numbers are internal. */
#ifndef DIRTY_FAULT_H
#define DIRTY_FAULT_H

#include <stdint.h>

#include "base/buf.h"

typedef enum dirty_wire_fault {
    DIRTY_WIRE_OK = 0,
    DIRTY_WIRE_MORE = 1,
    DIRTY_WIRE_BAD_MAGIC = -1,
    DIRTY_WIRE_BAD_VERSION = -2,
    DIRTY_WIRE_BAD_TYPE = -3,  /* unknown, or not accepted by this side */
    DIRTY_WIRE_TOO_LONG = -4,  /* payload is longer than the limit */
    DIRTY_WIRE_BAD_FLAGS = -5, /* a reserved flag bit is set */
    DIRTY_WIRE_BAD_PRIORITY = -6,
    DIRTY_WIRE_BAD_NAME = -7, /* app or action is empty or not printable ASCII */
    DIRTY_WIRE_BAD_TAG = -8,
    DIRTY_WIRE_BAD_COUNT = -9,      /* more or fewer values than the count */
    DIRTY_WIRE_TRUNCATED = -10,     /* a field ends after the payload */
    DIRTY_WIRE_TOO_MANY = -11,      /* more values than allowed */
    DIRTY_WIRE_BAD_JSON = -12,      /* a value is not JSON; the user's mistake */
    DIRTY_WIRE_BAD_LENGTH = -13,    /* an END frame with a payload */
    DIRTY_WIRE_BAD_EXTENSION = -14, /* the extension block can't be decoded */
    DIRTY_WIRE_FAULT_LAST = DIRTY_WIRE_BAD_EXTENSION
} dirty_wire_fault;

/* One line in lower case: what is wrong and what is supported or allowed. */
const char *dirty_wire_fault_text(dirty_wire_fault fault);

/* The protocol's name for it: "BAD_TAG". "OK" and "MORE" for the two that are no
 * faults. */
const char *dirty_wire_fault_name(dirty_wire_fault fault);

/* Append the members that the details of every PROTOCOL error have: the fault's name, and
 * what this side supports and allows. JSON text with a leading comma:
 *
 *   ,"fault":"BAD_TAG","versions":[1],"types":[1,2,3,4,5],"flags":[0,1],
 *    "extensions":[1],"tags":["b","j"],"max_message":…,"max_args":… */
void dirty_wire_fault_members(dirty_buf *out, dirty_wire_fault fault,
                              uint32_t max_message, uint32_t max_args);

#endif
