#include "supervisor/credentials.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Parse an id: "33" to 33, anything else to -1. */
static int64_t to_id(const char *text) {
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    bool is_number = text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
    return is_number && n < UINT32_MAX ? (int64_t)n : -1;
}

static int find_group(dirty_credentials *c, const char *group, char *why,
                      size_t why_size) {
    const struct group *entry = getgrnam(group);
    c->gid = entry != NULL ? (int64_t)entry->gr_gid : to_id(group);
    if (c->gid >= 0)
        return 0;
    snprintf(why, why_size, "group = \"%s\": there is no such group", group);
    return -1;
}

static int find_user(dirty_credentials *c, const char *user, char *why, size_t why_size) {
    int64_t number = to_id(user);
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL && number >= 0)
        entry = getpwuid((uid_t)number);
    if (entry == NULL && number < 0) {
        snprintf(why, why_size, "user = \"%s\": there is no such user", user);
        return -1;
    }
    c->uid = entry != NULL ? (int64_t)entry->pw_uid : number;
    if (entry == NULL) {
        if (c->gid >= 0)
            return 0;
        snprintf(why, why_size,
                 "user = \"%s\" has no entry in passwd, which would give its group: set "
                 "group too",
                 user);
        return -1;
    }
    if (c->gid < 0)
        c->gid = entry->pw_gid;
    c->name = strdup(entry->pw_name);
    c->home = strdup(entry->pw_dir);
    if (c->name != NULL && c->home != NULL)
        return 0;
    snprintf(why, why_size, "out of memory");
    return -1;
}

/* Find the groups of the user, as a login would set them. */
static int find_groups(dirty_credentials *c, char *why, size_t why_size) {
    int count = 64;
    if (c->name == NULL)
        return 0;
    for (int tries = 0; tries < 2; tries++) {
        gid_t *groups = realloc(c->groups, (size_t)count * sizeof *groups);
        if (groups == NULL)
            break;
        c->groups = groups;
        if (getgrouplist(c->name, (gid_t)c->gid, groups, &count) >= 0) {
            c->group_count = (size_t)count;
            return 0;
        }
    }
    snprintf(why, why_size, "can't look up the groups of user %s", c->name);
    return -1;
}

static int check_allowed(const dirty_credentials *c, char *why, size_t why_size) {
    bool same = (c->uid < 0 || c->uid == (int64_t)geteuid()) &&
                (c->gid < 0 || c->gid == (int64_t)getegid());
    if (same || geteuid() == 0)
        return 0;
    snprintf(why, why_size,
             "only root can set user and group, this is uid %u: start it as root or "
             "leave them out",
             (unsigned)geteuid());
    return -1;
}

int dirty_credentials_find(dirty_credentials *c, const char *user, const char *group,
                           char *why, size_t why_size) {
    *c = (dirty_credentials){.uid = -1, .gid = -1};
    int rc = group != NULL ? find_group(c, group, why, why_size) : 0;
    if (rc == 0 && user != NULL)
        rc = find_user(c, user, why, why_size);
    if (rc == 0)
        rc = check_allowed(c, why, why_size);
    if (rc == 0 && geteuid() == 0)
        rc = find_groups(c, why, why_size);
    if (rc == 0 && geteuid() != 0)
        c->uid = c->gid = -1; /* nothing to change: we are that user */
    if (rc < 0) {
        dirty_credentials_deinit(c);
        *c = (dirty_credentials){.uid = -1, .gid = -1};
    }
    return rc;
}

static bool is_for_good(const dirty_credentials *c) {
    uid_t real, effective, saved;
    gid_t real_g, effective_g, saved_g;
    if (getresuid(&real, &effective, &saved) < 0 ||
        getresgid(&real_g, &effective_g, &saved_g) < 0)
        return false;
    gid_t gid = (gid_t)c->gid;
    if (real_g != gid || effective_g != gid || saved_g != gid)
        return false;
    if (c->uid < 0)
        return true;
    uid_t uid = (uid_t)c->uid;
    if (real != uid || effective != uid || saved != uid)
        return false;
    return uid == 0 || (setuid(0) < 0 && seteuid(0) < 0);
}

static void set_environment(const dirty_credentials *c) {
    if (c->name == NULL)
        return;
    setenv("USER", c->name, 1);
    setenv("LOGNAME", c->name, 1);
    setenv("HOME", c->home, 1);
}

int dirty_credentials_take(const dirty_credentials *c) {
    gid_t only = (gid_t)c->gid;
    if (c->uid < 0 && c->gid < 0)
        return 0;
    if (setgroups(c->groups ? c->group_count : 1, c->groups ? c->groups : &only) < 0 ||
        setresgid(only, only, only) < 0)
        return -errno;
    if (c->uid >= 0 && setresuid((uid_t)c->uid, (uid_t)c->uid, (uid_t)c->uid) < 0)
        return -errno;
    if (!is_for_good(c))
        return -EPERM;
    /* The change of ids has reset it. Without it /proc/self belongs to root, and a worker
     * can't even raise its own oom_score_adj. */
    prctl(PR_SET_DUMPABLE, 1);
    set_environment(c);
    return 0;
}

void dirty_credentials_deinit(dirty_credentials *c) {
    free(c->groups);
    free(c->name);
    free(c->home);
    *c = (dirty_credentials){.uid = -1, .gid = -1};
}
