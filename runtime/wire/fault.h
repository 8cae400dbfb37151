/* fault: what a decoder of the wire says of bytes it does not take.
 *
 * OK and MORE are no faults. Every negative value is a broken protocol: the peer gets it
 * as a PROTOCOL error whose message is the text and whose details carry the name, and the
 * connection ends. Names are stable (docs/protocol.md), numbers are ours alone. */
#ifndef DIRTY_FAULT_H
#define DIRTY_FAULT_H

#include <stdint.h>

#include "base/buf.h"

typedef enum dirty_wire_fault {
    DIRTY_WIRE_OK = 0,
    DIRTY_WIRE_MORE = 1,
    DIRTY_WIRE_BAD_MAGIC = -1,
    DIRTY_WIRE_BAD_VERSION = -2,
    DIRTY_WIRE_BAD_TYPE = -3,  /* unknown, or not one that this side takes */
    DIRTY_WIRE_TOO_LONG = -4,  /* payload length over the limit */
    DIRTY_WIRE_BAD_FLAGS = -5, /* a reserved flag bit is set */
    DIRTY_WIRE_BAD_PRIORITY = -6,
    DIRTY_WIRE_BAD_NAME = -7, /* app or action empty or not printable ASCII */
    DIRTY_WIRE_BAD_TAG = -8,
    DIRTY_WIRE_BAD_COUNT = -9,      /* more or fewer values than the count says */
    DIRTY_WIRE_TRUNCATED = -10,     /* a field reaches past the end of the payload */
    DIRTY_WIRE_TOO_MANY = -11,      /* more values than the limit */
    DIRTY_WIRE_BAD_JSON = -12,      /* a value that is not JSON: said by users */
    DIRTY_WIRE_BAD_LENGTH = -13,    /* an END frame with a payload */
    DIRTY_WIRE_BAD_EXTENSION = -14, /* a block of extensions that can't be read */
    DIRTY_WIRE_FAULT_LAST = DIRTY_WIRE_BAD_EXTENSION
} dirty_wire_fault;

/* One line, lower case, that says what was wrong and what is spoken or allowed. */
const char *dirty_wire_fault_text(dirty_wire_fault fault);

/* The name that the protocol gives it: "BAD_TAG". "OK" and "MORE" for no faults. */
const char *dirty_wire_fault_name(dirty_wire_fault fault);

/* Append the members that the details of every PROTOCOL error carry, JSON text led by a
 * comma: the fault's name, and what is spoken and allowed here.
 *   ,"fault":"BAD_TAG","versions":[1],"types":[1,2,3,4,5],"flags":[0,1],
 *    "extensions":[1],"tags":["b","j"],"max_message":…,"max_args":… */
void dirty_wire_fault_members(dirty_buf *out, dirty_wire_fault fault,
                              uint32_t max_message, uint32_t max_args);

#endif
