/* channel: the messages between the arbiter and one lane, over a SOCK_SEQPACKET pair.
 *
 * Both ends run the same build of the same program. So messages are plain structs in
 * native byte order, zeroed before they are filled. One message is one packet. The
 * arbiter checks the lengths and sequence numbers of what it receives, because an app may
 * have corrupted its worker.
 *
 *   arbiter → lane: DISPATCH (head, first bytes of the request, and the client's
 *                   descriptor as SCM_RIGHTS; also the descriptor of a file with
 *                   the whole request if the arbiter has gathered it), STOP, RESUME,
 *                   COPY (the descriptor of a shared connection, or none)
 *   lane → arbiter: READY, BOOT_FAILED (head + JSON text), DONE, NO_DESCRIPTOR (head +
 *                   the bytes of the DISPATCH, returned), STALLED (with the descriptor
 *                   of a file with the bytes received so far); and from a lane that
 *                   serves shared connections BOUNCED (head + bytes), NEED, WANT, START
 *
 * The lane boots and sends READY or BOOT_FAILED. Then it answers every DISPATCH with one
 * DONE, NO_DESCRIPTOR or STALLED. At most one DISPATCH is open at a time. On STOP, or at
 * the end of the channel, the lane closes its apps and ends.
 *
 * From the first RESUME on the lane also serves shared connections (base/board.h). It
 * sends NEED for a connection of which it has no descriptor and gets COPY; BOUNCED for
 * one that it can't serve; START for a request that it took itself and whose deadline is
 * near;  * WANT after a request if `wanted` is set in its page. While `wanted` is set it
 * waits on the channel alone, until DISPATCH or RESUME comes; only after a request that
 * the arbiter sent may it first take some itself (worker/ready.h). */
#ifndef DIRTY_CHANNEL_H
#define DIRTY_CHANNEL_H

#include <stdint.h>

/* Maximum number of first bytes of a request that the arbiter holds and passes on. A
 * queued request costs that much memory and no more. The rest stays in the kernel. */
#define DIRTY_HEAD_BYTES_MAX 8192
/* Maximum size of the text of a BOOT_FAILED message. */
#define DIRTY_CHANNEL_TEXT_MAX 16384

typedef enum dirty_msg_kind {
    DIRTY_MSG_DISPATCH = 1,
    DIRTY_MSG_STOP = 2,
    DIRTY_MSG_RESUME = 3,
    DIRTY_MSG_COPY = 4,
    DIRTY_MSG_READY = 16,
    DIRTY_MSG_BOOT_FAILED = 17,
    DIRTY_MSG_DONE = 18,
    DIRTY_MSG_NO_DESCRIPTOR = 19,
    DIRTY_MSG_STALLED = 20,
    DIRTY_MSG_BOUNCED = 21,
    DIRTY_MSG_NEED = 22,
    DIRTY_MSG_WANT = 23,
    DIRTY_MSG_START = 24
} dirty_msg_kind;

typedef struct dirty_msg_dispatch {
    uint32_t kind;             /* DIRTY_MSG_DISPATCH */
    uint32_t app;              /* index in the worker's list of apps */
    uint64_t seq;              /* of the baton */
    uint64_t arrived_ns;       /* when the first byte of the request was read */
    uint64_t deadline_ns;      /* of the call; 0: none */
    uint64_t recv_deadline_ns; /* for receiving the whole request; 0: none */
    uint32_t frame_len;        /* header and payload of the whole request */
    uint32_t have_len;         /* bytes of the request that follow this struct */
    uint32_t gathered; /* 1: the file of the second descriptor holds the whole request */
    uint32_t others_wait; /* 1: other requests wait for a lane */
    int32_t peer_pid;     /* of the caller, from SO_PEERCRED */
    uint32_t peer_uid;
} dirty_msg_dispatch;

/* What to do with the connection after a request. */
typedef enum dirty_connection_end {
    DIRTY_CONNECTION_KEEP = 0, /* wait for the next request */
    DIRTY_CONNECTION_DRAIN =
        1, /* answered, but input is unread or broken: shut it down gently */
    DIRTY_CONNECTION_LOST = 2 /* the peer is gone or framing is lost: close it now */
} dirty_connection_end;

typedef struct dirty_msg_done {
    uint32_t kind;      /* DIRTY_MSG_DONE */
    uint16_t outcome;   /* 0: a value; else the wire number of the error that was sent */
    uint8_t connection; /* a dirty_connection_end */
    uint8_t dropped;    /* 1: the lane lost the baton and sent no answer */
    uint64_t seq;
    uint64_t run_ns; /* time spent in the app */
} dirty_msg_done;

/* The rest of a long request did not arrive in time, and the lane no longer waits for it.
 * The app has not been called. */
typedef struct dirty_msg_stalled {
    uint32_t kind;     /* DIRTY_MSG_STALLED */
    uint32_t have_len; /* bytes in the file, from the start of the request */
    uint64_t seq;
} dirty_msg_stalled;

/* Who asks for a shared connection, or gets it. */
typedef struct dirty_msg_connection {
    uint32_t kind;    /* DIRTY_MSG_NEED or DIRTY_MSG_COPY */
    uint32_t slot;    /* on the board */
    uint32_t ticket;  /* on the board */
    int32_t peer_pid; /* COPY: of the caller, from SO_PEERCRED */
    uint32_t peer_uid;
} dirty_msg_connection;

/* A shared connection goes to the arbiter. The lane still owns it on the board, and does
 * not touch it any more: the arbiter takes it over when it gets this. So a lane that dies
 * before it has sent the message leaves a connection that has an owner. */
typedef struct dirty_msg_bounced {
    uint32_t kind; /* DIRTY_MSG_BOUNCED */
    uint32_t slot;
    uint32_t ticket;
    uint32_t end; /* a dirty_connection_end; KEEP: look at it, nothing of it has run */
    uint32_t len; /* bytes that follow: received, and not served */
} dirty_msg_bounced;

typedef struct dirty_msg_start {
    uint32_t kind; /* DIRTY_MSG_START */
    uint32_t zero;
    uint64_t seq; /* of the baton */
} dirty_msg_start;

/* READY and STOP, RESUME and WANT, and the head of BOOT_FAILED and NO_DESCRIPTOR. After
 * BOOT_FAILED follows the text, after NO_DESCRIPTOR the DISPATCH with its own head. */
typedef struct dirty_msg_plain {
    uint32_t kind;
    uint32_t len; /* bytes that follow */
} dirty_msg_plain;

#endif
