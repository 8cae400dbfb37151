/* load: a closed-loop load generator for the protocol, one thread, one epoll.
 *
 * Each connection has one request out at a time and sends the next when the answer is
 * there. Ids and payloads of all answers are checked; the first wrong one, an ERROR frame
 * or an ended connection ends the program with status 1. The result is one line of JSON
 * on stdout. Times are those the caller sees, from before the send to after the check;
 * caller_us is the CPU time of this process per request. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/call.h"
#include "bench/socket.h"

#define CALLS_MAX 16
#define EVENTS_MAX 256
#define CONNECTIONS_MAX 100000
#define RECEIVE_MAX (256u << 10)
#define DRAIN_TIMEOUT_NS (120000 * DIRTY_NS_PER_MS)
#define BUDGET_MS_DEFAULT 60000

typedef struct connection {
    int fd;
    bool idle;       /* makes one request, then stays open and quiet */
    bool wants_room; /* EPOLLOUT is asked for */
    bench_call *call;
    uint64_t id, sent_at_ns;
    size_t sent, got, answer_len; /* bytes of the request and its answer */
    uint8_t head[BENCH_REQUEST_HEAD_MAX];
    uint8_t answer_header[DIRTY_FRAME_HEADER_LEN];
} connection;

static struct {
    const char *socket, *app;
    uint64_t connections, idle, requests, budget_ms, room;
    double seconds, warmup;
} options = {.app = "apps.echo", .connections = 1, .budget_ms = BUDGET_MS_DEFAULT};

static bench_call calls[CALLS_MAX];
static unsigned call_count;
static connection *connections;
static int epoll_fd;
static volatile bool stopped;

/* The run so far. Answers to requests sent before from_ns are not counted. */
static struct {
    uint64_t start_ns, from_ns, until_ns, last_ns;
    uint64_t cpu_ns; /* of this process, from the first request to the last answer */
    uint64_t next_id, started, answered, out;
    uint64_t idle_left;
    unsigned turn, turns;
    bench_histogram latency;
} run;

static void on_signal(int number) {
    (void)number;
    stopped = true;
}

/* -- One request ---------------------------------------------------------------- */

static void watch(connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event) < 0)
        bench_die("epoll_ctl: %s", strerror(errno));
}

/* Calls take turns by their weights: with noop*3 and echo:10, every fourth is an echo. */
static bench_call *next_call(void) {
    unsigned turn = run.turn;
    run.turn = (run.turn + 1) % run.turns;
    bench_call *c = calls;
    while (turn >= c->weight)
        turn -= (c++)->weight;
    return c;
}

static ssize_t send_some(const connection *c) {
    const bench_call *call = c->call;
    if (c->sent >= call->request_head)
        return send(c->fd, call->request + c->sent, call->request_len - c->sent,
                    MSG_NOSIGNAL);
    struct iovec iov[2] = {
        {(void *)(uintptr_t)(c->head + c->sent), call->request_head - c->sent},
        {call->request + call->request_head, call->request_len - call->request_head}};
    if (iov[1].iov_len == 0)
        return send(c->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL);
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    return sendmsg(c->fd, &message, MSG_NOSIGNAL);
}

static void send_request(connection *c) {
    while (c->sent < c->call->request_len) {
        ssize_t n = send_some(c);
        if (n < 0 && errno == EAGAIN) {
            if (!c->wants_room)
                watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            c->wants_room = true;
            return;
        }
        if (n < 0)
            bench_die("send of request %llu: %s", (unsigned long long)c->id,
                      strerror(errno));
        c->sent += (size_t)n;
    }
    if (c->wants_room)
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->wants_room = false;
}

static void start_request(connection *c, uint64_t now_ns) {
    c->call = c->idle ? calls : next_call();
    c->id = ++run.next_id;
    c->sent = c->got = 0;
    c->sent_at_ns = now_ns;
    bench_call_head(c->call, c->id, c->head);
    run.out++;
    if (!c->idle)
        run.started++;
    send_request(c);
}

static bool may_start(uint64_t now_ns) {
    if (stopped || (run.until_ns != 0 && now_ns >= run.until_ns))
        return false;
    return options.requests == 0 || run.started < options.requests;
}

static void finish_request(connection *c) {
    uint64_t now = dirty_now_ns();
    run.out--;
    if (c->idle) {
        run.idle_left--;
        return;
    }
    if (c->sent_at_ns >= run.from_ns) {
        run.answered++;
        run.last_ns = now;
        bench_histogram_add(&run.latency, now - c->sent_at_ns);
        bench_histogram_add(&c->call->latency, now - c->sent_at_ns);
    }
    if (may_start(now))
        start_request(c, now);
}

/* -- One answer ----------------------------------------------------------------- */

static void die_of_error(const connection *c, const uint8_t *payload, size_t len) {
    dirty_error error;
    if (dirty_error_decode(payload, len, &error) != DIRTY_WIRE_OK)
        bench_die("request %llu (%s) got an ERROR frame", (unsigned long long)c->id,
                  c->call->spec);
    bench_die("request %llu (%s) got error %u: %.*s %.*s", (unsigned long long)c->id,
              c->call->spec, error.code, (int)error.message.len, error.message.base,
              (int)error.details.len, error.details.base);
}

/* Take the header from the front of what came; returns the bytes used. */
static size_t receive_header(connection *c, const uint8_t *bytes, size_t len) {
    size_t used = sizeof c->answer_header - c->got;
    if (used > len)
        used = len;
    memcpy(c->answer_header + c->got, bytes, used);
    if (c->got + used < sizeof c->answer_header)
        return used;
    dirty_frame frame;
    dirty_wire_fault fault = dirty_frame_decode(c->answer_header, sizeof c->answer_header,
                                                DIRTY_MAX_MESSAGE_DEFAULT, &frame);
    if (fault != DIRTY_WIRE_OK)
        bench_die("broken answer: %s", dirty_wire_fault_text(fault));
    if (frame.type == DIRTY_FRAME_ERROR)
        die_of_error(c, bytes + used, len - used);
    c->answer_len = sizeof c->answer_header + frame.payload_len;
    if (frame.type != DIRTY_FRAME_RESPONSE || frame.id != c->id)
        bench_die("request %llu got type %u with id %llu", (unsigned long long)c->id,
                  frame.type, (unsigned long long)frame.id);
    if (c->call->answer && c->answer_len != c->call->answer_len)
        bench_die("request %llu (%s) got %zu bytes, not %zu", (unsigned long long)c->id,
                  c->call->spec, c->answer_len, c->call->answer_len);
    return used;
}

static void receive_answer(connection *c) {
    static uint8_t bytes[RECEIVE_MAX];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        bench_die("connection ended %s: %s", c->got > 0 ? "in an answer" : "unanswered",
                  n < 0 ? strerror(errno) : "end of file");
    size_t len = (size_t)n, used = 0;
    if (c->got < DIRTY_FRAME_HEADER_LEN)
        used = receive_header(c, bytes, len);
    size_t offset = c->got + used;
    c->got += len;
    if (c->got < DIRTY_FRAME_HEADER_LEN)
        return;
    if (c->got > c->answer_len || c->sent < c->call->request_len)
        bench_die("request %llu got more than it asked for", (unsigned long long)c->id);
    if (!bench_call_matches(c->call, c->id, offset, bytes + used, len - used))
        bench_die("request %llu (%s) got a wrong answer within bytes %zu to %zu",
                  (unsigned long long)c->id, c->call->spec, offset, c->got);
    if (c->got == c->answer_len)
        finish_request(c);
}

/* -- The run -------------------------------------------------------------------- */

/* Let more of a long request wait in the kernel than the system's default. */
static void give_room(int fd) {
    int half = (int)(options.room / 2); /* the kernel doubles it */
    if (half > 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &half, sizeof half);
}

static void open_connections(void) {
    uint64_t count = options.connections + options.idle;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    connections = calloc(count + 1, sizeof *connections);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || epoll_fd < 0)
        bench_die("no memory or no epoll for %llu connections",
                  (unsigned long long)count);
    for (uint64_t i = 0; i < count; i++) {
        connections[i].idle = i < options.idle;
        connections[i].fd = bench_connect(options.socket);
        give_room(connections[i].fd);
        watch(&connections[i], EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void wait_events(uint64_t until_ns) {
    struct epoll_event events[EVENTS_MAX];
    int ms = dirty_ms_until(until_ns, dirty_now_ns());
    int count = epoll_wait(epoll_fd, events, EVENTS_MAX, ms);
    for (int i = 0; i < count; i++) {
        connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            send_request(c);
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            receive_answer(c);
    }
}

/* Open what stays idle first, one request each, and say so when it is done. */
static void settle_idle(void) {
    run.idle_left = options.idle;
    for (uint64_t i = 0; i < options.idle; i++) {
        start_request(&connections[i], dirty_now_ns());
        while (run.out > 0)
            wait_events(connections[i].sent_at_ns + DRAIN_TIMEOUT_NS);
    }
    if (options.idle > 0)
        printf("{\"idle\": %llu}\n", (unsigned long long)options.idle);
    fflush(stdout);
}

static uint64_t cpu_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void run_load(void) {
    uint64_t cpu_ns = cpu_now_ns();
    run.start_ns = dirty_now_ns();
    run.from_ns = run.start_ns + (uint64_t)(options.warmup * 1e9);
    run.last_ns = run.from_ns;
    if (options.seconds > 0)
        run.until_ns = run.from_ns + (uint64_t)(options.seconds * 1e9);
    for (uint64_t i = 0; i < options.connections && may_start(dirty_now_ns()); i++)
        start_request(&connections[options.idle + i], dirty_now_ns());
    while (run.out > 0 && may_start(dirty_now_ns()))
        wait_events(run.until_ns);
    uint64_t drain_ns = dirty_now_ns() + DRAIN_TIMEOUT_NS;
    while (run.out > 0) {
        wait_events(drain_ns);
        if (dirty_now_ns() >= drain_ns)
            bench_die("%llu requests unanswered", (unsigned long long)run.out);
    }
    run.cpu_ns = cpu_now_ns() - cpu_ns;
    while (options.connections == 0 && may_start(dirty_now_ns()))
        wait_events(run.until_ns);
}

static void report_latency(const bench_histogram *h) {
    printf("\"requests\": %llu, \"min_us\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"max_us\": %.1f",
           (unsigned long long)h->count, h->count ? (double)h->min_ns / 1e3 : 0.0,
           (double)bench_histogram_at(h, 0.5) / 1e3,
           (double)bench_histogram_at(h, 0.99) / 1e3, (double)h->max_ns / 1e3);
}

static void report(void) {
    double seconds = (double)(run.last_ns - run.from_ns) / 1e9;
    printf("{\"connections\": %llu, \"idle\": %llu, \"seconds\": %.4f, \"rate\": %.1f, "
           "\"sent\": %llu, \"caller_us\": %.2f, ",
           (unsigned long long)options.connections, (unsigned long long)options.idle,
           seconds, seconds > 0 ? (double)run.answered / seconds : 0.0,
           (unsigned long long)run.started,
           run.started ? (double)run.cpu_ns / 1e3 / (double)run.started : 0.0);
    report_latency(&run.latency);
    printf(", \"calls\": [");
    for (unsigned i = 0; i < call_count; i++) {
        printf("%s{\"call\": \"%s\", ", i ? ", " : "", calls[i].spec);
        report_latency(&calls[i].latency);
        printf("}");
    }
    printf("]}\n");
}

/* -- Command line --------------------------------------------------------------- */

static const char usage[] =
    "usage: load --socket PATH [OPTION]... [CALL]...\n"
    "Send CALLs (default: noop) over many connections, each waiting for its answer.\n"
    "A CALL is ACTION[:NUMBER][*WEIGHT]: noop, echo:BYTES, length:BYTES, sleep:MS, ...\n"
    "  --connections N  that are busy all the time (1; 0: only idle ones)\n"
    "  --idle N         further ones that make one request, then stay open (0)\n"
    "  --seconds S      run that long (1, unless --requests)\n"
    "  --requests N     run until that many are answered\n"
    "  --warmup S       run that long before it counts (0)\n"
    "  --app NAME       (apps.echo)\n"
    "  --budget MS      sent with every request (60000)\n"
    "  --room BYTES     for requests in the kernel, per connection (the system's "
    "default)\n"
    "SIGTERM ends the run early, with its report.\n";

static double seconds_of(const char *option, const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value < 1e6))
        bench_die("%s wants seconds, not \"%s\"", option, text);
    return value;
}

static void parse_option(int option, const char *value) {
    switch (option) {
    case 's': options.socket = value; break;
    case 'a': options.app = value; break;
    case 'c':
        options.connections = bench_number("--connections", value, CONNECTIONS_MAX);
        break;
    case 'i': options.idle = bench_number("--idle", value, CONNECTIONS_MAX); break;
    case 'n': options.requests = bench_number("--requests", value, UINT32_MAX); break;
    case 'r': options.room = bench_number("--room", value, INT32_MAX); break;
    case 'b': options.budget_ms = bench_number("--budget", value, UINT32_MAX); break;
    case 't': options.seconds = seconds_of("--seconds", value); break;
    case 'w': options.warmup = seconds_of("--warmup", value); break;
    case 'h': fputs(usage, stdout); exit(0);
    default: fputs(usage, stderr); exit(2);
    }
}

static void parse_options(int argc, char **argv) {
    static const struct option names[] = {{"socket", 1, NULL, 's'},
                                          {"app", 1, NULL, 'a'},
                                          {"connections", 1, NULL, 'c'},
                                          {"idle", 1, NULL, 'i'},
                                          {"requests", 1, NULL, 'n'},
                                          {"budget", 1, NULL, 'b'},
                                          {"seconds", 1, NULL, 't'},
                                          {"warmup", 1, NULL, 'w'},
                                          {"room", 1, NULL, 'r'},
                                          {"help", 0, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "h", names, NULL)) >= 0)
        parse_option(option, optarg);
    if (!options.socket)
        parse_option('?', NULL);
    if (options.seconds == 0 && options.requests == 0)
        options.seconds = 1;
    int count = optind < argc ? argc - optind : 1;
    if (count > CALLS_MAX)
        bench_die("%d calls, at most %d", count, CALLS_MAX);
    for (int i = 0; i < count; i++) {
        bench_call *c = &calls[call_count++];
        bench_call_init(c, options.app, optind < argc ? argv[optind + i] : "noop",
                        (uint32_t)options.budget_ms);
        run.turns += c->weight;
    }
    if (run.turns == 0)
        bench_die("all calls have the weight 0");
}

int main(int argc, char **argv) {
    struct sigaction stop = {.sa_handler = on_signal};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    parse_options(argc, argv);
    bench_histogram_reset(&run.latency);
    open_connections();
    settle_idle();
    run_load();
    report();
    for (unsigned i = 0; i < call_count; i++)
        bench_call_deinit(&calls[i]);
    free(connections);
    return 0;
}
