/* record: one call of the crowd, what is right for it, and what has come of it.
 *
 *   FREE ──record_begin──► PENDING ──last callback──► FREE
 *
 * Records stay where they are, so a callback that comes too often finds one that is FREE,
 * or another call's: its ticket tells. */
#ifndef CROWD_RECORD_H
#define CROWD_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dirty.h"

typedef enum record_kind {
    RECORD_SMALL, /* echo of up to 2000 bytes */
    RECORD_LARGE, /* echo of 256 KiB */
    RECORD_SLEEP,
    RECORD_FAIL,   /* raises a text of its own */
    RECORD_SPIN,   /* longer than its budget: TIMEOUT is right */
    RECORD_COUNT,  /* a stream, paused in its midst */
    RECORD_LEAVE,  /* a stream, cancelled in its midst */
    RECORD_CANCEL, /* a call, cancelled at some time */
    RECORD_KINDS
} record_kind;

typedef struct record {
    bool pending;
    record_kind kind;
    uint64_t ticket, began_ns;
    uint32_t number;     /* bytes, milliseconds or chunks, by kind */
    uint32_t chunks;     /* that have come */
    uint32_t turn_at;    /* the chunk at which it is paused or cancelled */
    bool paused;         /* to be resumed */
    bool cancelled;      /* CANCELLED is right */
    const char *payload; /* borrowed by the call: `number` bytes, or a text */
    char text[32];
} record;

/* Choose a call and make its request; NULL: no memory. `serial` is in its text. */
dirty_request *record_begin(record *r, uint64_t *seed, uint64_t serial);

/* Is this call a stream? */
bool record_streams(const record *r);

/* Look at a chunk, or at the values of a whole result. NULL, or what is wrong. */
const char *record_chunk(record *r, const dirty_reply *reply);
const char *record_value(const record *r, const dirty_reply *reply);

/* Look at an error; `explained`: somebody was killed of late. NULL, or what is wrong. */
const char *record_error(const record *r, const dirty_outcome *o, bool explained);

const char *record_name(record_kind kind);

#endif
