#include "base/board.h"

#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_bytes(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t board_bytes(uint32_t slot_count) {
    size_t page = page_bytes();
    size_t all = sizeof(dirty_board) + slot_count * sizeof(uint64_t);
    return (all + page - 1) / page * page;
}

/* Memory of the kernel is reserved when a word is first used, not here. */
dirty_board *dirty_board_open(uint32_t slot_count) {
    size_t page = page_bytes(), bytes = board_bytes(slot_count);
    void *all =
        mmap(NULL, bytes + 2 * page, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    void *inside = (char *)all + page;
    if (mprotect(inside, bytes, PROT_READ | PROT_WRITE) == 0)
        return inside;
    munmap(all, bytes + 2 * page);
    return NULL;
}

void dirty_board_close(dirty_board *board, uint32_t slot_count) {
    if (board != NULL)
        munmap((char *)board - page_bytes(), board_bytes(slot_count) + 2 * page_bytes());
}
