/* channel: the messages between the arbiter and one lane, over their SOCK_SEQPACKET pair.
 *
 * Both ends are the same program of the same build, so messages are plain structs in
 * native byte order, zeroed before they are filled. One message is one packet. The
 * arbiter checks lengths and sequence numbers of what it receives: an app may have
 * broken its worker.
 *
 *   arbiter → lane: DISPATCH (head + first bytes of the request + the client's
 *                   descriptor as SCM_RIGHTS, and that of a file with the whole
 *                   request where the arbiter has gathered it), STOP
 *   lane → arbiter: READY, BOOT_FAILED (head + JSON text), DONE, NO_DESCRIPTOR (head +
 *                   the bytes of the DISPATCH, given back), STALLED (with the descriptor
 *                   of a file with what has come of the request)
 *
 * Life: the lane boots, sends READY or BOOT_FAILED, then answers every DISPATCH with one
 * DONE, NO_DESCRIPTOR or STALLED. At most one DISPATCH is out at a time. STOP, or the end
 * of the channel, lets the lane close its apps and end. */
#ifndef DIRTY_CHANNEL_H
#define DIRTY_CHANNEL_H

#include <stdint.h>

/* First bytes of a request that the arbiter holds and passes on, at most. A queued
 * request costs it that much memory and no more; the rest waits in the kernel. */
#define DIRTY_HEAD_BYTES_MAX 8192
/* The largest text of a BOOT_FAILED message. */
#define DIRTY_CHANNEL_TEXT_MAX 16384

typedef enum dirty_msg_kind {
    DIRTY_MSG_DISPATCH = 1,
    DIRTY_MSG_STOP = 2,
    DIRTY_MSG_READY = 16,
    DIRTY_MSG_BOOT_FAILED = 17,
    DIRTY_MSG_DONE = 18,
    DIRTY_MSG_NO_DESCRIPTOR = 19,
    DIRTY_MSG_STALLED = 20
} dirty_msg_kind;

typedef struct dirty_msg_dispatch {
    uint32_t kind;             /* DIRTY_MSG_DISPATCH */
    uint32_t app;              /* index in the worker's list of apps */
    uint64_t seq;              /* of the baton */
    uint64_t arrived_ns;       /* when the first byte of the request was read */
    uint64_t deadline_ns;      /* the call's, 0: none */
    uint64_t recv_deadline_ns; /* until when the request must be here whole, 0: none */
    uint32_t frame_len;        /* header and payload of the whole request */
    uint32_t have_len;         /* bytes of it that follow here */
    uint32_t gathered;         /* 1: all of it is in the second descriptor's file */
    uint32_t others_wait;      /* 1: other requests wait for a lane */
    int32_t peer_pid;          /* of the caller, by SO_PEERCRED */
    uint32_t peer_uid;
} dirty_msg_dispatch;

/* What the connection is good for after a request. */
typedef enum dirty_connection_end {
    DIRTY_CONNECTION_KEEP = 0, /* the next request may come */
    DIRTY_CONNECTION_DRAIN =
        1,                    /* answered, but input is unread or broken: end it softly */
    DIRTY_CONNECTION_LOST = 2 /* the peer is gone or framing is lost: end it now */
} dirty_connection_end;

typedef struct dirty_msg_done {
    uint32_t kind;      /* DIRTY_MSG_DONE */
    uint16_t outcome;   /* 0 a value, else the wire number of the error sent */
    uint8_t connection; /* a dirty_connection_end */
    uint8_t dropped;    /* 1: the lane lost the baton and answered nothing */
    uint64_t seq;
    uint64_t run_ns; /* time in the app */
} dirty_msg_done;

/* The rest of a long request does not come, and a lane does not wait for it. It has not
 * begun. */
typedef struct dirty_msg_stalled {
    uint32_t kind;     /* DIRTY_MSG_STALLED */
    uint32_t have_len; /* bytes in the file, from the request's first on */
    uint64_t seq;
} dirty_msg_stalled;

/* READY, STOP, and the head of BOOT_FAILED (text follows) and NO_DESCRIPTOR (the bytes
 * of the DISPATCH follow, its own head first). */
typedef struct dirty_msg_plain {
    uint32_t kind;
    uint32_t len; /* bytes that follow */
} dirty_msg_plain;

#endif
