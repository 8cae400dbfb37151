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

/* "33" to 33, anything else to -1. */
static int64_t to_id(const char *text) {
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    bool is_number = text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
    return is_number && n < UINT32_MAX ? (int64_t)n : -1;
}

static int find_group(dirty_credentials *r, const char *group, char *why,
                      size_t why_size) {
    const struct group *entry = getgrnam(group);
    r->gid = entry != NULL ? (int64_t)entry->gr_gid : to_id(group);
    if (r->gid >= 0)
        return 0;
    snprintf(why, why_size, "group = \"%s\": there is no such group", group);
    return -1;
}

static int find_user(dirty_credentials *r, const char *user, char *why, size_t why_size) {
    int64_t number = to_id(user);
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL && number >= 0)
        entry = getpwuid((uid_t)number);
    if (entry == NULL && number < 0) {
        snprintf(why, why_size, "user = \"%s\": there is no such user", user);
        return -1;
    }
    r->uid = entry != NULL ? (int64_t)entry->pw_uid : number;
    if (entry == NULL) {
        if (r->gid >= 0)
            return 0;
        snprintf(why, why_size,
                 "user = \"%s\" has no entry in passwd, which would name its group: "
                 "give group too",
                 user);
        return -1;
    }
    if (r->gid < 0)
        r->gid = entry->pw_gid;
    r->name = strdup(entry->pw_name);
    r->home = strdup(entry->pw_dir);
    if (r->name != NULL && r->home != NULL)
        return 0;
    snprintf(why, why_size, "no memory");
    return -1;
}

/* The groups that the user is in, as a login would give them. */
static int find_groups(dirty_credentials *r, char *why, size_t why_size) {
    int count = 64;
    if (r->name == NULL)
        return 0;
    for (int tries = 0; tries < 2; tries++) {
        gid_t *groups = realloc(r->groups, (size_t)count * sizeof *groups);
        if (groups == NULL)
            break;
        r->groups = groups;
        if (getgrouplist(r->name, (gid_t)r->gid, groups, &count) >= 0) {
            r->group_count = (size_t)count;
            return 0;
        }
    }
    snprintf(why, why_size, "the groups of user %s can't be had", r->name);
    return -1;
}

static int check_allowed(const dirty_credentials *r, char *why, size_t why_size) {
    bool same = (r->uid < 0 || r->uid == (int64_t)geteuid()) &&
                (r->gid < 0 || r->gid == (int64_t)getegid());
    if (same || geteuid() == 0)
        return 0;
    snprintf(
        why, why_size,
        "user and group can be set by root only, this is uid %u: start it as root or "
        "leave them out",
        (unsigned)geteuid());
    return -1;
}

int dirty_credentials_find(dirty_credentials *r, const char *user, const char *group,
                           char *why, size_t why_size) {
    *r = (dirty_credentials){.uid = -1, .gid = -1};
    int rc = group != NULL ? find_group(r, group, why, why_size) : 0;
    if (rc == 0 && user != NULL)
        rc = find_user(r, user, why, why_size);
    if (rc == 0)
        rc = check_allowed(r, why, why_size);
    if (rc == 0 && geteuid() == 0)
        rc = find_groups(r, why, why_size);
    if (rc == 0 && geteuid() != 0)
        r->uid = r->gid = -1; /* what we are already */
    if (rc < 0) {
        dirty_credentials_deinit(r);
        *r = (dirty_credentials){.uid = -1, .gid = -1};
    }
    return rc;
}

static bool is_for_good(const dirty_credentials *r) {
    uid_t real, effective, saved;
    gid_t real_g, effective_g, saved_g;
    if (getresuid(&real, &effective, &saved) < 0 ||
        getresgid(&real_g, &effective_g, &saved_g) < 0)
        return false;
    gid_t gid = (gid_t)r->gid;
    if (real_g != gid || effective_g != gid || saved_g != gid)
        return false;
    if (r->uid < 0)
        return true;
    uid_t uid = (uid_t)r->uid;
    if (real != uid || effective != uid || saved != uid)
        return false;
    return uid == 0 || (setuid(0) < 0 && seteuid(0) < 0);
}

static void set_environment(const dirty_credentials *r) {
    if (r->name == NULL)
        return;
    setenv("USER", r->name, 1);
    setenv("LOGNAME", r->name, 1);
    setenv("HOME", r->home, 1);
}

int dirty_credentials_take(const dirty_credentials *r) {
    gid_t only = (gid_t)r->gid;
    if (r->uid < 0 && r->gid < 0)
        return 0;
    if (setgroups(r->groups ? r->group_count : 1, r->groups ? r->groups : &only) < 0 ||
        setresgid(only, only, only) < 0)
        return -errno;
    if (r->uid >= 0 && setresuid((uid_t)r->uid, (uid_t)r->uid, (uid_t)r->uid) < 0)
        return -errno;
    if (!is_for_good(r))
        return -EPERM;
    /* The change took it away: without it /proc/self belongs to root, and a worker can't
     * even raise its own oom_score_adj. */
    prctl(PR_SET_DUMPABLE, 1);
    set_environment(r);
    return 0;
}

void dirty_credentials_deinit(dirty_credentials *r) {
    free(r->groups);
    free(r->name);
    free(r->home);
    *r = (dirty_credentials){.uid = -1, .gid = -1};
}
