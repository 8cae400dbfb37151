/* queue: very many callers that wait at once, and what they cost the arbiter.
 *
 *     queue --socket PATH --arbiter PID --gate FILE [--count N] [--bytes N]
 *
 * A first call holds the only lane until FILE is there. Behind it each caller sends one
 * call over a connection of its own and gets a ticket, the number of its turn: it shows
 * the order in which the calls were served. Prints one JSON object. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/proc.h"
#include "dirty.h"
#include "wire/code.h"
#include "wire/request.h"

#define BUDGET_MS 120000
#define READ_TIMEOUT_MS 60000
#define COUNT_MAX 100000
/* The queue is as long as it will be when it has not grown for so long. */
#define SETTLED_MS 300
/* What the status may take: it waits behind thousands, and is not given after that. */
#define STATUS_MS 5000
/* How long the arbiter may take until it is about as small as it was. */
#define MEMORY_MS 3000
#define MEMORY_ROOM (2u << 20)

static struct {
    const char *socket, *gate;
    pid_t arbiter;
    uint32_t count, bytes;
} options = {.count = 10000};

static struct {
    uint32_t values, overloaded, other, ended, unordered, longest;
    uint32_t last_ticket;
    double connect_s, serve_s;
    uint64_t rss_before, rss_waiting, rss_after;
} result;

static _Noreturn void die(const char *what) {
    fprintf(stderr, "queue: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* -- Requests ------------------------------------------------------------------------ */

static int open_connection(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", options.socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    return fd;
}

/* A call with one argument. A failing send is no failure: the answer may be there. */
static void send_call(int fd, uint64_t id, const char *action, const void *argument,
                      uint32_t len) {
    dirty_buf b = {0};
    dirty_route route = {.budget_ms = BUDGET_MS,
                         .priority = DIRTY_PRIORITY_DEFAULT,
                         .argc = 1,
                         .app = dirty_slice_cstr("chaos"),
                         .action = dirty_slice_cstr(action)};
    dirty_request_encode_head(&b, id, &route, DIRTY_VALUE_HEAD_LEN + len);
    dirty_value_append(&b, DIRTY_TAG_BYTES, argument, len);
    if (dirty_buf_failed(&b))
        die("memory");
    for (size_t sent = 0; sent < b.len;) {
        ssize_t n = send(fd, b.base + sent, b.len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            break;
        sent += n > 0 ? (size_t)n : 0;
    }
    dirty_buf_deinit(&b);
}

static bool read_all(int fd, uint8_t *to, size_t len) {
    for (size_t got = 0; got < len;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, READ_TIMEOUT_MS) <= 0)
            return false;
        ssize_t n = recv(fd, to + got, len - got, 0);
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

/* The type of the answer to `id`, 0: none, or somebody else's. */
static int read_answer(int fd, uint64_t id, uint8_t *payload, size_t room) {
    uint8_t head[DIRTY_FRAME_HEADER_LEN];
    dirty_frame f;
    if (!read_all(fd, head, sizeof head) ||
        dirty_frame_decode(head, sizeof head, (uint32_t)room, &f) != DIRTY_WIRE_OK ||
        f.id != id || f.payload_len > room || !read_all(fd, payload, f.payload_len))
        return 0;
    payload[f.payload_len] = '\0';
    return f.type;
}

static void count_answer(int fd, uint64_t id) {
    static uint8_t payload[65536 + 1];
    int type = read_answer(fd, id, payload, sizeof payload - 1);
    if (type == DIRTY_FRAME_RESPONSE) {
        uint32_t ticket =
            (uint32_t)strtoul((char *)payload + 2 + DIRTY_VALUE_HEAD_LEN, NULL, 10);
        result.values++;
        if (ticket <= result.last_ticket)
            result.unordered++;
        result.last_ticket = ticket;
    } else if (type == DIRTY_FRAME_ERROR) {
        if (dirty_get16(payload) == DIRTY_CODE_OVERLOADED)
            result.overloaded++;
        else
            result.other++;
    } else {
        result.ended++;
    }
}

/* -- The queue ----------------------------------------------------------------------- */

/* Its length by the status; UINT32_MAX if there is no answer. */
static uint32_t queue_length(dirty_client *c, const dirty_request *status) {
    dirty_reply *reply;
    const char *text = "", *at;
    size_t len;
    uint32_t length = UINT32_MAX;
    if (dirty_call(c, status, &reply) < 0)
        return length;
    dirty_reply_value(reply, 0, &text, &len);
    if ((at = strstr(text, "\"queue\":{\"length\":")) != NULL)
        length = (uint32_t)strtoul(at + strlen("\"queue\":{\"length\":"), NULL, 10);
    dirty_reply_free(reply);
    return length;
}

static void await_queue(void) {
    dirty_options o;
    dirty_client *c;
    dirty_request *status;
    dirty_options_init(&o);
    o.socket = options.socket;
    o.timeout_ms = STATUS_MS; /* without memory nobody is accepted, not we either */
    if (dirty_open(&c, &o) < 0 || dirty_request_new_arbiter(&status, "status") < 0)
        die("status");
    uint64_t grown_ns = dirty_now_ns();
    while (dirty_now_ns() < grown_ns + SETTLED_MS * DIRTY_NS_PER_MS &&
           result.longest < options.count) {
        uint32_t length = queue_length(c, status);
        if (length != UINT32_MAX && length > result.longest) {
            result.longest = length;
            grown_ns = dirty_now_ns();
        }
        poll(NULL, 0, 10);
    }
    dirty_request_free(status);
    dirty_free(c);
}

static double seconds_since(uint64_t from_ns) {
    return (double)(dirty_now_ns() - from_ns) / 1e9;
}

/* Give the arbiter time to give memory back. */
static void await_memory(void) {
    uint64_t until_ns = dirty_now_ns() + MEMORY_MS * DIRTY_NS_PER_MS;
    do {
        poll(NULL, 0, 50);
        result.rss_after = dirty_proc_rss_bytes(options.arbiter);
    } while (result.rss_after > result.rss_before + MEMORY_ROOM &&
             dirty_now_ns() < until_ns);
}

static void run(int *fds, void *argument) {
    int blocker = open_connection();
    send_call(blocker, 1, "gate", options.gate, (uint32_t)strlen(options.gate));
    result.rss_before = dirty_proc_rss_bytes(options.arbiter);
    uint64_t from_ns = dirty_now_ns();
    for (uint32_t i = 0; i < options.count; i++) {
        fds[i] = open_connection();
        send_call(fds[i], 100 + i, "ticket", argument, options.bytes);
    }
    await_queue();
    result.connect_s = seconds_since(from_ns);
    result.rss_waiting = dirty_proc_rss_bytes(options.arbiter);
    FILE *gate = fopen(options.gate, "w");
    if (gate == NULL || fclose(gate) != 0)
        die(options.gate);
    from_ns = dirty_now_ns();
    for (uint32_t i = 0; i < options.count; i++)
        count_answer(fds[i], 100 + i);
    result.serve_s = seconds_since(from_ns);
    for (uint32_t i = 0; i < options.count; i++)
        close(fds[i]);
    close(blocker);
    await_memory();
}

/* -- Command line -------------------------------------------------------------------- */

static void parse_options(int argc, char **argv) {
    static const struct option names[] = {
        {"socket", 1, NULL, 's'}, {"arbiter", 1, NULL, 'a'}, {"gate", 1, NULL, 'g'},
        {"count", 1, NULL, 'n'},  {"bytes", 1, NULL, 'b'},   {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0) {
        switch (option) {
        case 's': options.socket = optarg; break;
        case 'a': options.arbiter = (pid_t)strtol(optarg, NULL, 10); break;
        case 'g': options.gate = optarg; break;
        case 'n': options.count = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'b': options.bytes = (uint32_t)strtoul(optarg, NULL, 10); break;
        default: exit(2);
        }
    }
    if (options.socket == NULL || options.gate == NULL || options.count > COUNT_MAX) {
        fprintf(stderr, "usage: queue --socket PATH --arbiter PID --gate FILE "
                        "[--count N] [--bytes N]\n");
        exit(2);
    }
}

/* As many callers as descriptors allow. */
static void fit_count(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (options.count + 16 > limit.rlim_cur)
        options.count = (uint32_t)limit.rlim_cur - 16;
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    fit_count();
    int *fds = calloc(options.count, sizeof *fds);
    void *argument = calloc(1, options.bytes + 1);
    if (fds == NULL || argument == NULL)
        die("memory");
    run(fds, argument);
    printf("{\"callers\": %u, \"bytes\": %u, \"longest\": %u, \"values\": %u, "
           "\"overloaded\": %u, \"other\": %u, \"ended\": %u, \"unordered\": %u, "
           "\"connect_s\": %.3f, \"serve_s\": %.3f, \"rss_before\": %llu, "
           "\"rss_waiting\": %llu, \"rss_after\": %llu}\n",
           options.count, options.bytes, result.longest, result.values, result.overloaded,
           result.other, result.ended, result.unordered, result.connect_s, result.serve_s,
           (unsigned long long)result.rss_before, (unsigned long long)result.rss_waiting,
           (unsigned long long)result.rss_after);
    free(fds);
    free(argument);
    return 0;
}
