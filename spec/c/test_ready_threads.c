/* The fast path in one process: the real arbiter, real lanes and their callers are
 * threads (thread_workers.h). So the thread sanitizer sees every access to board, page
 * and baton (make tsan), and the test counts how often each call ran. */
#include "harness.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "arbiter/shared_conns.h"
#include "arbiter_rig.h"
#include "base/clock.h"
#include "base/log.h"
#include "thread_workers.h"
#include "wire/code.h"
#include "wire/request.h"

#define CALLERS 8
#define CALLS_MAX 1000000 /* of one caller, in all tests */
#define WAIT_MS 60000     /* for an answer */
/* How long a test calls, if DIRTY_RIG_SECONDS does not say it. */
#define SECONDS 2
/* A death needs a new Lua state. */
#define DEATH_EVERY_NS (25 * DIRTY_NS_PER_MS)

/* Read by the thread sanitizer, where there is one. The arbiter may copy the head of a
 * request while its lane begins the next one. Then the swap that follows fails, and the
 * copy is not used. */
const char *__tsan_default_suppressions(void);

__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void) {
    return "race:^read_head$\n";
}

static rig the_rig;
static pthread_t arbiter_thread;
static atomic_int arbiter_tid;
static int arbiter_status;

/* How often each call has run. The app calls this. */
static _Atomic uint8_t ran[CALLERS * CALLS_MAX];
void counted_ran(unsigned call);
__attribute__((visibility("default"))) void counted_ran(unsigned call) {
    if (call < CALLERS * CALLS_MAX)
        atomic_fetch_add(&ran[call], 1);
}

/* Calls that hold a lane, one after the other, until the test lets go of so many. */
static atomic_uint holds, let_go;
void counted_hold(void);
__attribute__((visibility("default"))) void counted_hold(void) {
    unsigned mine = atomic_fetch_add(&holds, 1);
    while (atomic_load(&let_go) <= mine)
        poll(NULL, 0, 1);
}

/* The arbiter looks for requests that no lane has come for, and takes them. That hides
 * events that got lost. While this is set, it takes none. */
static atomic_bool nobody_looks;
bool __real_shared_conns_take(conn *c);
bool __wrap_shared_conns_take(conn *c);
bool __wrap_shared_conns_take(conn *c) {
    return !atomic_load(&nobody_looks) && __real_shared_conns_take(c);
}

/* -- What happens to lanes ----------------------------------------------------------- */

/* One in so many steps. 0: never. */
static struct trouble {
    atomic_uint pause, death;
} trouble;
static _Atomic uint64_t next_death_ns;
static atomic_uint deaths;

static uint32_t dice(uint32_t below) {
    static _Thread_local uint64_t seed;
    static _Atomic uint64_t seeds = 0x9e3779b97f4a7c15;
    if (seed == 0)
        seed = atomic_fetch_add(&seeds, 0x2545f4914f6cdd1e) | 1;
    return harness_random(&seed, below);
}

static bool hits(unsigned one_in) {
    return one_in > 0 && dice(one_in) == 0;
}

/* Deaths are to come mostly where a lane has an event and no connection. `again` is a
 * step of spec/mutants/pitfalls.lua. */
static bool is_sore(const char *step) {
    return strcmp(step, "woken") == 0 || strcmp(step, "claimed") == 0 ||
           strcmp(step, "announced") == 0 || strcmp(step, "again") == 0;
}

/* One lane is to stand behind its answer, still the owner of its connection, while
 * another that has the next event of it dies. */
enum { NOTHING, TO_STAND, STANDS, DIED, GO_ON };
static atomic_int act;

static bool plays(const char *step) {
    static _Thread_local bool is_direct;
    is_direct = strcmp(step, "received") == 0 || (is_direct && strcmp(step, "idle") != 0);
    int to_stand = TO_STAND, stands = STANDS;
    uint64_t until_ns = dirty_now_ns() + WAIT_MS * DIRTY_NS_PER_MS;
    if (is_direct && strcmp(step, "answered") == 0 &&
        atomic_compare_exchange_strong(&act, &to_stand, STANDS))
        while (atomic_load(&act) != GO_ON && dirty_now_ns() < until_ns)
            poll(NULL, 0, 1);
    return strcmp(step, "woken") == 0 &&
           atomic_compare_exchange_strong(&act, &stands, DIED);
}

/* A lane stands still for a moment, or dies: see thread_workers.h. */
static bool on_step(const char *step) {
    if (atomic_load(&act) != NOTHING && plays(step))
        return true;
    if (hits(atomic_load(&trouble.pause)))
        poll(NULL, 0, (int)dice(dice(8) == 0 ? 30 : 2));
    uint64_t now_ns = dirty_now_ns(), next_ns = atomic_load(&next_death_ns);
    unsigned death = atomic_load(&trouble.death);
    if (!hits(is_sore(step) ? death / 8 : death) || now_ns < next_ns ||
        !atomic_compare_exchange_strong(&next_death_ns, &next_ns,
                                        now_ns + DEATH_EVERY_NS))
        return false;
    atomic_fetch_add(&deaths, 1);
    return true;
}

/* -- Callers ------------------------------------------------------------------------- */

typedef struct caller {
    pthread_t thread;
    unsigned number;
    bool wild; /* hangs up, sends pieces, sends two at once, … */
    uint64_t until_ns;
    unsigned first, next; /* its calls of this test */
    int fd;               /* -1: not connected */
    dirty_buf out;
    unsigned values, lost, ended, late;
    char complaint[160]; /* "": none */
} caller;

/* How a call ended. */
typedef enum fate { VALUE, LOST, ENDED, LATE, REFUSED, WRONG } fate;

static fate complain(caller *c, unsigned call, const char *what) {
    if (c->complaint[0] == '\0')
        snprintf(c->complaint, sizeof c->complaint,
                 "caller %u, call %u, ran %u times: %s", c->number, call,
                 call < CALLERS * CALLS_MAX ? atomic_load(&ran[call]) : 0, what);
    return WRONG;
}

static void hang_up(caller *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void connect_again(caller *c) {
    hang_up(c);
    c->fd = rig_connect(&the_rig);
}

static void add_request(caller *c, unsigned call, const char *name, const char *action,
                        uint32_t budget_ms, size_t blob) {
    char text[16];
    size_t len = (size_t)snprintf(text, sizeof text, "%u", call);
    dirty_route route = {.budget_ms = budget_ms,
                         .priority = 5,
                         .argc = 1 + (blob > 0),
                         .app = dirty_slice_cstr(name),
                         .action = dirty_slice_cstr(action)};
    size_t all =
        DIRTY_VALUE_HEAD_LEN + len + (blob > 0 ? DIRTY_VALUE_HEAD_LEN + blob : 0);
    dirty_request_encode_head(&c->out, call, &route, all);
    dirty_value_append(&c->out, DIRTY_TAG_JSON, text, (uint32_t)len);
    if (blob > 0) {
        static const uint8_t zeros[20000];
        dirty_value_append(&c->out, DIRTY_TAG_BYTES, zeros, (uint32_t)blob);
    }
}

/* Send the requests in `out`, in two pieces if `cut` is not 0. An error shows when the
 * answer is read. */
static void send_requests(caller *c, size_t cut) {
    const uint8_t *at = c->out.base;
    size_t left = c->out.len;
    if (cut > 0 && cut < left) {
        if (send(c->fd, at, cut, MSG_NOSIGNAL) != (ssize_t)cut)
            left = cut;
        at += cut;
        left -= cut;
        poll(NULL, 0, (int)dice(3));
    }
    while (left > 0) {
        ssize_t n = send(c->fd, at, left, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        at += n;
        left -= (size_t)n;
    }
    c->out.len = 0;
}

/* Returns 1, 0 (the connection has ended) or -1 (nothing comes). */
static int read_all(const caller *c, uint8_t *to, size_t len) {
    while (len > 0) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (poll(&p, 1, WAIT_MS) <= 0)
            return -1;
        ssize_t n = recv(c->fd, to, len, 0);
        if (n <= 0)
            return 0;
        to += n;
        len -= (size_t)n;
    }
    return 1;
}

static fate judge_value(caller *c, unsigned call, const uint8_t *payload, size_t len) {
    char text[16];
    snprintf(text, sizeof text, "%u", call);
    if (len != 7 + strlen(text) || memcmp(payload + 7, text, strlen(text)) != 0)
        return complain(c, call, "another value");
    return atomic_load(&ran[call]) == 1 ? VALUE : complain(c, call, "a value");
}

static fate judge_error(caller *c, unsigned call, const uint8_t *payload, size_t len) {
    dirty_error e;
    if (dirty_error_decode(payload, len, &e) != DIRTY_WIRE_OK)
        return complain(c, call, "a broken error");
    bool no = memmem(e.details.base, e.details.len, "\"started\":\"no\"", 14) != NULL;
    unsigned times = atomic_load(&ran[call]);
    if (times > 1 || (no && times > 0))
        return complain(c, call, dirty_code_name(e.code));
    switch (e.code) {
    case DIRTY_CODE_WORKER_LOST: return LOST;
    case DIRTY_CODE_TIMEOUT: return LATE;
    case DIRTY_CODE_APP_NOT_FOUND: return REFUSED;
    default: return complain(c, call, dirty_code_name(e.code));
    }
}

static fate read_answer(caller *c, unsigned call) {
    uint8_t head[DIRTY_FRAME_HEADER_LEN], payload[4096];
    dirty_frame f;
    int got = read_all(c, head, sizeof head);
    if (got == 1 && (dirty_frame_decode(head, sizeof head, sizeof payload, &f) != 0 ||
                     f.payload_len > sizeof payload))
        return complain(c, call, "no frame");
    if (got == 1)
        got = read_all(c, payload, f.payload_len);
    if (got < 0)
        return complain(c, call, "no answer");
    if (got == 0)
        return atomic_load(&ran[call]) <= 1 ? ENDED : complain(c, call, "the end");
    if (f.id != call)
        return complain(c, call, "the answer to another call");
    return f.type == DIRTY_FRAME_RESPONSE ? judge_value(c, call, payload, f.payload_len)
           : f.type == DIRTY_FRAME_ERROR  ? judge_error(c, call, payload, f.payload_len)
                                          : complain(c, call, "another frame");
}

static fate expect(caller *c, unsigned call) {
    fate how = read_answer(c, call);
    c->values += how == VALUE;
    c->lost += how == LOST;
    c->ended += how == ENDED;
    c->late += how == LATE;
    if (how == ENDED || how == WRONG)
        hang_up(c);
    return how;
}

static void expect_silence(caller *c, unsigned call) {
    char byte;
    if (c->fd >= 0 && recv(c->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) > 0)
        complain(c, call, "a second answer");
}

static void expect_end(caller *c, unsigned call) {
    uint8_t byte;
    if (c->fd >= 0 && read_all(c, &byte, 1) != 0)
        complain(c, call, "no end");
    hang_up(c);
}

/* One call as most are. */
static void call_plainly(caller *c, const char *action, uint32_t budget_ms, size_t cut,
                         size_t blob) {
    unsigned call = c->next++;
    add_request(c, call, "counted", action, budget_ms, blob);
    send_requests(c, cut);
    expect(c, call);
    if (dice(16) == 0)
        expect_silence(c, call);
}

static void call_two_at_once(caller *c) {
    unsigned call = c->next;
    c->next += 2;
    add_request(c, call, "counted", "run", 0, 0);
    add_request(c, call + 1, "counted", dice(2) ? "run" : "sleep", 0, 0);
    send_requests(c, 0);
    if (expect(c, call) != ENDED && c->fd >= 0)
        expect(c, call + 1);
}

static void call_and_hang_up(caller *c) {
    unsigned call = c->next++;
    add_request(c, call, "counted", dice(2) ? "run" : "sleep", 0, 0);
    send_requests(c, 0);
    if (dice(2) == 0)
        poll(NULL, 0, (int)dice(2));
    hang_up(c);
}

static void call_half_closed(caller *c) {
    unsigned call = c->next++;
    add_request(c, call, "counted", "run", 0, 0);
    send_requests(c, 0);
    shutdown(c->fd, SHUT_WR);
    expect(c, call);
    expect_end(c, call);
}

static void call_nobody(caller *c) {
    unsigned call = c->next++;
    add_request(c, call, "nobody", "run", 0, 0);
    send_requests(c, 0);
    fate how = expect(c, call);
    if (how != REFUSED && how != ENDED)
        complain(c, call, "an answer of an app that does not exist");
}

static void call_wildly(caller *c) {
    switch (dice(400)) {
    case 0: call_two_at_once(c); break;
    case 1: call_and_hang_up(c); break;
    case 2: call_half_closed(c); break;
    case 3: call_nobody(c); break;
    case 4: call_plainly(c, "run", 0, 1 + dice(40), 0); break;
    case 5: call_plainly(c, "run", 0, 0, 5000 + dice(15000)); break;
    case 6:
    case 7: call_plainly(c, "sleep", 0, 0, 0); break;
    case 8: hang_up(c); break;
    case 9: poll(NULL, 0, (int)dice(10)); break;
    default: call_plainly(c, "run", dice(20) == 0 ? 400 : 0, 0, 0);
    }
}

static void *make_calls(void *arg) {
    caller *c = arg;
    unsigned end = (c->number + 1) * CALLS_MAX - 1; /* some calls are two */
    while (c->next < end && c->complaint[0] == '\0' && dirty_now_ns() < c->until_ns) {
        if (c->fd < 0)
            connect_again(c);
        if (c->wild)
            call_wildly(c);
        else
            call_plainly(c, "run", 0, 0, 0);
    }
    expect_silence(c, c->next - 1);
    hang_up(c);
    dirty_buf_deinit(&c->out);
    return NULL;
}

/* -- A run --------------------------------------------------------------------------- */

typedef struct outcome {
    unsigned calls, values, lost, ended, late, deaths, twice;
} outcome;

static unsigned next_call[CALLERS];

static void prepare_callers(caller *callers, unsigned count, bool wild) {
    const char *given = getenv("DIRTY_RIG_SECONDS");
    uint64_t seconds = given ? strtoull(given, NULL, 10) : SECONDS;
    uint64_t until_ns = dirty_now_ns() + seconds * 1000 * DIRTY_NS_PER_MS;
    for (unsigned i = 0; i < count; i++) {
        callers[i] = (caller){.number = i, .wild = wild, .until_ns = until_ns, .fd = -1};
        callers[i].first = callers[i].next = i * CALLS_MAX + next_call[i];
    }
}

static void start_callers(caller *callers, unsigned count, bool wild) {
    prepare_callers(callers, count, wild);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(
            pthread_create(&callers[i].thread, NULL, make_calls, &callers[i]), 0);
}

static outcome await_callers(caller *callers, unsigned count) {
    outcome all = {0};
    for (unsigned i = 0; i < count; i++) {
        pthread_join(callers[i].thread, NULL);
        const caller *c = &callers[i];
        next_call[i] = c->next - i * CALLS_MAX;
        all.calls += c->next - c->first;
        all.values += c->values;
        all.lost += c->lost;
        all.ended += c->ended;
        all.late += c->late;
    }
    all.deaths = atomic_load(&deaths);
    for (unsigned i = 0; i < CALLERS * CALLS_MAX; i++)
        all.twice += atomic_load(&ran[i]) > 1;
    print_message("%u calls: %u values, %u lost, %u ended, %u late; %u lanes died\n",
                  all.calls, all.values, all.lost, all.ended, all.late, all.deaths);
    for (unsigned i = 0; i < count; i++)
        if (callers[i].complaint[0] != '\0')
            fail_msg("%s", callers[i].complaint);
    assert_int_equal(all.twice, 0);
    return all;
}

static unsigned long long counter(const char *name) {
    char key[40];
    char *status = rig_status(&the_rig);
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(status, key);
    assert_non_null(at);
    unsigned long long value = strtoull(at + strlen(key), NULL, 10);
    free(status);
    return value;
}

static void await_lanes(unsigned count) {
    char words[40];
    snprintf(words, sizeof words, "\"workers\":%u,\"ready\":%u,", count, count);
    rig_wait_status(&the_rig, words);
}

/* How often the arbiter has gone to sleep so far. */
static unsigned long long arbiter_sleeps(void) {
    char path[64], line[128];
    unsigned long long sleeps = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", atomic_load(&arbiter_tid));
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        sscanf(line, "voluntary_ctxt_switches: %llu", &sleeps);
    fclose(f);
    return sleeps;
}

static outcome run_callers(unsigned count, bool wild) {
    caller callers[CALLERS];
    start_callers(callers, count, wild);
    return await_callers(callers, count);
}

/* -- Tests --------------------------------------------------------------------------- */

/* And the arbiter sleeps. */
static void one_caller_and_two_lanes(void **state) {
    (void)state;
    unsigned long long direct = counter("direct"), sleeps = arbiter_sleeps();
    outcome all = run_callers(1, false);
    sleeps = arbiter_sleeps() - sleeps;
    assert_int_equal(all.values, all.calls);
    assert_true(counter("direct") - direct > all.calls / 2);
    if (sleeps > 500 + all.calls / 5)
        fail_msg("the arbiter woke %llu times in %u calls", sleeps, all.calls);
}

static void callers_beside_one_another(void **state) {
    (void)state;
    unsigned long long direct = counter("direct");
    outcome all = run_callers(CALLERS, false);
    assert_int_equal(all.values, all.calls);
    assert_true(counter("direct") - direct > all.calls / 2);
}

static void callers_that_do_what_they_like(void **state) {
    (void)state;
    outcome all = run_callers(CALLERS, true);
    assert_int_equal(all.lost, 0);
    assert_int_equal(all.ended, 0);
}

static void lanes_that_stand_still(void **state) {
    (void)state;
    atomic_store(&trouble.pause, 300);
    outcome all = run_callers(CALLERS, true);
    atomic_store(&trouble.pause, 0);
    assert_int_equal(all.lost, 0);
    assert_int_equal(all.ended, 0);
}

static void lanes_lose_no_event(void **state) {
    (void)state;
    atomic_store(&nobody_looks, true);
    outcome all = run_callers(CALLERS, false);
    atomic_store(&trouble.pause, 1000);
    outcome more = run_callers(CALLERS, true);
    atomic_store(&trouble.pause, 0);
    atomic_store(&nobody_looks, false);
    assert_int_equal(all.values, all.calls);
    assert_int_equal(more.lost, 0);
    assert_int_equal(more.ended, 0);
}

static void await_holds(unsigned count) {
    uint64_t until_ns = dirty_now_ns() + WAIT_MS * DIRTY_NS_PER_MS;
    while (atomic_load(&holds) < count) {
        assert_true(dirty_now_ns() < until_ns);
        poll(NULL, 0, 1);
    }
}

/* The answer is to be expected when the test has let go. */
static void hold_lane(caller *c) {
    unsigned before = atomic_load(&holds);
    add_request(c, c->next, "counted", "hold", 0, 0);
    send_requests(c, 0);
    await_holds(before + 1);
}

/* A shared connection, if lanes take requests themselves. */
static caller connect_caller(unsigned number) {
    caller c = {.number = number, .fd = -1};
    c.next = number * CALLS_MAX + next_call[number];
    return c;
}

static void share(caller *c) {
    if (c->fd < 0)
        connect_again(c);
    for (int k = 0; k < 6; k++)
        call_plainly(c, "run", 0, 0, 0);
}

static void disconnect_caller(caller *c) {
    hang_up(c);
    dirty_buf_deinit(&c->out);
    next_call[c->number] = c->next - c->number * CALLS_MAX;
    assert_string_equal(c->complaint, "");
}

/* A caller that leaves while its request waits for a lane is not served, also if the
 * arbiter is late to see it. */
static void who_leaves_while_it_waits_is_not_served(void **state) {
    caller c[4];
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        c[i] = connect_caller(i);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 4; i++)
            share(&c[i]);
        atomic_store(&nobody_looks, round % 2 == 0);
        hold_lane(&c[0]);
        hold_lane(&c[1]);
        unsigned left = c[2].next++;
        add_request(&c[2], left, "counted", "run", 0, 0);
        send_requests(&c[2], 0);
        hang_up(&c[2]);
        add_request(&c[3], c[3].next, "counted", "run", 0, 0);
        send_requests(&c[3], 0);
        atomic_fetch_add(&let_go, 2);
        for (int i = 0; i < 4; i++)
            if (i != 2)
                expect(&c[i], c[i].next++);
        atomic_store(&nobody_looks, false);
        assert_int_equal(atomic_load(&ran[left]), 0);
    }
    for (int i = 0; i < 4; i++)
        disconnect_caller(&c[i]);
}

/* A lane learns together with the request that the caller has shut down its sending side.
 * If the arbiter then adopts the call, it must learn that too: no event tells it. */
static void a_half_closed_caller_whose_call_is_adopted(void **state) {
    caller c[3];
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        c[i] = connect_caller(i);
        share(&c[i]);
    }
    atomic_store(&nobody_looks, true);
    hold_lane(&c[0]);
    hold_lane(&c[1]);
    unsigned before = atomic_load(&holds);
    add_request(&c[2], c[2].next, "counted", "hold", 0, 0);
    send_requests(&c[2], 0);
    shutdown(c[2].fd, SHUT_WR);
    atomic_fetch_add(&let_go, 2);
    for (int i = 0; i < 2; i++)
        expect(&c[i], c[i].next++);
    await_holds(before + 1);
    free(rig_status(&the_rig)); /* adopts what runs */
    atomic_fetch_add(&let_go, 1);
    expect(&c[2], c[2].next++);
    expect_end(&c[2], c[2].next - 1);
    atomic_store(&nobody_looks, false);
    for (int i = 0; i < 3; i++)
        disconnect_caller(&c[i]);
}

/* The same if the lane can't serve the request, and gives it to the arbiter. */
static void a_half_closed_caller_whose_request_goes_back(void **state) {
    caller c[3];
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        c[i] = connect_caller(i);
        share(&c[i]);
    }
    atomic_store(&nobody_looks, true);
    hold_lane(&c[0]);
    hold_lane(&c[1]);
    add_request(&c[2], c[2].next, "nobody", "run", 0, 0);
    send_requests(&c[2], 0);
    shutdown(c[2].fd, SHUT_WR);
    atomic_fetch_add(&let_go, 2);
    for (int i = 0; i < 2; i++)
        expect(&c[i], c[i].next++);
    assert_int_equal(expect(&c[2], c[2].next++), REFUSED);
    expect_end(&c[2], c[2].next - 1);
    atomic_store(&nobody_looks, false);
    for (int i = 0; i < 3; i++)
        disconnect_caller(&c[i]);
}

/* Two callers of one lane, of which one has a shared connection, and the other comes by
 * the arbiter. They send at the same time, and both must get answers before they go on.
 * So if lane and arbiter miss each other, nothing else wakes them. */
static atomic_uint rounds[2];

static void *meet(void *arg) {
    caller *c = arg;
    while (c->next < c->number * CALLS_MAX + CALLS_MAX - 1 && c->complaint[0] == '\0' &&
           dirty_now_ns() < c->until_ns) {
        unsigned call = c->next++;
        unsigned round = atomic_fetch_add(&rounds[c->number], 1);
        while (atomic_load(&rounds[1 - c->number]) <= round &&
               dirty_now_ns() < c->until_ns)
            sched_yield();
        for (volatile unsigned spin = dice(c->number == 0 ? 1000 : 100000); spin > 0;
             spin--)
            continue; /* the lane gets both at any distance */
        add_request(c, call, c->number == 0 ? "counted" : "general", "run", 0, 0);
        send_requests(c, 0);
        expect(c, call);
    }
    hang_up(c);
    dirty_buf_deinit(&c->out);
    return NULL;
}

static void lane_and_arbiter_do_not_miss_each_other(void **state) {
    caller callers[2];
    (void)state;
    kill(getpid(), SIGTTOU);
    await_lanes(1);
    atomic_store(&nobody_looks, true);
    atomic_store(&trouble.pause, 30);
    prepare_callers(callers, 2, false);
    for (int i = 0; i < 2; i++) {
        connect_again(&callers[i]);
        assert_int_equal(pthread_create(&callers[i].thread, NULL, meet, &callers[i]), 0);
    }
    outcome all = await_callers(callers, 2);
    atomic_store(&trouble.pause, 0);
    atomic_store(&nobody_looks, false);
    kill(getpid(), SIGTTIN);
    await_lanes(2);
    assert_int_equal(all.values, all.calls);
    assert_true(all.calls > 100);
}

/* A lane dies with the event of a connection that another one owns. */
static void an_event_that_dies_beside_its_owner(void **state) {
    caller c = connect_caller(0);
    (void)state;
    share(&c);
    atomic_store(&nobody_looks, true);
    unsigned long long respawns = counter("respawns");
    uint64_t until_ns = dirty_now_ns() + WAIT_MS * DIRTY_NS_PER_MS;
    atomic_store(&act, TO_STAND);
    while (atomic_load(&act) == TO_STAND && dirty_now_ns() < until_ns) {
        call_plainly(&c, "run", 0, 0, 0);
        poll(NULL, 0, 1); /* a lane may be between its answer and the step */
    }
    unsigned call = c.next++;
    add_request(&c, call, "counted", "run", 0, 0);
    send_requests(&c, 0);
    while (counter("respawns") == respawns && dirty_now_ns() < until_ns)
        poll(NULL, 0, 1);
    await_lanes(2);
    assert_int_equal(atomic_load(&act), DIED);
    atomic_store(&act, GO_ON);
    expect(&c, call);
    atomic_store(&act, NOTHING);
    atomic_store(&nobody_looks, false);
    disconnect_caller(&c);
}

static void lanes_that_die(void **state) {
    (void)state;
    atomic_store(&nobody_looks, true);
    atomic_store(&trouble.pause, 1000);
    atomic_store(&trouble.death, 400);
    outcome all = run_callers(CALLERS, true);
    atomic_store(&trouble.pause, 0);
    atomic_store(&trouble.death, 0);
    atomic_store(&nobody_looks, false);
    await_lanes(2);
    assert_true(all.deaths > 0);
    assert_true(all.lost + all.ended <= all.deaths);
}

/* Lanes are told to stop, and new ones come. */
static void lanes_that_come_and_go(void **state) {
    (void)state;
    caller callers[CALLERS];
    start_callers(callers, CALLERS, true);
    while (dirty_now_ns() < callers[0].until_ns) {
        kill(getpid(), SIGTTIN);
        await_lanes(3);
        kill(getpid(), SIGTTOU);
        await_lanes(2);
    }
    outcome all = await_callers(callers, CALLERS);
    assert_int_equal(all.lost, 0);
    assert_int_equal(all.ended, 0);
}

/* -- The arbiter --------------------------------------------------------------------- */

static void *run_arbiter(void *arg) {
    const rig *r = arg;
    atomic_store(&arbiter_tid, gettid());
    arbiter_status = dirty_arbiter_run(&r->o);
    return NULL;
}

static int set_up(void **state) {
    static char path[3 * PATH_MAX + 100];
    char here[PATH_MAX], log[128];
    rig *r = &the_rig;
    sigset_t all, before;
    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    snprintf(path, sizeof path, "%s/spec/apps/?.lua;%s/lua/?.lua;%s/lua/?/init.lua", here,
             here, here);
    rig_init(r);
    r->apps[0] = (dirty_app_spec){.name = "counted",
                                  .module = "counted",
                                  .options = "{}",
                                  .timeout_ms = 60000,
                                  .max_queue = 1000,
                                  .interruptible = true};
    /* An app of which lanes take no requests themselves. */
    r->apps[1] = r->apps[0];
    r->apps[1].name = "general";
    r->apps[1].exclusive = true;
    r->o.app_count = 2;
    r->o.workers = 2;
    r->o.fast_path = true;
    r->o.lua_path = path;
    r->o.lua_cpath = NULL;
    r->o.timeout_grace_ms = 20000;
    snprintf(log, sizeof log, "%.90s/log", r->dir);
    dirty_log_open(log, DIRTY_LOG_INFO);
    thread_workers_open(on_step);
    assert_int_equal(pthread_create(&arbiter_thread, NULL, run_arbiter, r), 0);
    close(rig_connect(r));
    rig_wait_status(r, "\"ready\":true");
    /* The arbiter's thread takes the signals of the process. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    kill(getpid(), SIGTERM);
    pthread_join(arbiter_thread, NULL);
    assert_int_equal(arbiter_status, 0);
    assert_int_equal(thread_workers_killed(), 0);
    for (unsigned i = 0; i < CALLERS * CALLS_MAX; i++)
        assert_true(atomic_load(&ran[i]) <= 1);
    rig_remove(&the_rig);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_caller_and_two_lanes),
        cmocka_unit_test(callers_beside_one_another),
        cmocka_unit_test(callers_that_do_what_they_like),
        cmocka_unit_test(lanes_that_stand_still),
        cmocka_unit_test(lanes_lose_no_event),
        cmocka_unit_test(who_leaves_while_it_waits_is_not_served),
        cmocka_unit_test(a_half_closed_caller_whose_call_is_adopted),
        cmocka_unit_test(a_half_closed_caller_whose_request_goes_back),
        cmocka_unit_test(lane_and_arbiter_do_not_miss_each_other),
        cmocka_unit_test(an_event_that_dies_beside_its_owner),
        cmocka_unit_test(lanes_that_die),
        cmocka_unit_test(lanes_that_come_and_go),
    };
    harness_choose_tests();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
