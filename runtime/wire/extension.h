/* extension: the part of a request's route that can grow.
 *
 *   length u16 · so many bytes of entries: type u8 · length u16 · value
 *
 * It is there where flag bit 1 of the request is set, behind the names. A type that is
 * not known is skipped, so that a new one needs no new version. Sans-I/O, allocates
 * nothing. */
#ifndef DIRTY_EXTENSION_H
#define DIRTY_EXTENSION_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/fault.h"

/* Bytes of the length in front, and of the entries at most. */
#define DIRTY_EXTENSION_HEAD_LEN 2
#define DIRTY_EXTENSION_MAX 1024

/* Types that are known. Reserved: 2 max_wait_ms u32, 3 accepts u32, 4 key; 128 to 255 are
 * for private use. */
typedef enum dirty_extension_type {
    DIRTY_EXTENSION_DEADLINE = 1 /* u64, CLOCK_MONOTONIC in ns */
} dirty_extension_type;

/* No deadline is later, so that a sum with a timeout never runs over. */
#define DIRTY_DEADLINE_MAX_NS ((uint64_t)INT64_MAX)

/* What the entries say. */
typedef struct dirty_extension {
    uint64_t deadline_ns; /* 0: none was given; a given 0 is 1 */
} dirty_extension;

/* Read `len` bytes of entries. OK or BAD_EXTENSION: an entry reaches past them, a known
 * type has another length than its own, or comes twice. */
dirty_wire_fault dirty_extension_decode(const uint8_t *entries, size_t len,
                                        dirty_extension *out);

/* The bytes that dirty_extension_append writes, at most DIRTY_EXTENSION_WRITTEN_MAX; 0
 * where there is nothing to say. */
#define DIRTY_EXTENSION_WRITTEN_MAX 13
size_t dirty_extension_len(const dirty_extension *extension);

/* Append length and entries, if there is anything to say. */
void dirty_extension_append(dirty_buf *out, const dirty_extension *extension);

#endif
