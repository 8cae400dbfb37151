/* The count of the OOM killer, in trees like those of /proc and /sys. */
#include "harness.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/oom.h"

#define SECOND (1000 * DIRTY_NS_PER_MS)
#define NOW (1000 * SECOND)

/* A directory of the test's own. */
static char root[64];

static int set_up(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/dirty-oom-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int tear_down(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

/* Write root/path, with the directories on the way. */
static void put(const char *path, const char *text) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    for (char *at = whole + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(whole, 0700);
        *at = '/';
    }
    FILE *f = fopen(whole, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void open_here(dirty_oom *o) {
    dirty_oom_open(o, root, NOW);
}

static void assert_counts_in(const char *path) {
    char whole[512];
    dirty_oom o;
    open_here(&o);
    snprintf(whole, sizeof whole, "%s%s", root, path);
    assert_string_equal(o.path, *path ? whole : "");
}

static const char v2_mounts[] =
    "22 1 0:20 / / rw shared:1 - ext4 /dev/root rw\n"
    "30 22 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
static const char v1_mounts[] =
    "22 1 0:20 / / rw - ext4 /dev/root rw\n"
    "34 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 30 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
static const char v1_own[] = "9:name=systemd:/\n4:memory:/service/dirty\n"
                             "3:cpu,cpuacct:/service/dirty\n0::/\n";

static void version_2_is_found(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/system.slice/dirty.service\n");
    put("proc/self/mountinfo", v2_mounts);
    put("sys/fs/cgroup/system.slice/dirty.service/memory.events",
        "low 0\nhigh 0\nmax 3\noom 1\noom_kill 7\noom_group_kill 0\n");
    assert_counts_in("/sys/fs/cgroup/system.slice/dirty.service/memory.events");
}

static void version_2_in_a_container_is_found(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/\n");
    put("proc/self/mountinfo", v2_mounts);
    put("sys/fs/cgroup/memory.events", "oom 0\noom_kill 0\n");
    assert_counts_in("/sys/fs/cgroup/memory.events");
}

static void version_1_is_found(void **state) {
    (void)state;
    put("proc/self/cgroup", v1_own);
    put("proc/self/mountinfo", v1_mounts);
    put("sys/fs/cgroup/memory/memory.oom_control", "oom_kill 9\n");
    put("sys/fs/cgroup/memory/service/dirty/memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    assert_counts_in("/sys/fs/cgroup/memory/service/dirty/memory.oom_control");
}

static void version_1_in_a_container_is_found(void **state) {
    (void)state;
    /* the path is the host's, and what is mounted is the group itself */
    put("proc/self/cgroup", "4:memory:/docker/0123abc\n0::/\n");
    put("proc/self/mountinfo", "35 30 0:32 /docker/0123abc /sys/fs/cgroup/memory ro - "
                               "cgroup cgroup rw,memory\n");
    put("sys/fs/cgroup/memory/memory.oom_control", "oom_kill 0\n");
    assert_counts_in("/sys/fs/cgroup/memory/memory.oom_control");
    put("proc/self/cgroup", "4:memory:/elsewhere\n");
    assert_counts_in("/sys/fs/cgroup/memory/memory.oom_control");
    put("proc/self/cgroup", "4:memory:/docker/0123abc/inner\n");
    put("sys/fs/cgroup/memory/inner/memory.oom_control", "oom_kill 0\n");
    assert_counts_in("/sys/fs/cgroup/memory/inner/memory.oom_control");
}

static void the_machine_counts_where_no_group_does(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/\n");
    put("proc/self/mountinfo", v2_mounts); /* a root group has no memory.events */
    put("proc/vmstat", "nr_free_pages 1\noom_kill 3\nnuma_hit 1\n");
    assert_counts_in("/proc/vmstat");
}

static void nothing_counts(void **state) {
    dirty_oom o;
    (void)state;
    assert_counts_in("");
    put("proc/self/cgroup", "rubbish\n::\n0:\n");
    put("proc/self/mountinfo", "rubbish\n - \n1 2 - cgroup2\n");
    put("proc/vmstat", "nr_free_pages 1\n");
    assert_counts_in("");
    open_here(&o);
    dirty_oom_forget(&o, NOW + 100 * SECOND);
    assert_false(dirty_oom_take(&o));
}

static void count(int kills) {
    char text[64];
    snprintf(text, sizeof text, "oom 0\noom_kill %d\n", kills);
    put("sys/fs/cgroup/memory.events", text);
}

static void open_counting(dirty_oom *o) {
    put("proc/self/cgroup", "0::/\n");
    put("proc/self/mountinfo", v2_mounts);
    count(5);
    open_here(o);
}

static void each_kill_explains_one_death(void **state) {
    dirty_oom o;
    (void)state;
    open_counting(&o);
    assert_false(dirty_oom_take(&o)); /* those before us are not ours */
    count(7);
    assert_true(dirty_oom_take(&o));
    assert_true(dirty_oom_take(&o));
    assert_false(dirty_oom_take(&o));
}

static void an_old_kill_explains_none(void **state) {
    dirty_oom o;
    (void)state;
    open_counting(&o);
    count(6); /* an app's child, say */
    dirty_oom_forget(&o, NOW + 4 * SECOND);
    dirty_oom_forget(&o, NOW + 6 * SECOND);
    count(8);
    dirty_oom_forget(&o, NOW + 12 * SECOND);
    assert_true(dirty_oom_take(&o));
    assert_true(dirty_oom_take(&o));
    assert_false(dirty_oom_take(&o));
    count(9);
    for (int i = 13; i < 40; i++)
        dirty_oom_forget(&o, NOW + (uint64_t)i * SECOND);
    assert_false(dirty_oom_take(&o));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(version_2_is_found),
        TEST(version_2_in_a_container_is_found),
        TEST(version_1_is_found),
        TEST(version_1_in_a_container_is_found),
        TEST(the_machine_counts_where_no_group_does),
        TEST(nothing_counts),
        TEST(each_kill_explains_one_death),
        TEST(an_old_kill_explains_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
