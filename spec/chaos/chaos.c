/* chaos: many callers with mixed calls at a runtime whose processes are being killed.
 *
 *     chaos --socket PATH --pid PID [OPTION]...
 *
 * Three phases: calm (with reloads, if asked for), storm (kills), calm again. In calm
 * every call must get its value; in the storm it may get an error that a kill explains.
 * Every call has exactly one outcome. Prints one JSON object; exit status 0 if nothing
 * was wrong, lost, hung or late, and the runtime was at full strength again in time. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "spec/chaos/caller.h"
#include "dirty.h"

#define CALLERS_MAX 1024
#define LOOK_MS 10
/* How long full strength is waited for before it is given up. */
#define STRENGTH_MS 20000

static struct {
    const char *socket, *once;
    uint32_t callers;
    double calm, storm;
    uint64_t calls;
    uint32_t strength_ms;
    uint64_t seed;
    monkey_options monkey;
} options = {
    .callers = 32, .calm = 1, .storm = 5, .strength_ms = 1000, .monkey = {.kill_ms = 50}};

static field world = {.grace_ms = 500,
                      .margin_ms = 100,
                      .weights = {[CALL_NOOP] = 20,
                                  [CALL_SMALL] = 15,
                                  [CALL_LARGE] = 10,
                                  [CALL_SLEEP] = 20,
                                  [CALL_FAIL] = 8,
                                  [CALL_SPIN] = 2,
                                  [CALL_COUNT] = 8,
                                  [CALL_ONCE] = 14,
                                  [CALL_LEAVE] = 3}};
static monkey ape;
static caller callers[CALLERS_MAX];

/* How it ended: milliseconds from the last kill to full strength, -1: it did not come. */
static double strength_ms = -1;

static _Noreturn void die(const char *what) {
    fprintf(stderr, "chaos: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* -- The loop ------------------------------------------------------------------------ */

static int wait_ms(uint64_t until_ns) {
    uint64_t first_ns = until_ns;
    for (uint32_t i = 0; i < options.callers; i++) {
        uint64_t due_ns = caller_due_ns(&callers[i]);
        if (due_ns != 0 && due_ns < first_ns)
            first_ns = due_ns;
    }
    return dirty_ms_until(first_ns, dirty_now_ns());
}

static void step(uint64_t until_ns) {
    struct epoll_event events[64];
    int count = epoll_wait(world.epoll_fd, events, 64, wait_ms(until_ns));
    for (int i = 0; i < count; i++)
        caller_ready(events[i].data.ptr, events[i].events);
    uint64_t now_ns = dirty_now_ns();
    for (uint32_t i = 0; i < options.callers; i++)
        caller_tick(&callers[i], now_ns);
}

/* For so long, or until so many calls have ended in all. 0: any number. */
static void go_on(double seconds, uint64_t calls, bool storm) {
    uint64_t end_ns = dirty_now_ns() + (uint64_t)(seconds * 1e9);
    ape.next_ns = dirty_now_ns();
    for (uint64_t now_ns; (now_ns = dirty_now_ns()) < end_ns &&
                          (calls == 0 || world.tally.ended < calls);) {
        monkey_tick(&ape, now_ns, storm);
        step(ape.next_ns > now_ns && ape.next_ns < end_ns ? ape.next_ns : end_ns);
    }
}

/* Let all calls that are under way come to their end. */
static void run_out(void) {
    world.open = false;
    for (;;) {
        uint32_t busy = 0;
        for (uint32_t i = 0; i < options.callers; i++)
            busy += caller_is_busy(&callers[i]);
        if (busy == 0)
            return;
        step(dirty_now_ns() + 100 * DIRTY_NS_PER_MS);
    }
}

/* -- Full strength ------------------------------------------------------------------- */

/* All workers are there and ready, says the status, and none is on its way in or out. */
static bool is_strong(dirty_client *c, const dirty_request *status) {
    dirty_reply *reply;
    const char *text;
    size_t len;
    if (dirty_call(c, status, &reply) < 0)
        return false;
    bool strong = dirty_reply_value(reply, 0, &text, &len) == DIRTY_JSON &&
                  strstr(text, "\"ready\":true") != NULL;
    static const char *const weak[] = {"waiting", "booting", "draining", "dying"};
    for (size_t i = 0; strong && i < sizeof weak / sizeof *weak; i++) {
        char state[32];
        snprintf(state, sizeof state, "\"state\":\"%s\"", weak[i]);
        strong = strstr(text, state) == NULL;
    }
    dirty_reply_free(reply);
    return strong;
}

/* While the load goes on: wait until all that was killed is replaced. */
static void await_strength(void) {
    dirty_options o;
    dirty_client *c;
    dirty_request *status;
    dirty_options_init(&o);
    o.socket = options.socket;
    o.timeout_ms = 2000;
    if (dirty_open(&c, &o) < 0 || dirty_request_new_arbiter(&status, "status") < 0)
        die("status");
    uint64_t end_ns = ape.last_shot_ns + STRENGTH_MS * DIRTY_NS_PER_MS;
    uint64_t now_ns;
    while (strength_ms < 0 && (now_ns = dirty_now_ns()) < end_ns) {
        if (is_strong(c, status))
            strength_ms = (double)(dirty_now_ns() - ape.last_shot_ns) / 1e6;
        else
            step(now_ns + LOOK_MS * DIRTY_NS_PER_MS);
    }
    dirty_request_free(status);
    dirty_free(c);
}

/* -- Command line -------------------------------------------------------------------- */

static const char usage[] =
    "usage: chaos --socket PATH --pid PID [OPTION]...\n"
    "  --callers N     connections that call all the time (32)\n"
    "  --calm S        seconds before and after the storm (1)\n"
    "  --storm S       seconds of it (5)\n"
    "  --calls N       end it earlier, after so many calls (0: not)\n"
    "  --kill-ms N     from one kill to the next (50)\n"
    "  --reload N      every so many kills a reload (0: none)\n"
    "  --scale N       every so many kills a worker more or less (0: none)\n"
    "  --behead N      every so many kills the arbiter's (0: none)\n"
    "  --steady-ms N   from one reload to the next in calm (0: none)\n"
    "  --brood N       weight of the calls that leave a child process behind (0)\n"
    "  --spin N        weight of the calls that run past their deadline (2)\n"
    "  --counted N     weight of the calls whose runs the app counts (14)\n"
    "  --grace-ms N    timeout_grace of the server (500)\n"
    "  --margin-ms N   what an answer may take after it (100)\n"
    "  --strength-ms N from the last kill to full strength, at most (1000)\n"
    "  --once FILE     write the fate of each call that may run only once\n"
    "  --seed N        repeat a run's choices\n";

static uint32_t number(const char *text) {
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || n > UINT32_MAX) {
        fprintf(stderr, "chaos: not a number: %s\n", text);
        exit(2);
    }
    return (uint32_t)n;
}

static const struct option names[] = {
    {"socket", 1, NULL, 's'},      {"pid", 1, NULL, 'p'},
    {"callers", 1, NULL, 'c'},     {"calm", 1, NULL, 'q'},
    {"storm", 1, NULL, 't'},       {"kill-ms", 1, NULL, 'k'},
    {"reload", 1, NULL, 'r'},      {"scale", 1, NULL, 'w'},
    {"behead", 1, NULL, 'b'},      {"steady-ms", 1, NULL, 'y'},
    {"brood", 1, NULL, 'B'},       {"spin", 1, NULL, 'S'},
    {"grace-ms", 1, NULL, 'g'},    {"margin-ms", 1, NULL, 'm'},
    {"once", 1, NULL, 'o'},        {"seed", 1, NULL, 'x'},
    {"strength-ms", 1, NULL, 'z'}, {"calls", 1, NULL, 'n'},
    {"counted", 1, NULL, 'O'},     {NULL, 0, NULL, 0}};

static void parse_option(int option, const char *value) {
    switch (option) {
    case 's': options.socket = value; break;
    case 'p': options.monkey.pid = (pid_t)number(value); break;
    case 'c': options.callers = number(value); break;
    case 'q': options.calm = strtod(value, NULL); break;
    case 't': options.storm = strtod(value, NULL); break;
    case 'k': options.monkey.kill_ms = number(value); break;
    case 'r': options.monkey.reload = number(value); break;
    case 'w': options.monkey.scale = number(value); break;
    case 'b': options.monkey.behead = number(value); break;
    case 'y': options.monkey.steady_ms = number(value); break;
    case 'B': world.weights[CALL_BROOD] = number(value); break;
    case 'n': options.calls = number(value); break;
    case 'O': world.weights[CALL_ONCE] = number(value); break;
    case 'S': world.weights[CALL_SPIN] = number(value); break;
    case 'g': world.grace_ms = number(value); break;
    case 'm': world.margin_ms = number(value); break;
    case 'o': options.once = value; break;
    case 'x': options.seed = strtoull(value, NULL, 10); break;
    case 'z': options.strength_ms = number(value); break;
    default: fputs(usage, stderr); exit(2);
    }
}

static void parse_options(int argc, char **argv) {
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0)
        parse_option(option, optarg);
    if (options.socket == NULL || options.monkey.pid == 0 || options.callers == 0 ||
        options.callers > CALLERS_MAX)
        parse_option('?', NULL);
    if (options.seed == 0)
        options.seed = dirty_now_ns() % 1000000000 + 1;
}

static void report(void) {
    printf("{\"seed\": %" PRIu64 ", \"callers\": %u, \"storm_s\": %.1f, "
           "\"kills\": %" PRIu64 ", \"beheadings\": %" PRIu64 ", \"reloads\": %" PRIu64
           ", \"scales\": %" PRIu64 ", \"full_strength_ms\": %.0f, ",
           options.seed, options.callers, options.storm, ape.kills, ape.beheadings,
           ape.reloads, ape.scales, strength_ms);
    tally_print(&world.tally, stdout);
    printf("}\n");
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    world.socket = options.socket;
    world.seed = options.seed;
    world.monkey = &ape;
    world.open = true;
    if ((world.epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll");
    if (options.once != NULL && (world.tally.once = fopen(options.once, "w")) == NULL)
        die(options.once);
    monkey_init(&ape, &options.monkey, options.seed ^ 0x9e3779b97f4a7c15ull);
    for (uint32_t i = 0; i < options.callers; i++)
        caller_init(&callers[i], &world);
    go_on(options.calm, 0, false);
    if (options.storm > 0) {
        go_on(options.storm, options.calls, true);
        await_strength();
        go_on(options.calm, 0, false);
    }
    run_out();
    report();
    for (uint32_t i = 0; i < options.callers; i++)
        caller_deinit(&callers[i]);
    if (world.tally.once != NULL)
        fclose(world.tally.once);
    monkey_deinit(&ape);
    bool strong =
        options.storm <= 0 || (strength_ms >= 0 && strength_ms <= options.strength_ms);
    return tally_is_clean(&world.tally) && strong ? 0 : 1;
}
