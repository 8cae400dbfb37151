#include "base/title.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <linux/prctl.h>

#include "base/proc.h"

/* Fields of /proc/self/stat, counted from 1, with addresses of memory areas. */
enum {
    STAT_START_CODE = 26,
    STAT_END_CODE = 27,
    STAT_START_STACK = 28,
    STAT_START_DATA = 45,
    STAT_END_DATA = 46,
    STAT_START_BRK = 47,
    STAT_ENV_START = 50,
    STAT_ENV_END = 51
};

/* A process has one title. */
static struct {
    char *page;     /* our own, DIRTY_TITLE_MAX bytes; NULL: none */
    char *area;     /* the command line and the part of the environment that may be
                       overwritten */
    size_t room;    /* bytes of area */
    size_t used;    /* bytes of area that hold the command line or held a title */
    char **strings; /* what environ was set to, never freed; NULL: not set */
    char subject[256];
} state;

/* -- A page of our own --------------------------------------------------------------- */

/* Read the first `count` fields. False: /proc is not readable. */
static bool read_stat(unsigned long long *fields, int count) {
    char text[2048];
    FILE *f = fopen("/proc/self/stat", "re");
    if (f == NULL)
        return false;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    char *at = strrchr(text, ')'); /* the second field may hold anything, even ')' */
    for (int i = 3; at != NULL && i < count; i++) {
        at = strchr(at + 1, ' ');
        if (at != NULL)
            fields[i] = strtoull(at + 1, NULL, 10);
    }
    return at != NULL;
}

/* Let the kernel show `len` bytes of the page. The call must repeat all other addresses
 * unchanged. */
static bool show_page(size_t len) {
    unsigned long long f[STAT_ENV_END + 1];
    if (!read_stat(f, STAT_ENV_END + 1))
        return false;
    struct prctl_mm_map map = {.start_code = f[STAT_START_CODE],
                               .end_code = f[STAT_END_CODE],
                               .start_data = f[STAT_START_DATA],
                               .end_data = f[STAT_END_DATA],
                               .start_brk = f[STAT_START_BRK],
                               .brk = (uintptr_t)sbrk(0),
                               .start_stack = f[STAT_START_STACK],
                               .arg_start = (uintptr_t)state.page,
                               .arg_end = (uintptr_t)state.page + len,
                               .env_start = f[STAT_ENV_START],
                               .env_end = f[STAT_ENV_END],
                               .exe_fd = (uint32_t)-1};
    return prctl(PR_SET_MM, PR_SET_MM_MAP, (unsigned long)&map, sizeof map, 0) == 0;
}

static void open_page(void) {
    void *page = mmap(NULL, DIRTY_TITLE_MAX, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    state.page = page == MAP_FAILED ? NULL : page;
}

/* -- In place ------------------------------------------------------------------------ */

/* Whether the entry is the mark by which a sweep finds who started us. It must stay. */
static bool is_mark(const char *entry) {
    return strncmp(entry, DIRTY_PROC_MARK "=", sizeof DIRTY_PROC_MARK) == 0;
}

/* Find the area. exec puts the strings of both lists one after the other. */
static void find_area(int argc, char **argv) {
    char *end = argc > 0 ? argv[0] : NULL;
    state.area = end;
    for (int i = 0; i < argc && argv[i] == end; i++)
        end += strlen(end) + 1;
    state.used = (size_t)(end - state.area);
    for (char **e = environ; end != NULL && *e == end && !is_mark(end); e++)
        end += strlen(end) + 1;
    state.room = (size_t)(end - state.area);
}

/* Copy the environment before its strings are overwritten. False: no memory. */
static bool move_environment(void) {
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **copy = calloc(count + 1, sizeof *copy);
    if (copy == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        copy[i] = strdup(environ[i]);
        if (copy[i] == NULL) {
            while (i > 0)
                free(copy[--i]);
            free(copy);
            return false;
        }
    }
    state.strings = environ = copy;
    return true;
}

/* -- Titles -------------------------------------------------------------------------- */

void dirty_title_open(int argc, char **argv, bool in_place) {
    find_area(argc, argv);
    if (!in_place)
        open_page();
}

void dirty_title_subject(const char *path) {
    snprintf(state.subject, sizeof state.subject, "%s", path);
}

/* Write as much of the title as fits. Returns its length, without the NUL. */
static size_t write_title(char *out, size_t room, const char *title) {
    size_t subject = strlen(state.subject), tail = subject > 0 ? subject + 1 : 0;
    if (2 * tail > room)
        tail = 0;
    size_t len = strlen(title);
    if (len + tail + 1 > room)
        len = room - tail - 1;
    memcpy(out, title, len);
    if (tail > 0) {
        out[len] = ' ';
        memcpy(out + len + 1, state.subject, subject);
    }
    out[len + tail] = '\0';
    return len + tail;
}

static bool set_in_page(const char *title) {
    if (state.page == NULL)
        return false;
    size_t len = write_title(state.page, DIRTY_TITLE_MAX, title);
    if (show_page(len + 1))
        return true;
    munmap(state.page, DIRTY_TITLE_MAX);
    state.page = NULL;
    return false;
}

static void set_in_place(const char *title) {
    if (state.strings == NULL && !move_environment())
        return;
    size_t len = write_title(state.area, state.room, title);
    /* The kernel shows the whole command line. If its last byte is no NUL, it also shows
     * what follows. */
    if (len < state.used)
        memset(state.area + len, 0, state.used - len);
    else
        state.used = len;
}

void dirty_title_set(const char *title) {
    if (state.area == NULL || state.room == 0)
        return;
    if (!set_in_page(title))
        set_in_place(title);
    prctl(PR_SET_NAME, title);
}
