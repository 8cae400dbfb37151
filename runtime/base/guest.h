/* guest: runs foreign code in a process of ours: apps, hooks, the configuration.
 *
 * A guest may fork, and its child may return to us, after an error or without its _exit.
 * That child must not go on as a copy of the process it was forked from. It would answer
 * callers and report to the arbiter in parallel to the real process.
 *
 *   dirty_guest_begin ── the guest runs ── dirty_guest_end: a child ends here
 *
 * The check costs no system call. It reads a page that the kernel clears in every child.
 * If the kernel can't do that, process ids are compared. */
#ifndef DIRTY_GUEST_H
#define DIRTY_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The exit status of such a child. */
#define DIRTY_GUEST_ASTRAY 70

/* Private to the functions below. */
typedef struct dirty_guest_host {
    volatile uint8_t *mark; /* 1 in the host, 0 in its children; NULL: not supported */
    pid_t pid;              /* of the host, if there is no mark; 0: not begun */
} dirty_guest_host;
extern dirty_guest_host dirty__guest_host;

bool dirty__guest_is_elsewhere(void);
_Noreturn void dirty__guest_leave(const char *where);

/* Make this process the host. Repeated calls are harmless. Make the first call before
 * there are threads. */
void dirty_guest_begin(void);

/* Whether this process was forked from the host after dirty_guest_begin. */
static inline bool dirty_guest_is_astray(void) {
    const dirty_guest_host *host = &dirty__guest_host;
    return host->mark != NULL ? *host->mark == 0 : dirty__guest_is_elsewhere();
}

/* Call this when a guest has returned; `where` is for the log. In a child of the host it
 * ends the process without flushing anything. */
static inline void dirty_guest_end(const char *where) {
    if (__builtin_expect(dirty_guest_is_astray(), 0))
        dirty__guest_leave(where);
}

#endif
