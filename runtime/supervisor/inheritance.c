#include "supervisor/inheritance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/handover.h"
#include "base/log.h"
#include "supervisor/spawner.h"

/* The first descriptor of LISTEN_FDS. */
#define LISTEN_FDS_FIRST 3

static dirty_inheritance inherited = {.listen_fd = -1, .file_fd = -1, .lock_fd = -1};
static char wanted_path[DIRTY_SOCKET_PATH_SIZE]; /* "": any */
static char fault[200];                          /* "": none */

static void take(int fd) {
    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* -- From a supervisor --------------------------------------------------------------- */

/* Returns false if it is another protocol, which the supervisor learns from HELLO. */
static bool read_handover(const char *text, int *channel) {
    int protocol = 0, lent = 0, at = 0;
    dirty_inheritance *in = &inherited;
    if (sscanf(text, "%d:%d:", &protocol, channel) != 2)
        return false;
    if (protocol != DIRTY_HANDOVER_PROTOCOL ||
        sscanf(text, "%*d:%*d:%d:%d:%d:%d:%u:%31[^:]:%n", &in->listen_fd, &in->file_fd,
               &in->lock_fd, &lent, &in->number, in->from, &at) != 6 ||
        at == 0 || strlen(text + at) >= sizeof wanted_path) {
        inherited.listen_fd = -1;
        return false;
    }
    in->lent = lent != 0;
    in->succeeds = true;
    snprintf(wanted_path, sizeof wanted_path, "%s", text + at);
    return true;
}

static void open_handover(const char *text) {
    int channel = -1;
    if (!read_handover(text, &channel))
        snprintf(fault, sizeof fault,
                 "%s=%s is not of protocol %d: the runtimes are too different, stop the "
                 "old one and start the new one",
                 DIRTY_HANDOVER_ENV, text, DIRTY_HANDOVER_PROTOCOL);
    take(channel);
    take(inherited.listen_fd);
    take(inherited.file_fd);
    take(inherited.lock_fd);
    if (channel > STDERR_FILENO)
        dirty_spawner_succeed(channel);
}

/* -- From a service manager ---------------------------------------------------------- */

static void open_listen_fds(const char *count, const char *pid) {
    char *end;
    long fds = strtol(count, &end, 10);
    if (strtol(pid, NULL, 10) != getpid())
        return; /* they are for another process */
    if (*end != '\0' || fds != 1) {
        snprintf(fault, sizeof fault, "LISTEN_FDS=%s: one socket is needed", count);
        return;
    }
    inherited.listen_fd = LISTEN_FDS_FIRST;
    inherited.lent = true;
    take(inherited.listen_fd);
}

void dirty_inheritance_open(void) {
    const char *handover = getenv(DIRTY_HANDOVER_ENV), *count = getenv("LISTEN_FDS"),
               *pid = getenv("LISTEN_PID");
    if (handover != NULL)
        open_handover(handover);
    else if (count != NULL && pid != NULL)
        open_listen_fds(count, pid);
    unsetenv(DIRTY_HANDOVER_ENV);
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
}

const dirty_inheritance *dirty_inheritance_get(void) {
    return &inherited;
}

bool dirty_inheritance_is_there(void) {
    return inherited.listen_fd >= 0 || fault[0] != '\0';
}

/* -- Claiming ------------------------------------------------------------------------ */

/* Is the passed socket at the configured path? The paths may differ by symlinks. */
static bool is_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNSPEC};
    struct stat given, configured;
    socklen_t len = sizeof address - 1;
    if (wanted_path[0] == '\0') {
        if (getsockname(inherited.listen_fd, (struct sockaddr *)&address, &len) < 0 ||
            address.sun_family != AF_UNIX)
            return true; /* dirty_endpoint_adopt says more */
        memcpy(wanted_path, address.sun_path, sizeof wanted_path);
        wanted_path[sizeof wanted_path - 1] = '\0';
    }
    return strcmp(wanted_path, path) == 0 ||
           (lstat(wanted_path, &given) == 0 && lstat(path, &configured) == 0 &&
            given.st_dev == configured.st_dev && given.st_ino == configured.st_ino);
}

int dirty_inheritance_claim(dirty_endpoint *e, const dirty_endpoint_options *o) {
    *e = (dirty_endpoint){.fd = -1, .file_fd = -1, .lock_fd = -1};
    if (fault[0] == '\0' && !is_at(o->path))
        snprintf(fault, sizeof fault, "it is at %s, the configuration names another one",
                 wanted_path);
    if (fault[0] == '\0')
        return dirty_endpoint_adopt(e, o, inherited.listen_fd, inherited.file_fd,
                                    inherited.lock_fd);
    dirty_log(DIRTY_LOG_ERROR, "can't listen at the socket that was passed",
              "socket=%s reason=%s", DIRTY_LOG_QUOTE(o->path), DIRTY_LOG_QUOTE(fault));
    return -EINVAL;
}
