#include "base/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/descriptors.h"

/* Global to the process, like the log. */
static struct {
    char path[PATH_MAX];
    char **argv, **environment; /* owned */
    int directory;              /* O_PATH */
    sigset_t mask;
} program = {.directory = -1};

/* -- Remembering --------------------------------------------------------------------- */

static char **copy_list(char **list) {
    size_t count = 0;
    while (list[count] != NULL)
        count++;
    char **copy = calloc(count + 1, sizeof *copy);
    for (size_t i = 0; copy != NULL && i < count; i++) {
        copy[i] = strdup(list[i]);
        if (copy[i] != NULL)
            continue;
        while (i-- > 0)
            free(copy[i]);
        free(copy);
        return NULL;
    }
    return copy;
}

/* Whether the path leads to the file that runs. */
static bool is_running(const char *path) {
    struct stat here, running;
    return stat(path, &here) == 0 && stat("/proc/self/exe", &running) == 0 &&
           here.st_dev == running.st_dev && here.st_ino == running.st_ino;
}

/* Set the path to dir/name, absolute. Returns false if the running file isn't there. */
static bool try_path(const char *dir, size_t dir_len, const char *name) {
    char cwd[PATH_MAX] = "";
    bool absolute = dir_len > 0 ? *dir == '/' : *name == '/';
    if (!absolute && getcwd(cwd, sizeof cwd) == NULL)
        return false;
    int len =
        snprintf(program.path, sizeof program.path, "%s%s%.*s%s%s", cwd,
                 absolute ? "" : "/", (int)dir_len, dir, dir_len > 0 ? "/" : "", name);
    return len < (int)sizeof program.path && is_running(program.path);
}

static bool find_in_path(const char *name) {
    const char *dirs = getenv("PATH");
    while (dirs != NULL && *dirs != '\0') {
        size_t len = strcspn(dirs, ":");
        if (try_path(dirs, len, name))
            return true;
        dirs += len + (dirs[len] == ':');
    }
    return false;
}

static void find_path(const char *name) {
    if (name != NULL && (strchr(name, '/') ? try_path("", 0, name) : find_in_path(name)))
        return;
    ssize_t len = readlink("/proc/self/exe", program.path, sizeof program.path - 1);
    program.path[len > 0 ? len : 0] = '\0';
}

void dirty_program_remember(int argc, char **argv) {
    find_path(argc > 0 ? argv[0] : NULL);
    program.argv = copy_list(argv);
    program.environment = copy_list(environ);
    program.directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    sigprocmask(SIG_SETMASK, NULL, &program.mask);
    if (program.argv == NULL || program.environment == NULL)
        program.path[0] = '\0';
}

void dirty_program_forget(void) {
    if (program.directory >= 0)
        close(program.directory);
    program.directory = -1;
}

const char *dirty_program_path(void) {
    return program.path;
}

/* -- Becoming ------------------------------------------------------------------------ */

static void change_environment(const char *const *changes) {
    environ = program.environment;
    for (; *changes != NULL; changes++)
        if (strchr(*changes, '=') != NULL)
            putenv((char *)*changes);
        else
            unsetenv(*changes);
}

int dirty_program_become(const char *const *changes, const int *kept, unsigned count) {
    if (program.path[0] == '\0')
        return -ENOENT;
    change_environment(changes);
    dirty_descriptors_keep(kept, count);
    if (program.directory >= 0 && fchdir(program.directory) < 0)
        return -errno;
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    sigprocmask(SIG_SETMASK, &program.mask, NULL);
    execve(program.path, program.argv, environ);
    return -errno;
}
