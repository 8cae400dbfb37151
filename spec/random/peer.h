/* peer: one connection of the random client, and then the next in its place.
 *
 *   CLOSED ── connect ──► OPEN ── end of file, hang-up ──► CLOSED
 *                           │                                 ▲
 *                           └─ the server has ended it ─► LEFT ┘ (what is left is still
 * sent)
 *
 * A connection has a script, chosen when it is opened from the seed and its serial number
 * alone: up to ASKS_MAX requests, how each is sent, how it reads, how it ends. */
#ifndef RANDOM_PEER_H
#define RANDOM_PEER_H

#include <poll.h>

#include "spec/random/world.h"

#define ASKS_MAX 8
#define PEER_NOTES 48

typedef enum peer_state { PEER_CLOSED, PEER_OPEN, PEER_LEFT } peer_state;

typedef struct peer {
    world *w;
    peer_state state;
    int fd;
    uint64_t serial;
    uint64_t opened_ns;
    uint64_t next_ns; /* CLOSED: of the next connect; LEFT: of the close */

    ask asks[ASKS_MAX];
    uint32_t count;   /* of asks in the script */
    uint32_t head;    /* the first that is not answered */
    uint32_t sending; /* the one that is being sent or is to be sent next */
    uint32_t cut;     /* of its delivery: the next one */
    bool waited;      /* its pause before it has been begun */
    uint64_t send_ns; /* not before */
    bool blocked;     /* the socket took no more */
    bool shut;        /* we have shut down our sending side */
    uint64_t shut_ns;
    bool silent; /* no byte more is sent, by the script or by the socket */

    dirty_buf in; /* what was read and is no whole frame yet */
    bool lags;    /* does not read at once */
    uint32_t read_max, read_pause_us;
    uint64_t read_ns;      /* not before */
    uint64_t last_read_ns; /* when bytes came */
    uint64_t answered_ns;  /* when the last terminal frame came */
    uint64_t leave_ns;     /* hang up then, whatever is under way, 0: never */

    bool sealed;          /* an answer has ended the connection: no byte may follow */
    bool may_end;         /* an answer may have ended it */
    bool half_close_last; /* when all is answered: half-close, or close */

    history notes;
    history_line lines[PEER_NOTES];
} peer;

void peer_init(peer *p, world *w);
void peer_deinit(peer *p);

/* Do what is due. */
void peer_tick(peer *p, uint64_t now_ns);

/* What to wait for. False: nothing but time. */
bool peer_interest(const peer *p, uint64_t now_ns, struct pollfd *out);

/* The socket is ready. */
void peer_ready(peer *p, short events, uint64_t now_ns);

/* When peer_tick has something to do, at the latest. */
uint64_t peer_due_ns(const peer *p);

/* 1 if a request of it may wait for a lane. */
uint32_t peer_waits(const peer *p);

/* End it, whatever is under way. */
void peer_hang_up(peer *p, uint64_t now_ns, const char *reason);

/* -- For the parts of it: peer_send, peer_read
 * --------------------------------------------- */

/* Note in its history and in that of all. */
void peer_note(peer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Say what is wrong, with its history. */
void peer_complain(peer *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The server has ended it; `how` for people. */
void peer_ended(peer *p, uint64_t now_ns, const char *how);

/* The ask in hand, NULL: none. */
static inline ask *peer_head(peer *p) {
    return p->head < p->count ? &p->asks[p->head] : NULL;
}

/* When the server may have begun with it, at the latest that we know of. */
static inline uint64_t peer_since_ns(const peer *p, const ask *a) {
    return a->first_ns > p->answered_ns ? a->first_ns : p->answered_ns;
}

#endif
