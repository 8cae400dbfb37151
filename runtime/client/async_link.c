#include "client/async_link.h"

#include <sys/epoll.h>

void dirty_link_begin(dirty_link *l, const dirty_exchange *x) {
    l->x = *x;
    l->state = DIRTY_LINK_CONNECTING;
    l->retried = false;
}

/* Do one step of the exchange. */
static int step(dirty_link *l) {
    switch (l->state) {
    case DIRTY_LINK_CONNECTING: return dirty_exchange_connect(&l->x);
    case DIRTY_LINK_SENDING: return dirty_exchange_send(&l->x);
    case DIRTY_LINK_READING: return dirty_exchange_read_answer(&l->x);
    case DIRTY_LINK_IDLE: break;
    }
    return DIRTY_EXCHANGE_AGAIN;
}

static dirty_link_step end(dirty_link *l) {
    dirty_exchange_settle(&l->x);
    l->state = DIRTY_LINK_IDLE;
    return DIRTY_LINK_ENDS;
}

dirty_link_step dirty_link_go(dirty_link *l) {
    for (;;) {
        int rc = step(l);
        if (rc == DIRTY_EXCHANGE_AGAIN)
            return DIRTY_LINK_WAITS;
        if (rc == DIRTY_EXCHANGE_RETRY && !l->retried) {
            l->retried = true;
            l->state = DIRTY_LINK_CONNECTING;
            continue;
        }
        if (rc != 0)
            return end(l);
        if (l->state == DIRTY_LINK_CONNECTING) {
            l->state = DIRTY_LINK_SENDING;
        } else if (l->state == DIRTY_LINK_SENDING) {
            l->state = DIRTY_LINK_READING;
        } else {
            dirty_failure_clear(&l->client.failure); /* drop the failure of a first try */
            return l->x.ended ? end(l) : DIRTY_LINK_CHUNK;
        }
    }
}

uint32_t dirty_link_wants(const dirty_link *l) {
    if (!dirty_conn_is_open(&l->client.conn))
        return 0;
    return l->state == DIRTY_LINK_SENDING ? EPOLLIN | EPOLLOUT : EPOLLIN;
}
