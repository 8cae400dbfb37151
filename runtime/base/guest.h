/* guest: code of others that runs in a process of ours: apps, hooks, the configuration.
 *
 * A guest may fork, and its child may come back from it, by an error or because an _exit
 * was forgotten. That child must not go on as the process it was forked from: it would
 * answer callers, report to the arbiter and serve beside the one that is known.
 *
 *   dirty_guest_begin ── the guest runs ── dirty_guest_end: a child ends here
 *
 * What tells them apart costs no system call: a page that the kernel clears in every
 * child. Where it can't, process ids are compared. */
#ifndef DIRTY_GUEST_H
#define DIRTY_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The exit status of such a child. */
#define DIRTY_GUEST_ASTRAY 70

/* For the functions below alone. */
typedef struct dirty_guest_host {
    volatile uint8_t *mark; /* 1 in the host, 0 in its children; NULL: there is none */
    pid_t pid;              /* of the host where there is no mark; 0: none has begun */
} dirty_guest_host;
extern dirty_guest_host dirty__guest_host;

bool dirty__guest_is_elsewhere(void);
_Noreturn void dirty__guest_leave(const char *where);

/* This process is the host from here on. Again is harmless; the first time before there
 * are threads. */
void dirty_guest_begin(void);

/* Is this a process that was forked from the host since it has begun? */
static inline bool dirty_guest_is_astray(void) {
    const dirty_guest_host *host = &dirty__guest_host;
    return host->mark != NULL ? *host->mark == 0 : dirty__guest_is_elsewhere();
}

/* The guest has come back, from `where` (for the log). In a child of the host this ends
 * the process, and nothing of it is flushed. */
static inline void dirty_guest_end(const char *where) {
    if (__builtin_expect(dirty_guest_is_astray(), 0))
        dirty__guest_leave(where);
}

#endif
