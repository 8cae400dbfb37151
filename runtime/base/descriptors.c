#include "base/descriptors.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Maximum number of recorded descriptors. A shell leaves one or two open. */
#define GIVEN_MAX 64

/* Global to the process, like the log. The inode shows whether a number is still the same
 * file. */
static struct {
    int fd;
    dev_t dev;
    ino_t ino;
} given[GIVEN_MAX];
static unsigned given_count;

static int by_number(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

void dirty_descriptors_close_but(int *keep, unsigned count) {
    unsigned from = 3;
    assert(count <= DIRTY_DESCRIPTORS_KEPT);
    qsort(keep, count, sizeof *keep, by_number);
    for (unsigned i = 0; i < count; i++) {
        if (keep[i] < (int)from)
            continue;
        if (keep[i] > (int)from)
            close_range(from, (unsigned)keep[i] - 1, 0);
        from = (unsigned)keep[i] + 1;
    }
    close_range(from, ~0u, 0);
}

void dirty_descriptors_note_given(void) {
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    struct stat st;
    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL && given_count < GIVEN_MAX) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (fd <= STDERR_FILENO || fd == dirfd(dir) || fstat(fd, &st) < 0 ||
            (fcntl(fd, F_GETFD) & FD_CLOEXEC))
            continue;
        given[given_count].fd = fd;
        given[given_count].dev = st.st_dev;
        given[given_count++].ino = st.st_ino;
    }
    closedir(dir);
}

static bool is_given(unsigned i) {
    struct stat st;
    return fstat(given[i].fd, &st) == 0 && st.st_dev == given[i].dev &&
           st.st_ino == given[i].ino;
}

void dirty_descriptors_close_given(void) {
    for (unsigned i = 0; i < given_count; i++)
        if (is_given(i))
            close(given[i].fd);
    given_count = 0;
}

void dirty_descriptors_keep(const int *kept, unsigned count) {
    close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
    for (unsigned i = 0; i < given_count; i++)
        if (is_given(i))
            fcntl(given[i].fd, F_SETFD, 0);
    for (unsigned i = 0; i < count; i++)
        fcntl(kept[i], F_SETFD, 0);
}

int dirty_descriptors_move_up(int fd) {
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, DIRTY_DESCRIPTORS_HIGH);
    if (high < 0)
        return fd;
    close(fd);
    return high;
}
