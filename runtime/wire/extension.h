/* extension: the extensible part of a request's route.
 *
 *   length u16 · that many bytes of entries: type u8 · length u16 · value
 *
 * It follows the names if flag bit 1 of the request is set. Unknown types are skipped, so
 * a new type needs no new protocol version. Sans-I/O; allocates nothing. */
#ifndef DIRTY_EXTENSION_H
#define DIRTY_EXTENSION_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/fault.h"

/* Size of the length field, and maximum size of the entries, in bytes. */
#define DIRTY_EXTENSION_HEAD_LEN 2
#define DIRTY_EXTENSION_MAX 1024

/* Known types. Reserved: 2 max_wait_ms u32, 3 accepts u32, 4 key; 128 to 255 are for
 * private use. */
typedef enum dirty_extension_type {
    DIRTY_EXTENSION_DEADLINE = 1 /* u64, CLOCK_MONOTONIC in ns */
} dirty_extension_type;

/* Later deadlines are reduced to this, so that adding a timeout never overflows. */
#define DIRTY_DEADLINE_MAX_NS ((uint64_t)INT64_MAX)

/* The decoded entries. */
typedef struct dirty_extension {
    uint64_t deadline_ns; /* 0: none given; a given 0 is stored as 1 */
} dirty_extension;

/* Decode `len` bytes of entries. Returns OK, or BAD_EXTENSION if an entry reaches past
 * the end, or a known type has a wrong length or occurs twice. */
dirty_wire_fault dirty_extension_decode(const uint8_t *entries, size_t len,
                                        dirty_extension *out);

/* Number of bytes that dirty_extension_append writes, at most
 * DIRTY_EXTENSION_WRITTEN_MAX. 0 if there is no entry. */
#define DIRTY_EXTENSION_WRITTEN_MAX 13
size_t dirty_extension_len(const dirty_extension *extension);

/* Append length and entries. Appends nothing if there is no entry. */
void dirty_extension_append(dirty_buf *out, const dirty_extension *extension);

#endif
