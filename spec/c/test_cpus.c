/* The CPU quota of cgroups, read from made-up file systems. */
#include "harness.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cpus.h"

static char root[64];

/* Write a file of the made-up file system, its directories with it. */
static void put(const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *at = strchr(full + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        mkdir(full, 0700);
        *at = '/';
    }
    FILE *file = fopen(full, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/dirty-cpus-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int teardown(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void no_cgroup_means_no_quota(void **state) {
    (void)state;
    assert_int_equal(dirty_cpus_cgroup(root), 0);
    put("/proc/self/cgroup", "");
    assert_int_equal(dirty_cpus_cgroup(root), 0);
    put("/proc/self/cgroup", "garbage\n::\n0\n0::/\n");
    assert_int_equal(dirty_cpus_cgroup(root), 0);
}

static void v2_reads_cpu_max(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/a\n");
    put("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
    assert_int_equal(dirty_cpus_cgroup(root), 0);
    put("/sys/fs/cgroup/a/cpu.max", "200000 100000\n");
    assert_int_equal(dirty_cpus_cgroup(root), 2);
    put("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    assert_int_equal(dirty_cpus_cgroup(root), 2);
    put("/sys/fs/cgroup/a/cpu.max", "1000 100000\n");
    assert_int_equal(dirty_cpus_cgroup(root), 1);
    put("/sys/fs/cgroup/a/cpu.max", "nonsense\n");
    assert_int_equal(dirty_cpus_cgroup(root), 0);
}

static void quotas_that_make_no_sense_are_none_and_large_ones_are_cut(void **state) {
    static const char *const none[] = {"0 100000\n", "-1 100000\n", "100000 0\n",
                                       "100000 -1\n", "100000\n"};
    (void)state;
    put("/proc/self/cgroup", "0::/a\n");
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        put("/sys/fs/cgroup/a/cpu.max", none[i]);
        assert_int_equal(dirty_cpus_cgroup(root), 0);
    }
    put("/sys/fs/cgroup/a/cpu.max", "4294967295 1\n");
    assert_int_equal(dirty_cpus_cgroup(root), UINT_MAX);
    put("/sys/fs/cgroup/a/cpu.max", "4294967297 1\n"); /* 1 if cut to 32 bits */
    assert_int_equal(dirty_cpus_cgroup(root), UINT_MAX);
}

static void v2_takes_the_smallest_of_all_above(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "800000 100000\n");
    put("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
    put("/sys/fs/cgroup/cpu.max", "500000 100000\n");
    assert_int_equal(dirty_cpus_cgroup(root), 3);
    put("/proc/self/cgroup", "0::/not/here\n"); /* of another namespace */
    assert_int_equal(dirty_cpus_cgroup(root), 5);
}

static void v1_reads_the_quota_of_the_cpu_controller(void **state) {
    (void)state;
    put("/proc/self/cgroup", "5:cpuset:/x\n4:cpuacct,cpu:/a\n0::/\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "100000\n");
    put("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "400000\n");
    put("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
    assert_int_equal(dirty_cpus_cgroup(root), 4);
    put("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(dirty_cpus_cgroup(root), 0);
}

static void usable_is_at_least_one_and_at_most_the_machine(void **state) {
    (void)state;
    unsigned cpus = dirty_cpus_usable();
    assert_in_range(cpus, 1, sysconf(_SC_NPROCESSORS_CONF));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_cgroup_means_no_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(v2_reads_cpu_max, setup, teardown),
        cmocka_unit_test_setup_teardown(
            quotas_that_make_no_sense_are_none_and_large_ones_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(v2_takes_the_smallest_of_all_above, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(v1_reads_the_quota_of_the_cpu_controller, setup,
                                        teardown),
        cmocka_unit_test(usable_is_at_least_one_and_at_most_the_machine),
    };
    return cmocka_run_group_tests_name("cpus", tests, NULL, NULL);
}
