#include "client/socket_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dirty.h"

#define PATH_ROOM sizeof(((struct sockaddr_un *)0)->sun_path)

/* -- Default path -------------------------------------------------------------------- */

/* An environment variable; NULL in a set-uid program, whose user must not control it. */
static const char *environment(const char *name) {
    const char *value = secure_getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

size_t dirty_socket_path_default(char *out, size_t cap, bool *is_private) {
    const char *given = environment("DIRTY_SOCKET");
    const char *runtime_dir = environment("XDG_RUNTIME_DIR");
    int len;
    *is_private = false;
    if (given != NULL) {
        len = snprintf(out, cap, "%s", given);
    } else if (runtime_dir != NULL && runtime_dir[0] == '/') {
        len = snprintf(out, cap, "%s/dirty.sock", runtime_dir);
    } else if (geteuid() == 0) {
        len = snprintf(out, cap, "/run/dirty/dirty.sock");
    } else {
        len = snprintf(out, cap, "/tmp/dirty-%lu/dirty.sock", (unsigned long)geteuid());
        *is_private = true;
    }
    return len < 0 ? 0 : (size_t)len;
}

int dirty_default_socket(char *out, size_t cap) {
    bool is_private;
    size_t len = dirty_socket_path_default(out, cap, &is_private);
    return len < cap ? 0 : DIRTY_EINVALID;
}

int dirty_socket_path_set(struct sockaddr_un *address, const char *path,
                          dirty_failure *failure) {
    size_t len = strlen(path);
    if (len == 0)
        return dirty_failure_set(failure, DIRTY_ECONNECTION, "no",
                                 "the socket path is empty");
    if (len >= sizeof address->sun_path)
        return dirty_failure_set(failure, DIRTY_ECONNECTION, "no",
                                 "socket path of %zu bytes is too long, a unix socket's "
                                 "address takes %zu at most; use a shorter one: %.400s",
                                 len, sizeof address->sun_path - 1, path);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, len + 1);
    return 0;
}

/* The directory of a path shorter than PATH_ROOM. */
static void directory_of(const char *path, char dir[PATH_ROOM]) {
    snprintf(dir, PATH_ROOM, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash == NULL)
        snprintf(dir, PATH_ROOM, ".");
    else
        slash[slash == dir] = '\0';
}

bool dirty_socket_path_is_safe(const char *path) {
    char dir[PATH_ROOM];
    struct stat st;
    directory_of(path, dir);
    if (lstat(dir, &st) < 0)
        return errno == ENOENT;
    return S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 022) == 0;
}

/* -- Why a socket can't be reached --------------------------------------------------- */

/* Find the first directory on the path that the caller may not search. */
static bool find_closed_directory(const char *path, char dir[PATH_ROOM]) {
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t len = slash == path ? 1 : (size_t)(slash - path);
        memcpy(dir, path, len);
        dir[len] = '\0';
        if (faccessat(AT_FDCWD, dir, X_OK, AT_EACCESS) < 0 && errno == EACCES)
            return true;
    }
    return false;
}

/* "mode 0600, owner uid 0, group gid 0" for a path, or why that is unknown. */
static const char *describe_path(const char *path, char *room, size_t cap) {
    struct stat st;
    if (stat(path, &st) < 0)
        snprintf(room, cap, "can't be examined: %s", strerrordesc_np(errno));
    else
        snprintf(room, cap, "mode %04o, owner uid %lu, group gid %lu", st.st_mode & 07777,
                 (unsigned long)st.st_uid, (unsigned long)st.st_gid);
    return room;
}

static int explain_denied(const char *path, dirty_failure *failure) {
    char dir[PATH_ROOM], what[128];
    unsigned long uid = geteuid(), gid = getegid();
    if (find_closed_directory(path, dir))
        return dirty_failure_set(
            failure, DIRTY_ECONNECTION, "no",
            "can't reach %s: the directory %s is closed to the caller, uid %lu gid %lu "
            "(%s); allow the caller to search it (chmod o+x, or a group), or give the "
            "server another socket path",
            path, dir, uid, gid, describe_path(dir, what, sizeof what));
    return dirty_failure_set(failure, DIRTY_ECONNECTION, "no",
                             "not allowed to use %s (%s): the caller is uid %lu gid %lu; "
                             "allow a group of the caller by the server's options "
                             "socket_group and socket_mode 0660, or change socket_user",
                             path, describe_path(path, what, sizeof what), uid, gid);
}

static int explain_absent(const char *path, dirty_failure *failure) {
    char dir[PATH_ROOM];
    struct stat st;
    directory_of(path, dir);
    const char *why =
        stat(dir, &st) < 0 ? "there is no such directory" : "there is no such socket";
    return dirty_failure_set(failure, DIRTY_ECONNECTION, "no",
                             "nothing listens at %s: %s; start the runtime with: dirty "
                             "serve --socket %s",
                             path, why, path);
}

static bool is_directory(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int dirty_socket_path_explain(const char *path, int error, dirty_failure *failure) {
    switch (error) {
    case EACCES: return explain_denied(path, failure);
    case ENOENT: return explain_absent(path, failure);
    case ECONNREFUSED:
        if (is_directory(path))
            return dirty_failure_set(failure, DIRTY_ECONNECTION, "no",
                                     "%s is a directory: name the socket in it, for "
                                     "example %s%sdirty.sock",
                                     path, path,
                                     path[strlen(path) - 1] == '/' ? "" : "/");
        return dirty_failure_set(failure, DIRTY_ECONNECTION, "no",
                                 "nothing listens at %s: its server has ended, or it is "
                                 "not a socket; start the runtime with: dirty serve "
                                 "--socket %s",
                                 path, path);
    case EPROTOTYPE:
        return dirty_failure_set(failure, DIRTY_ECONNECTION, "no",
                                 "%s is a socket of another type: no runtime listens "
                                 "there",
                                 path);
    case EMFILE:
    case ENFILE:
        return dirty_failure_set(failure, DIRTY_ECONNECTION, "no",
                                 "can't connect to %s: too few descriptors (%s); raise "
                                 "the limit of this process (ulimit -n) or close some",
                                 path, strerrordesc_np(error));
    default:
        return dirty_failure_set(failure, DIRTY_ECONNECTION, "no",
                                 "can't connect to %s: %s", path, strerrordesc_np(error));
    }
}
