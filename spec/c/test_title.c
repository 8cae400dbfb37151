/* What /proc shows of a process that has set its title. Each test is a program of its
 * own: what exec has made of command line and environment is part of it. */
#include "harness.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/title.h"

#define LONG_TITLE \
    "dirty: worker 1 [an.app another.app and.many.more of.them with.long.names]"
#define SUBJECT "/run/a/directory/that/is/deep/dirty.sock"

/* The bytes of /proc/self/NAME, NUL behind them. */
static size_t read_own(const char *name, char *out, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/%s", name);
    int fd = open(path, O_RDONLY);
    ssize_t n = 0;
    size_t len = 0;
    while ((n = read(fd, out + len, size - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    out[len] = '\0';
    return len;
}

/* Does ps show this? It stops at the NULs at the end. */
static int shows(const char *should) {
    char text[2 * DIRTY_TITLE_MAX];
    size_t len = read_own("cmdline", text, sizeof text);
    while (len > 0 && text[len - 1] == '\0')
        len--;
    if (len == strlen(should) && memcmp(text, should, len) == 0)
        return 1;
    fprintf(stderr, "shows \"%s\" (%zu bytes), not \"%s\"\n", text, len, should);
    return 0;
}

static int environment_is(const char *should) {
    char text[4096];
    read_own("environ", text, sizeof text);
    return strcmp(text, should) == 0;
}

/* -- The programs; each returns 0 where all is right --------------------------------- */

static int whole(void) {
    dirty_title_subject(SUBJECT);
    dirty_title_set(LONG_TITLE);
    int bad = !shows(LONG_TITLE " " SUBJECT);
    dirty_title_set("dirty: x");
    bad += !shows("dirty: x " SUBJECT);
    dirty_title_set(LONG_TITLE);
    bad += !shows(LONG_TITLE " " SUBJECT);
    pid_t pid = fork();
    if (pid == 0) {
        bad = !shows(LONG_TITLE " " SUBJECT);
        dirty_title_set("dirty: child");
        _exit(bad + !shows("dirty: child " SUBJECT));
    }
    int status = 1;
    waitpid(pid, &status, 0);
    return bad + status + !shows(LONG_TITLE " " SUBJECT) +
           strcmp(getenv("FIRST") ? getenv("FIRST") : "", "1");
}

static int in_a_page(int argc, char **argv) {
    dirty_title_open(argc, argv, false);
    return whole() + !environment_is("FIRST=1");
}

static int in_place(int argc, char **argv) {
    dirty_title_open(argc, argv, true);
    return whole();
}

/* The mark of whoever has started us stays where a sweep looks for it. */
static int beside_the_mark(int argc, char **argv) {
    char text[4096];
    dirty_title_open(argc, argv, true);
    dirty_title_set(LONG_TITLE LONG_TITLE LONG_TITLE);
    size_t len = read_own("environ", text, sizeof text);
    return memmem(text, len, "DIRTY_OWNER=7.9\0LAST=2", 23) == NULL ||
           strcmp(getenv("LAST"), "2") != 0;
}

/* Cut where there is no room: first the title, then the subject. */
static int cut(int argc, char **argv) {
    size_t room = strlen(argv[0]) + 1 + strlen(argv[1]) + 1 + sizeof "FIRST=1";
    char should[256];
    dirty_title_open(argc, argv, true);
    dirty_title_subject("/s");
    dirty_title_set(LONG_TITLE LONG_TITLE LONG_TITLE);
    snprintf(should, sizeof should, "%.*s /s", (int)(room - 4), LONG_TITLE LONG_TITLE);
    int bad = !shows(should);
    dirty_title_subject(LONG_TITLE LONG_TITLE);
    dirty_title_set("dirty: short");
    bad += !shows("dirty: short");
    return bad;
}

static int too_long(int argc, char **argv) {
    static char title[2 * DIRTY_TITLE_MAX], should[DIRTY_TITLE_MAX];
    memset(title, 't', sizeof title - 1);
    dirty_title_open(argc, argv, false);
    dirty_title_subject("/s");
    dirty_title_set(title);
    memset(should, 't', sizeof should - 4);
    memcpy(should + sizeof should - 4, " /s", 4);
    return !shows(should);
}

static int unopened(int argc, char **argv) {
    (void)argc, (void)argv;
    dirty_title_subject(SUBJECT);
    dirty_title_set(LONG_TITLE);
    return !shows("unopened");
}

/* -- The tests ----------------------------------------------------------------------- */

static char *self;

/* Become the program `name`, with this environment. */
static void run(const char *name, char *const *environment) {
    int status = 0;
    char *argv[] = {(char *)(uintptr_t)"t", (char *)(uintptr_t)name, NULL};
    if (strcmp(name, "unopened") == 0)
        argv[0] = (char *)(uintptr_t)name, argv[1] = NULL;
    pid_t pid = fork();
    if (pid == 0) {
        execve(self, argv, environment);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#define STRINGS(...) ((char *const[]){__VA_ARGS__, NULL})
#define TEXT(text) ((char *)(uintptr_t)text)
#define FILLER TEXT("FILLER=" LONG_TITLE LONG_TITLE LONG_TITLE)

static void it_is_whole_whatever_the_command_line_was(void **state) {
    (void)state;
    run("in_a_page", STRINGS(TEXT("FIRST=1")));
}

static void it_goes_over_the_environment_where_it_must(void **state) {
    (void)state;
    run("in_place", STRINGS(TEXT("FIRST=1"), FILLER));
}

static void the_mark_of_our_starter_stays(void **state) {
    (void)state;
    run("beside_the_mark",
        STRINGS(TEXT("FIRST=1"), TEXT("DIRTY_OWNER=7.9"), TEXT("LAST=2")));
}

static void it_is_cut_where_there_is_no_room(void **state) {
    (void)state;
    run("cut", STRINGS(TEXT("FIRST=1")));
    run("too_long", STRINGS(TEXT("FIRST=1")));
}

static void nothing_is_set_before_it_is_open(void **state) {
    (void)state;
    run("unopened", STRINGS(TEXT("FIRST=1")));
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_whole_whatever_the_command_line_was),
        cmocka_unit_test(it_goes_over_the_environment_where_it_must),
        cmocka_unit_test(the_mark_of_our_starter_stays),
        cmocka_unit_test(it_is_cut_where_there_is_no_room),
        cmocka_unit_test(nothing_is_set_before_it_is_open),
    };
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } programs[] = {{"in_a_page", in_a_page},
                    {"in_place", in_place},
                    {"beside_the_mark", beside_the_mark},
                    {"cut", cut},
                    {"too_long", too_long},
                    {"unopened", unopened}};
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        if (strcmp(argv[argc > 1], programs[i].name) == 0)
            return programs[i].run(argc, argv);
    self = argv[0];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
