#include "arbiter/edits.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "arbiter/reload.h"
#include "base/loaded.h"
#include "base/log.h"

/* An editor, or a checkout, may save several files: wait for the last one. */
#define QUIET_MS 100

typedef struct watched_file {
    struct watched_file *next;
    char name[]; /* in its directory */
} watched_file;

typedef struct watched_directory {
    struct watched_directory *next;
    edits *e;
    uv_fs_event_t handle;
    ino_t inode; /* another one: the directory was replaced */
    watched_file *files;
    bool watches;
    char path[];
} watched_directory;

struct edits {
    arbiter *a;
    uv_poll_t poll; /* paths of loaded files */
    uv_timer_t quiet;
    watched_directory *directories;
    char changed[PATH_MAX]; /* the file that changed last, for the log */
    size_t len;             /* bytes of `line` */
    char line[PATH_MAX];
    bool told;        /* that a directory can't be watched */
    unsigned closing; /* handles that are not closed yet */
};

/* -- Changes --------------------------------------------------------------------- */

static void on_quiet(uv_timer_t *handle) {
    edits *e = handle->data;
    dirty_log(DIRTY_LOG_INFO, "a file was saved", "file=%s", DIRTY_LOG_QUOTE(e->changed));
    reload_start(e->a);
}

static bool is_watched(const watched_directory *d, const char *name) {
    for (const watched_file *f = d->files; f != NULL; f = f->next)
        if (strcmp(f->name, name) == 0)
            return true;
    return false;
}

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status) {
    watched_directory *d = handle->data;
    edits *e = d->e;
    (void)events;
    if (status < 0 || name == NULL || !is_watched(d, name))
        return;
    snprintf(e->changed, sizeof e->changed, "%s/%s", d->path, name);
    uv_timer_start(&e->quiet, on_quiet, QUIET_MS, 0);
}

/* -- Files ----------------------------------------------------------------------- */

static watched_directory *find_directory(edits *e, const char *path, size_t len) {
    watched_directory *d;
    for (d = e->directories; d != NULL; d = d->next)
        if (strncmp(d->path, path, len) == 0 && d->path[len] == '\0')
            return d;
    d = calloc(1, sizeof *d + len + 1);
    if (d == NULL)
        return NULL;
    memcpy(d->path, path, len);
    d->e = e;
    d->handle.data = d;
    uv_fs_event_init(&e->a->loop, &d->handle);
    d->next = e->directories;
    e->directories = d;
    return d;
}

/* Watch the directory that has this path now. */
static void watch(watched_directory *d) {
    struct stat st;
    if (stat(d->path, &st) < 0 || (d->watches && d->inode == st.st_ino))
        return;
    uv_fs_event_stop(&d->handle);
    int rc = uv_fs_event_start(&d->handle, on_event, d->path, 0);
    d->watches = rc == 0;
    d->inode = st.st_ino;
    if (rc < 0 && !d->e->told)
        dirty_log(DIRTY_LOG_WARN, "a directory can't be watched: reload by hand",
                  "directory=%s reason=%s", DIRTY_LOG_QUOTE(d->path),
                  DIRTY_LOG_QUOTE(uv_strerror(rc)));
    d->e->told = d->e->told || rc < 0;
}

static void add_file(edits *e, const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return;
    watched_directory *d = find_directory(e, path, (size_t)(slash - path));
    if (d == NULL)
        return;
    watch(d);
    if (is_watched(d, slash + 1))
        return;
    size_t size = strlen(slash); /* with the NUL, without the slash */
    watched_file *f = malloc(sizeof *f + size);
    if (f == NULL)
        return;
    memcpy(f->name, slash + 1, size);
    f->next = d->files;
    d->files = f;
}

/* Watch the file of this name, and the one that a symlink of this name leads to. */
static void add_path(edits *e, const char *path) {
    char real[PATH_MAX];
    add_file(e, path);
    if (realpath(path, real) != NULL && strcmp(real, path) != 0)
        add_file(e, real);
}

static void on_paths(uv_poll_t *handle, int status, int events) {
    edits *e = handle->data;
    char bytes[PATH_MAX];
    (void)events;
    long n = status < 0 ? -1 : dirty_loaded_read(bytes, sizeof bytes);
    for (long i = 0; i < n; i++) {
        bool ends = bytes[i] == '\n';
        e->line[e->len] = ends ? '\0' : bytes[i];
        if (ends)
            add_path(e, e->line);
        e->len = ends || e->len + 1 == sizeof e->line ? 0 : e->len + 1;
    }
}

/* -- Life ------------------------------------------------------------------------ */

void edits_open(arbiter *a) {
    if (!a->boot->dev || dirty_loaded_fd() < 0)
        return;
    edits *e = calloc(1, sizeof *e);
    if (e == NULL || uv_poll_init(&a->loop, &e->poll, dirty_loaded_fd()) < 0) {
        free(e);
        return;
    }
    e->a = a;
    e->poll.data = e->quiet.data = e;
    uv_timer_init(&a->loop, &e->quiet);
    uv_poll_start(&e->poll, UV_READABLE, on_paths);
    a->edits = e;
}

static void free_directory(uv_handle_t *handle) {
    free(handle->data);
}

static void on_closed(uv_handle_t *handle) {
    edits *e = handle->data;
    if (--e->closing == 0)
        free(e);
}

void edits_close(arbiter *a) {
    edits *e = a->edits;
    if (e == NULL)
        return;
    a->edits = NULL;
    while (e->directories != NULL) {
        watched_directory *d = e->directories;
        e->directories = d->next;
        while (d->files != NULL) {
            watched_file *f = d->files;
            d->files = f->next;
            free(f);
        }
        uv_close((uv_handle_t *)&d->handle, free_directory);
    }
    e->closing = 2;
    uv_close((uv_handle_t *)&e->quiet, on_closed);
    uv_close((uv_handle_t *)&e->poll, on_closed);
}
