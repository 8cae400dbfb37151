#include "arbiter/shared_conns.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "arbiter/conn.h"
#include "base/descriptors.h"
#include "base/log.h"

/* More connections than this are not shared at a time. */
#define SLOTS_MAX 65536u

/* A word that nobody can take. */
static uint64_t closed_word(uint32_t ticket) {
    return dirty_board_word(ticket) | DIRTY_BOARD_ARBITER;
}

static _Atomic uint64_t *word_of(const conn *c) {
    return &c->a->shared->board->words[c->slot];
}

void shared_conns_open(arbiter *a) {
    shared_conns *s = calloc(1, sizeof *s);
    if (s == NULL)
        return;
    /* Each lane may have a copy of each: leave half of the descriptors to the rest. */
    uint64_t max = a->descriptor_max / 2;
    s->max = max < SLOTS_MAX ? (uint32_t)max : SLOTS_MAX - 1;
    s->board = dirty_board_open(s->max + 1);
    s->epoll = dirty_descriptors_move_up(epoll_create1(EPOLL_CLOEXEC));
    s->bell = dirty_descriptors_move_up(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    s->conns = calloc(s->max + 1, sizeof(conn *));
    s->free = calloc(s->max + 1, sizeof *s->free);
    s->tickets = calloc(s->max + 1, sizeof *s->tickets);
    a->shared = s;
    if (s->board != NULL && s->epoll >= 0 && s->bell >= 0 && s->conns != NULL &&
        s->free != NULL && s->tickets != NULL)
        return;
    dirty_log(DIRTY_LOG_WARN, "fast_path is off: no memory or descriptor for it",
              "remedy=%s", DIRTY_LOG_QUOTE(dirty_log_remedy(-ENOMEM)));
    shared_conns_close(a);
}

void shared_conns_close(arbiter *a) {
    shared_conns *s = a->shared;
    a->shared = NULL;
    if (s == NULL)
        return;
    dirty_board_close(s->board, s->max + 1);
    if (s->epoll >= 0)
        close(s->epoll);
    if (s->bell >= 0)
        close(s->bell);
    free(s->conns);
    free(s->free);
    free(s->tickets);
    free(s);
}

static int control(const conn *c, int what) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET,
                            .data.u64 = (uint64_t)c->ticket << 32 | c->slot};
    return epoll_ctl(c->a->shared->epoll, what, c->fd, &e);
}

bool shared_conns_add(conn *c) {
    shared_conns *s = c->a->shared;
    if (s->count >= s->max)
        return false;
    c->slot = s->free_count > 0 ? s->free[--s->free_count] : ++s->last;
    _Atomic uint64_t *word = word_of(c);
    /* A lane may still hold a copy of the slot's last connection: another ticket. */
    c->ticket = s->tickets[c->slot] = (s->tickets[c->slot] + 1) & DIRTY_BOARD_TICKET_MASK;
    c->was_shared = true;
    s->conns[c->slot] = c;
    atomic_store(&s->board->shared_count, ++s->count);
    atomic_store(word, dirty_board_word(c->ticket));
    if (control(c, EPOLL_CTL_ADD) == 0) {
        c->a->counters.shared++;
        if (s->count == 1)
            arbiter_mark(c->a, MARK_SHARED);
        return true;
    }
    shared_conns_remove(c);
    return false;
}

void shared_conns_remove(conn *c) {
    shared_conns *s = c->a->shared;
    control(c, EPOLL_CTL_DEL);
    atomic_store(word_of(c), closed_word(c->ticket));
    s->conns[c->slot] = NULL;
    s->free[s->free_count++] = c->slot;
    atomic_store(&s->board->shared_count, --s->count);
    c->slot = 0;
}

bool shared_conns_take(conn *c) {
    return dirty_board_take_free(word_of(c), c->ticket, DIRTY_BOARD_ARBITER);
}

void shared_conns_seize(conn *c) {
    _Atomic uint64_t *word = word_of(c);
    uint64_t now = atomic_load(word);
    while (!atomic_compare_exchange_weak(
        word, &now, (now & ~(uint64_t)DIRTY_BOARD_OWNER_MASK) | DIRTY_BOARD_ARBITER))
        continue;
}

void shared_conns_arm(conn *c) {
    control(c, EPOLL_CTL_MOD);
}

void shared_conns_release(conn *c) {
    _Atomic uint64_t *word = word_of(c);
    uint64_t now = atomic_load(word);
    while (!atomic_compare_exchange_weak(
        word, &now, now & ~(DIRTY_BOARD_MORE | DIRTY_BOARD_OWNER_MASK)))
        continue;
    if ((now & DIRTY_BOARD_MORE) != 0)
        shared_conns_arm(c);
}

uint32_t shared_conns_owner(const conn *c) {
    return dirty_board_owner(atomic_load(word_of(c)));
}

conn *shared_conns_find(const arbiter *a, uint32_t at, uint32_t ticket) {
    const shared_conns *s = a->shared;
    conn *c = s != NULL && at <= s->max ? s->conns[at] : NULL;
    return c != NULL && c->ticket == ticket ? c : NULL;
}

uint32_t shared_conns_served(const conn *c) {
    return c->slot == 0 ? 0
                        : (uint32_t)(atomic_load(word_of(c)) / DIRTY_BOARD_SERVED_ONE);
}
