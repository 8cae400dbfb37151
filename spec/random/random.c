/* random: a hundred connections that do whatever a client may do, at a runtime whose
 * processes are being killed, reloaded and stopped.
 *
 *     random --socket PATH --pid PID [OPTION]...
 *
 * It speaks the wire itself, pipelines, splits at random bytes, pauses, half-closes,
 * hangs up at and around deadlines, reads slowly or never, sends frames that break the
 * protocol, and knows for every request what the protocol lets the server answer. Calm,
 * storm (kills), calm; then all connections come to their end, or, with --stop, the
 * runtime is told to stop in their midst. What is wrong goes to stderr with the seed and
 * with what happened on the connection; one JSON object goes to stdout. Exit status 0 if
 * nothing was wrong. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "spec/chaos/call.h"
#include "spec/random/peer.h"

#define PEERS_MAX 512
#define ALL_NOTES 4096
#define TIDE_NS (2000 * DIRTY_NS_PER_MS)
#define RUN_OUT_S 40
#define START_S 20.0
/* So many complaints, and the rest of the run would tell no more. */
#define ENOUGH_COMPLAINTS 10

static struct {
    double calm, storm;
    bool stop;
    monkey_options monkey;
} options = {.calm = 1, .storm = 5, .monkey = {.kill_ms = 100}};

static peer peers[PEERS_MAX];
static history_line lines[ALL_NOTES];
static world all = {.peers = peers,
                    .peer_count = 120,
                    .choice = {.recv_timeout_ms = 400},
                    .app_timeout_ms = 3000,
                    .send_timeout_ms = 500,
                    .grace_ms = 300,
                    .graceful_ms = 5000,
                    .margin_ms = 3000,
                    .max_queue = 80,
                    .threads = 1,
                    .slow = 1,
                    .all = {.lines = lines, .room = ALL_NOTES}};

/* -- The loop
 * ---------------------------------------------------------------------------- */

static void wait_until(struct pollfd *fds, nfds_t count, uint64_t due_ns) {
    uint64_t now_ns = dirty_now_ns();
    uint64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 0;
    struct timespec t = {.tv_sec = (time_t)(left_ns / 1000000000),
                         .tv_nsec = (long)(left_ns % 1000000000)};
    if (ppoll(fds, count, &t, NULL) < 0 && errno != EINTR) {
        fprintf(stderr, "random: poll: %s\n", strerror(errno));
        exit(2);
    }
}

/* One turn: what is due, then what comes, until_ns at the latest. */
static void turn(uint64_t until_ns) {
    static struct pollfd fds[PEERS_MAX];
    static peer *of[PEERS_MAX];
    nfds_t count = 0;
    uint64_t now_ns = dirty_now_ns(), due_ns = until_ns;
    for (uint32_t i = 0; i < all.peer_count; i++) {
        peer *p = &peers[i];
        peer_tick(p, dirty_now_ns());
        uint64_t peer_ns = peer_due_ns(p);
        due_ns = peer_ns < due_ns ? peer_ns : due_ns;
        if (peer_interest(p, now_ns, &fds[count]))
            of[count++] = p;
    }
    wait_until(fds, count, due_ns);
    for (nfds_t i = 0; i < count; i++)
        if (fds[i].revents != 0)
            peer_ready(of[i], fds[i].revents, dirty_now_ns());
    world_watch(&all, dirty_now_ns());
}

static bool is_enough(void) {
    return all.tally.complaints >= ENOUGH_COMPLAINTS;
}

/* Now all of them call, now a few. */
static void set_tide(uint64_t *rng, uint64_t *next_ns, uint64_t now_ns) {
    static const uint8_t parts[] = {1, 1, 1, 3, 12};
    if (now_ns < *next_ns)
        return;
    *next_ns = now_ns + TIDE_NS;
    all.tide = all.peer_count / parts[random_below(rng, sizeof parts)] + 1;
    if (all.tide > all.peer_count)
        all.tide = all.peer_count;
}

static void go_on(double seconds, bool storm) {
    static uint64_t rng, tide_ns;
    uint64_t now_ns = dirty_now_ns(), end_ns = now_ns + (uint64_t)(seconds * 1e9);
    if (rng == 0)
        rng = all.seed * 31 + 1;
    all.ape.next_ns = now_ns;
    for (; now_ns < end_ns && !is_enough(); now_ns = dirty_now_ns()) {
        set_tide(&rng, &tide_ns, now_ns);
        monkey_tick(&all.ape, now_ns, storm);
        world_watch(&all, now_ns);
        uint64_t turn_ns = now_ns + 10 * DIRTY_NS_PER_MS;
        turn(turn_ns < end_ns ? turn_ns : end_ns);
    }
}

/* Until somebody listens. The first of them call while its workers still boot. */
static void await_start(void) {
    uint64_t end_ns = dirty_now_ns() + (uint64_t)(START_S * all.slow * 1e9);
    while (all.early && all.serial == 0 && dirty_now_ns() < end_ns)
        turn(dirty_now_ns() + 10 * DIRTY_NS_PER_MS);
    if (all.serial == 0 && all.early)
        world_complain(&all, "nobody listens at %s after %.0f s", all.socket,
                       START_S * all.slow);
}

static uint32_t count_open(void) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < all.peer_count; i++)
        count += peers[i].state != PEER_CLOSED;
    return count;
}

/* Let all connections come to their end. */
static void run_out(double seconds) {
    uint64_t end_ns = dirty_now_ns() + (uint64_t)(seconds * all.slow * 1e9);
    all.open = false;
    while (count_open() > 0 && dirty_now_ns() < end_ns && !is_enough())
        turn(dirty_now_ns() + 10 * DIRTY_NS_PER_MS);
    for (uint32_t i = 0; i < all.peer_count && !is_enough(); i++)
        if (peers[i].state != PEER_CLOSED)
            peer_complain(&peers[i], "it is still open %.0f s after the end",
                          seconds * all.slow);
}

/* Tell the runtime to stop while all of them call: each must come to its end. */
static void stop_in_the_midst(void) {
    all.tide = all.peer_count;
    for (int i = 0; i < 20; i++)
        turn(dirty_now_ns() + 10 * DIRTY_NS_PER_MS);
    all.stopping_ns = dirty_now_ns();
    kill(all.ape.o.pid, SIGTERM);
    run_out(all.graceful_ms / 1e3 + all.margin_ms / 1e3 + 2);
}

/* -- Command line
 * ------------------------------------------------------------------------ */

static const char usage[] =
    "usage: random --socket PATH --pid PID [OPTION]...\n"
    "  --pid PID         of `dirty serve`\n"
    "  --connections N   at the same time, at most (120)\n"
    "  --calm S          seconds before and after the storm (1)\n"
    "  --storm S         seconds (5)\n"
    "  --kill-ms N       in the storm, from one kill of a worker to the next (100)\n"
    "  --reload N        every so many kills also a reload\n"
    "  --scale N         every so many kills one worker more or less\n"
    "  --behead N        every so many kills the arbiter\n"
    "  --steady-ms N     in calm, from one reload to the next\n"
    "  --early           the runtime is just being started\n"
    "  --stop            tell the runtime to stop at the end, in the midst of all\n"
    "  --without WORDS   leave out, separated by commas: half-close, hang-up, stall, "
    "split,\n"
    "                    bad, death, lag, pipeline, service\n"
    "  --fates FILE      append the fate of each request that may run only once\n"
    "  --seed N          repeat a run's choices\n"
    "the server's options: --recv-timeout-ms, --send-timeout-ms, --timeout-ms, "
    "--grace-ms,\n"
    "  --graceful-ms, --max-queue, --threads\n"
    "  --margin-ms N     what everything may take beyond its limit (3000)\n"
    "  --slow X          how much longer on a slow machine (1)\n";

static _Noreturn void refuse(const char *what) {
    fprintf(stderr, "random: %s\n%s", what, usage);
    exit(2);
}

static uint32_t number(const char *text) {
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || n > UINT32_MAX)
        refuse(text);
    return (uint32_t)n;
}

static void leave_out(char *words) {
    static const char *const known[] = {"half-close", "hang-up",  "stall",
                                        "split",      "bad",      "death",
                                        "lag",        "pipeline", "service"};
    for (char *word = strtok(words, ","); word != NULL; word = strtok(NULL, ",")) {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(known[i], word) != 0)
            i++;
        if (i == sizeof known / sizeof *known)
            refuse(word);
        all.choice.without |= 1u << i;
    }
}

static const struct option names[] = {{"socket", 1, NULL, 's'},
                                      {"pid", 1, NULL, 'p'},
                                      {"connections", 1, NULL, 'c'},
                                      {"calm", 1, NULL, 'q'},
                                      {"storm", 1, NULL, 't'},
                                      {"kill-ms", 1, NULL, 'k'},
                                      {"reload", 1, NULL, 'r'},
                                      {"scale", 1, NULL, 'w'},
                                      {"behead", 1, NULL, 'b'},
                                      {"steady-ms", 1, NULL, 'y'},
                                      {"early", 0, NULL, 'E'},
                                      {"stop", 0, NULL, 'S'},
                                      {"without", 1, NULL, 'W'},
                                      {"fates", 1, NULL, 'f'},
                                      {"seed", 1, NULL, 'x'},
                                      {"recv-timeout-ms", 1, NULL, 'R'},
                                      {"send-timeout-ms", 1, NULL, 'N'},
                                      {"timeout-ms", 1, NULL, 'T'},
                                      {"grace-ms", 1, NULL, 'g'},
                                      {"graceful-ms", 1, NULL, 'G'},
                                      {"max-queue", 1, NULL, 'Q'},
                                      {"threads", 1, NULL, 'L'},
                                      {"margin-ms", 1, NULL, 'm'},
                                      {"slow", 1, NULL, 'z'},
                                      {NULL, 0, NULL, 0}};

static void parse_server_option(int option, const char *value) {
    switch (option) {
    case 'R': all.choice.recv_timeout_ms = number(value); break;
    case 'N': all.send_timeout_ms = number(value); break;
    case 'T': all.app_timeout_ms = number(value); break;
    case 'g': all.grace_ms = number(value); break;
    case 'G': all.graceful_ms = number(value); break;
    case 'Q': all.max_queue = number(value); break;
    case 'L': all.threads = number(value); break;
    case 'm': all.margin_ms = number(value); break;
    case 'z': all.slow = strtod(value, NULL); break;
    default: refuse("no such option");
    }
}

static void parse_option(int option, char *value) {
    switch (option) {
    case 's': all.socket = value; break;
    case 'p': options.monkey.pid = (pid_t)number(value); break;
    case 'c': all.peer_count = number(value); break;
    case 'q': options.calm = strtod(value, NULL); break;
    case 't': options.storm = strtod(value, NULL); break;
    case 'k': options.monkey.kill_ms = number(value); break;
    case 'r': options.monkey.reload = number(value); break;
    case 'w': options.monkey.scale = number(value); break;
    case 'b': options.monkey.behead = number(value); break;
    case 'y': options.monkey.steady_ms = number(value); break;
    case 'E': all.early = true; break;
    case 'S': options.stop = true; break;
    case 'W': leave_out(value); break;
    case 'f':
        if ((all.fates = fopen(value, "a")) == NULL)
            refuse(value);
        break;
    case 'x': all.seed = strtoull(value, NULL, 10); break;
    default: parse_server_option(option, value);
    }
}

static void parse_options(int argc, char **argv) {
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0)
        parse_option(option, optarg);
    if (all.socket == NULL || options.monkey.pid == 0 || all.peer_count == 0 ||
        all.peer_count > PEERS_MAX)
        refuse("--socket and --pid must be there, and up to 512 connections");
    if (all.seed == 0)
        all.seed = dirty_now_ns() % 1000000000 + 1;
}

static void report(void) {
    const monkey *m = &all.ape;
    printf("{\"seed\": %" PRIu64 ", \"seconds\": %.1f, \"kills\": %" PRIu64
           ", \"beheadings\": %" PRIu64 ", \"reloads\": %" PRIu64 ", \"scales\": %" PRIu64
           ", ",
           all.seed, (double)(dirty_now_ns() - all.began_ns) / 1e9,
           m->kills - m->beheadings, m->beheadings, m->reloads, m->scales);
    world_print_tally(&all, stdout);
    printf("}\n");
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    all.began_ns = dirty_now_ns();
    all.tide = all.peer_count;
    all.open = true;
    monkey_init(&all.ape, &options.monkey, all.seed ^ 0x9e3779b97f4a7c15ull);
    for (uint32_t i = 0; i < all.peer_count; i++)
        peer_init(&peers[i], &all);
    await_start();
    go_on(options.calm, false);
    if (options.storm > 0) {
        go_on(options.storm, true);
        go_on(options.calm, false);
    }
    if (options.stop && !is_enough())
        stop_in_the_midst();
    else
        run_out(RUN_OUT_S);
    report();
    for (uint32_t i = 0; i < all.peer_count; i++)
        peer_deinit(&peers[i]);
    if (all.fates != NULL)
        fclose(all.fates);
    monkey_deinit(&all.ape);
    return all.tally.complaints == 0 && all.tally.asks > 0 ? 0 : 1;
}
