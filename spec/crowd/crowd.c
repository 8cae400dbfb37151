/* crowd: hundreds of calls at once by one event-driven client, while the processes of the
 * runtime are being killed.
 *
 *     crowd --program PATH --socket PATH [OPTION]...
 *
 * It owns its runtime. Calls are made from the loop and from callbacks, cancelled from
 * both, streams are paused and left. Calm, storm, calm; at last the client is freed in
 * the midst of its calls. Every call that was accepted must have exactly one last
 * callback, with its own result or with an error that a kill, a cancel or its budget
 * explains. Prints one JSON object; exit status 0 if all was well. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "spec/chaos/call.h"
#include "spec/chaos/monkey.h"
#include "spec/crowd/record.h"

/* Calls under way: so many per connection. */
#define DEPTH 2
#define RECORDS 4096
#define TICK_MS 5
/* A kill may explain what happens so long after it. */
#define EXPLAINS_MS 10000
#define COMPLAINTS_MAX 10

static struct {
    const char *program, *socket;
    uint32_t connections, slow;
    double calm, storm;
    uint64_t seed;
    monkey_options monkey;
} options = {.connections = 256,
             .slow = 1,
             .calm = 1,
             .storm = 3,
             .monkey = {.kill_ms = 50, .behead = 12}};

static struct {
    record records[RECORDS];
    uint32_t next; /* where the search for a free one begins */
    uint64_t seed;
    bool open; /* new calls begin */
    uint64_t accepted, ended, chunks, faults;
    uint64_t values[RECORD_KINDS], errors[RECORD_KINDS];
    monkey ape;
} crowd;

static void complain(const record *r, const char *format, ...) {
    va_list args;
    if (crowd.faults++ >= COMPLAINTS_MAX)
        return;
    fprintf(stderr, "crowd: %s (%s): ", r->text, record_name(r->kind));
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

static uint32_t random_below(uint32_t n) {
    return (uint32_t)((chaos_random(&crowd.seed) >> 32) % n);
}

/* -- Calls -------------------------------------------------------------------------- */

static void on_outcome(dirty_async *a, dirty_outcome *o, void *arg);

static void begin(dirty_async *a) {
    while (crowd.records[crowd.next].pending)
        crowd.next = (crowd.next + 1) % RECORDS;
    record *r = &crowd.records[crowd.next];
    /* The next call gets another: a callback too many does not hit this one soon. */
    crowd.next = (crowd.next + 1) % RECORDS;
    dirty_request *q = record_begin(r, &crowd.seed, crowd.accepted);
    int rc = q == NULL ? DIRTY_EMEMORY
                       : (record_streams(r) ? dirty_async_stream : dirty_async_call)(
                             a, q, on_outcome, r, &r->ticket);
    if (rc == 0) {
        crowd.accepted++;
        return;
    }
    complain(r, "not accepted: %s", dirty_err_name(rc));
    dirty_request_free(q);
    r->pending = false;
}

static void cancel(dirty_async *a, record *r) {
    r->cancelled = true;
    if (dirty_async_cancel(a, r->ticket) < 0)
        complain(r, "can't be cancelled");
    if (r->pending)
        complain(r, "has no last callback after it was cancelled");
}

/* Cancel some call that is for it, if there is one near a random place. */
static void cancel_one(dirty_async *a) {
    uint32_t at = random_below(RECORDS);
    for (uint32_t i = 0; i < 64; i++) {
        record *r = &crowd.records[(at + i) % RECORDS];
        if (r->pending && r->kind == RECORD_CANCEL) {
            cancel(a, r);
            return;
        }
    }
}

static bool is_explained(const record *r) {
    uint64_t shot_ns = crowd.ape.last_shot_ns;
    uint64_t for_ns = EXPLAINS_MS * DIRTY_NS_PER_MS * options.slow;
    return shot_ns != 0 && shot_ns + for_ns > r->began_ns;
}

static void on_chunk(dirty_async *a, record *r, dirty_outcome *o) {
    const char *wrong = record_chunk(r, o->reply);
    crowd.chunks++;
    if (wrong != NULL)
        complain(r, "%s (chunk %u)", wrong, r->chunks);
    if (r->chunks != r->turn_at)
        return;
    if (r->kind == RECORD_LEAVE)
        cancel(a, r);
    else if (dirty_async_pause(a, r->ticket, 1) == 0)
        r->paused = true;
}

static void on_end(record *r, const dirty_outcome *o) {
    const char *wrong =
        o->err == 0 ? record_value(r, o->reply) : record_error(r, o, is_explained(r));
    if (wrong != NULL)
        complain(r, "%s: %s %s", wrong, dirty_err_name(o->err), o->message);
    crowd.ended++;
    (o->err == 0 ? crowd.values : crowd.errors)[r->kind]++;
    r->pending = false;
}

static void on_outcome(dirty_async *a, dirty_outcome *o, void *arg) {
    record *r = arg;
    if (!r->pending) {
        complain(r, "a callback too many");
        return;
    }
    if (o->more) {
        on_chunk(a, r, o);
        return;
    }
    on_end(r, o);
    if (crowd.open && random_below(4) == 0)
        begin(a);
    if (random_below(16) == 0)
        cancel_one(a);
}

/* -- The loop ----------------------------------------------------------------------- */

static void resume_all(dirty_async *a) {
    for (uint32_t i = 0; i < RECORDS; i++)
        if (crowd.records[i].pending && crowd.records[i].paused) {
            crowd.records[i].paused = false;
            dirty_async_pause(a, crowd.records[i].ticket, 0);
        }
}

static void step(dirty_async *a) {
    struct pollfd p = {.fd = dirty_async_fd(a), .events = POLLIN};
    while (crowd.open && dirty_async_pending(a) < (size_t)DEPTH * options.connections)
        begin(a);
    poll(&p, 1, TICK_MS);
    dirty_async_ready(a);
    resume_all(a);
    cancel_one(a);
}

static void go_on(dirty_async *a, double seconds, bool storm) {
    uint64_t end_ns = dirty_now_ns() + (uint64_t)(seconds * 1e9);
    crowd.ape.next_ns = dirty_now_ns();
    while (dirty_now_ns() < end_ns) {
        monkey_tick(&crowd.ape, dirty_now_ns(), storm);
        step(a);
    }
}

/* Let all calls come to their end. */
static void run_out(dirty_async *a) {
    uint64_t end_ns = dirty_now_ns() + 90000 * DIRTY_NS_PER_MS;
    crowd.open = false;
    while (dirty_async_pending(a) > 0 && dirty_now_ns() < end_ns)
        step(a);
    if (crowd.ended != crowd.accepted || dirty_async_pending(a) > 0)
        complain(&crowd.records[0], "%" PRIu64 " calls accepted, %" PRIu64 " ended",
                 crowd.accepted, crowd.ended);
}

/* Free the client in the midst of its calls. */
static void end_in_the_midst(dirty_async *a) {
    crowd.open = true;
    for (int i = 0; i < 20; i++)
        step(a);
    crowd.open = false;
    for (uint32_t i = 0; i < RECORDS; i++)
        crowd.records[i].cancelled = true;
    dirty_async_free(a);
    if (crowd.ended != crowd.accepted)
        complain(&crowd.records[0],
                 "%" PRIu64 " calls accepted, %" PRIu64 " ended after free",
                 crowd.accepted, crowd.ended);
}

/* -- Command line ------------------------------------------------------------------- */

static const struct option names[] = {
    {"program", 1, NULL, 'p'}, {"socket", 1, NULL, 's'},      {"calm", 1, NULL, 'q'},
    {"storm", 1, NULL, 't'},   {"connections", 1, NULL, 'c'}, {"behead", 1, NULL, 'b'},
    {"slow", 1, NULL, 'w'},    {"seed", 1, NULL, 'x'},        {NULL, 0, NULL, 0}};

static _Noreturn void refuse(void) {
    fputs("usage: crowd --program PATH --socket PATH [--connections N] [--calm S] "
          "[--storm S] [--behead N] [--slow N] [--seed N]\n",
          stderr);
    exit(2);
}

static void parse_options(int argc, char **argv) {
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0)
        switch (option) {
        case 'p': options.program = optarg; break;
        case 's': options.socket = optarg; break;
        case 'q': options.calm = strtod(optarg, NULL); break;
        case 't': options.storm = strtod(optarg, NULL); break;
        case 'c': options.connections = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'b': options.monkey.behead = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'w': options.slow = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'x': options.seed = strtoull(optarg, NULL, 10); break;
        default: refuse();
        }
    if (options.program == NULL || options.socket == NULL || options.connections == 0 ||
        options.connections > RECORDS / DEPTH / 2)
        refuse();
    if (options.seed == 0)
        options.seed = dirty_now_ns() % 1000000000 + 1;
}

static void print_counts(const char *name, const uint64_t *counts) {
    printf("\"%s\": {", name);
    for (int k = 0; k < RECORD_KINDS; k++)
        printf("%s\"%s\": %" PRIu64, k > 0 ? ", " : "", record_name((record_kind)k),
               counts[k]);
    printf("}, ");
}

static void report(void) {
    printf("{\"seed\": %" PRIu64 ", \"connections\": %u, \"kills\": %" PRIu64
           ", \"beheadings\": %" PRIu64 ", \"accepted\": %" PRIu64 ", \"ended\": %" PRIu64
           ", \"chunks\": %" PRIu64 ", ",
           options.seed, options.connections, crowd.ape.kills, crowd.ape.beheadings,
           crowd.accepted, crowd.ended, crowd.chunks);
    print_counts("values", crowd.values);
    print_counts("errors", crowd.errors);
    printf("\"faults\": %" PRIu64 "}\n", crowd.faults);
}

static dirty_runtime *start_runtime(void) {
    static const char *const apps[] = {"apps.echo", NULL};
    static const char *const args[] = {"--workers", "3", NULL};
    dirty_runtime *rt;
    dirty_spawn_options o;
    dirty_spawn_options_init(&o);
    o.program = options.program;
    o.socket = options.socket;
    o.apps = apps;
    o.args = args;
    if (dirty_spawn(&rt, &o) == 0)
        return rt;
    fprintf(stderr, "crowd: %s\n", dirty_runtime_errmsg(rt));
    dirty_runtime_free(rt);
    return NULL;
}

static dirty_async *open_client(void) {
    dirty_async *a;
    dirty_async_options o;
    dirty_async_options_init(&o);
    o.client.socket = options.socket;
    o.max_connections = options.connections;
    o.max_waiting = RECORDS;
    if (dirty_async_open(&a, &o) == 0)
        return a;
    fprintf(stderr, "%s\n", dirty_async_errmsg(a));
    dirty_async_free(a);
    return NULL;
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    crowd.seed = options.seed;
    dirty_runtime *rt = start_runtime();
    dirty_async *a = rt != NULL ? open_client() : NULL;
    if (a == NULL) {
        dirty_runtime_free(rt);
        return 2;
    }
    options.monkey.pid = dirty_runtime_pid(rt);
    monkey_init(&crowd.ape, &options.monkey, options.seed ^ 0x9e3779b97f4a7c15ull);
    crowd.open = true;
    go_on(a, options.calm, false);
    go_on(a, options.storm, true);
    go_on(a, options.calm, false);
    run_out(a);
    end_in_the_midst(a);
    report();
    monkey_deinit(&crowd.ape);
    dirty_runtime_free(rt);
    return crowd.faults == 0 && crowd.accepted > 0 ? 0 : 1;
}
