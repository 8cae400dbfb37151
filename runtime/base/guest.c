#include "base/guest.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

dirty_guest_host dirty__guest_host;

/* Map a page that reads as zero in every child of the process that writes to it, whatever
 * call created the child. NULL: the kernel can't do that (before 4.14). */
static uint8_t *new_mark(void) {
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, size, MADV_WIPEONFORK) == 0)
        return page;
    munmap(page, size);
    return NULL;
}

void dirty_guest_begin(void) {
    dirty_guest_host *host = &dirty__guest_host;
    if (host->mark == NULL && host->pid == 0)
        host->mark = new_mark();
    /* several threads may come here: write only if there is something to change */
    if (host->mark != NULL && *host->mark == 0)
        *host->mark = 1;
    if (host->mark == NULL && host->pid != getpid())
        host->pid = getpid();
}

bool dirty__guest_is_elsewhere(void) {
    return dirty__guest_host.pid != 0 && dirty__guest_host.pid != getpid();
}

void dirty__guest_leave(const char *where) {
    dirty_log(DIRTY_LOG_WARN, "a forked child returned to the runtime: ending it",
              "from=%s parent=%d remedy=%s", DIRTY_LOG_QUOTE(where), (int)getppid(),
              DIRTY_LOG_QUOTE("call _exit in the child, after an error too"));
    _exit(DIRTY_GUEST_ASTRAY);
}
