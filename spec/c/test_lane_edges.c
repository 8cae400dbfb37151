/* The lane at its edges: requests that come in pieces or not at all, callers that leave
 * or don't read, the baton, descriptors that do not arrive. */
#include "lane_rig.h"

#include <sys/stat.h>

#include "base/fdpass.h"

static const dirty_app_spec echo_app = {.name = "apps.echo", .module = "apps.echo"};

#define LARGE (3u << 20)

static int start_rig(void **state) {
    rig *r = calloc(1, sizeof *r);
    rig_init(r, 1);
    r->start.limits.send_timeout_ms = 300;
    rig_add_app(r, &echo_app);
    rig_start(r);
    rig_expect_ready(r);
    *state = r;
    return 0;
}

static int stop_rig(void **state) {
    rig *r = *state;
    rig_stop(r);
    free(r);
    return 0;
}

static dirty_buf request_of(const char *action, size_t bytes) {
    dirty_buf frame = {0}, values = {0};
    char *filler = malloc(bytes + 1);
    assert_non_null(filler);
    for (size_t i = 0; i < bytes; i++)
        filler[i] = (char)(i * 31 + (i >> 8));
    rig_bytes(&values, filler, bytes);
    rig_request(&frame, action, 1, &values);
    free(filler);
    dirty_buf_deinit(&values);
    return frame;
}

/* The first `have` bytes with the dispatch; the rest is the caller's to send. */
static void dispatch_first(rig *r, rig_caller *c, const dirty_buf *frame, size_t have,
                           uint32_t recv_ms) {
    dirty_msg_dispatch head = rig_head(r, 0, have, frame->len);
    head.recv_deadline_ns = dirty_now_ns() + recv_ms * DIRTY_NS_PER_MS;
    rig_send(r, 0, &head, frame->base, c->held);
}

static void assert_length(rig_frame f, unsigned long length) {
    char text[32];
    int n = snprintf(text, sizeof text, "%lu", length);
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    assert_int_equal(f.head.payload_len, 7 + n);
    assert_memory_equal(f.payload + 7, text, n);
    free(f.payload);
}

static void assert_code(rig_frame f, dirty_code code, const char *details) {
    dirty_error e;
    assert_int_equal(f.head.type, DIRTY_FRAME_ERROR);
    assert_int_equal(f.head.id, RIG_ID);
    assert_int_equal(dirty_error_decode(f.payload, f.head.payload_len, &e), 0);
    assert_int_equal(e.code, code);
    if (memmem(e.details.base, e.details.len, details, strlen(details)) == NULL)
        fail_msg("not found: %s\nin: %.*s", details, (int)e.details.len, e.details.base);
    free(f.payload);
}

static void assert_nothing_sent(rig_caller *c) {
    char byte;
    assert_int_equal(recv(c->fd, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

/* A request that the lane can serve: it is still well. */
static void assert_serves(rig *r) {
    rig_caller c = rig_connect();
    dirty_buf frame = request_of("length", 10);
    rig_dispatch(r, 0, &c, &frame);
    assert_length(rig_answer(&c), 10);
    dirty_msg_done done = rig_done(r, 0);
    assert_int_equal(done.outcome, 0);
    assert_int_equal(done.connection, DIRTY_CONNECTION_KEEP);
    dirty_buf_deinit(&frame);
    rig_disconnect(&c);
}

/* -- Large requests ---------------------------------------------------------------- */

static void a_large_echo_comes_back(void **state) {
    rig *r = *state;
    rig_caller c = rig_connect();
    dirty_buf frame = request_of("echo", LARGE);
    /* the answer is read while the request is still being read: never more in flight than
     * the socket takes */
    rig_dispatch(r, 0, &c, &frame);
    rig_frame f = rig_answer(&c);
    assert_int_equal(f.head.payload_len, LARGE + 7);
    assert_memory_equal(f.payload + 7, frame.base + frame.len - LARGE, LARGE);
    free(f.payload);
    assert_int_equal(rig_done(r, 0).connection, DIRTY_CONNECTION_KEEP);
    dirty_buf_deinit(&frame);
    rig_disconnect(&c);
}

static void a_request_may_come_in_any_two_pieces(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", 40);
    for (size_t have = DIRTY_FRAME_HEADER_LEN; have <= frame.len; have++) {
        rig_caller c = rig_connect();
        dispatch_first(r, &c, &frame, have, 20000);
        rig_write(c.fd, frame.base + have, frame.len - have);
        assert_length(rig_answer(&c), 40);
        assert_int_equal(rig_done(r, 0).connection, DIRTY_CONNECTION_KEEP);
        rig_disconnect(&c);
    }
    dirty_buf_deinit(&frame);
}

static void a_request_may_come_byte_by_byte(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", 40);
    rig_caller c = rig_connect();
    dispatch_first(r, &c, &frame, DIRTY_FRAME_HEADER_LEN, 20000);
    for (size_t i = DIRTY_FRAME_HEADER_LEN; i < frame.len; i++) {
        rig_write(c.fd, frame.base + i, 1);
        poll(NULL, 0, 1);
    }
    assert_length(rig_answer(&c), 40);
    rig_done(r, 0);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
}

static void bytes_behind_the_request_stay_in_the_socket(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", 9000);
    rig_caller c = rig_connect();
    dispatch_first(r, &c, &frame, 100, 20000);
    rig_write(c.fd, frame.base + 100, frame.len - 100);
    rig_write(c.fd, "next", 4);
    assert_length(rig_answer(&c), 9000);
    rig_done(r, 0);
    char rest[8];
    assert_int_equal(recv(c.held, rest, sizeof rest, MSG_DONTWAIT), 4);
    assert_memory_equal(rest, "next", 4);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
}

static void a_request_that_does_not_come_is_a_timeout(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", 40);
    rig_caller c = rig_connect();
    dispatch_first(r, &c, &frame, 20, 50);
    assert_code(rig_answer(&c), DIRTY_CODE_TIMEOUT, "\"phase\":\"receive\"");
    dirty_msg_done done = rig_done(r, 0);
    assert_int_equal(done.outcome, DIRTY_CODE_TIMEOUT);
    assert_int_equal(done.connection, DIRTY_CONNECTION_DRAIN);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    assert_serves(r);
}

static void a_trickle_does_not_stretch_the_time(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", 4000);
    rig_caller c = rig_connect();
    uint64_t began = dirty_now_ns();
    dispatch_first(r, &c, &frame, 20, 150);
    struct pollfd p = {.fd = c.fd, .events = POLLIN};
    for (size_t i = 20; i < frame.len && poll(&p, 1, 5) == 0; i++)
        rig_write(c.fd, frame.base + i, 1);
    assert_code(rig_answer(&c), DIRTY_CODE_TIMEOUT, "\"started\":\"no\"");
    assert_true(dirty_now_ns() - began < 10000 * DIRTY_NS_PER_MS);
    rig_done(r, 0);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
}

static void a_deadline_holds_while_the_request_is_read(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", 40);
    rig_caller c = rig_connect();
    dirty_msg_dispatch head = rig_head(r, 0, 20, frame.len);
    head.recv_deadline_ns = 0;
    head.deadline_ns = dirty_now_ns() + 50 * DIRTY_NS_PER_MS;
    rig_send(r, 0, &head, frame.base, c.held);
    assert_code(rig_answer(&c), DIRTY_CODE_TIMEOUT, "\"phase\":\"receive\"");
    rig_done(r, 0);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
}

/* A message with as many descriptors as one likes. */
static void send_descriptors(rig *r, const dirty_msg_dispatch *head, const void *bytes,
                             const int *fds, size_t count) {
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(8 * sizeof(int))];
    } control = {.room = {0}};
    struct iovec iov[] = {{(void *)(uintptr_t)head, sizeof *head},
                          {(void *)(uintptr_t)bytes, head->have_len}};
    struct msghdr m = {.msg_iov = iov,
                       .msg_iovlen = 2,
                       .msg_control = control.room,
                       .msg_controllen = CMSG_SPACE(count * sizeof *fds)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof *fds);
    memcpy(CMSG_DATA(c), fds, count * sizeof *fds);
    assert_int_equal(sendmsg(r->channels[0], &m, MSG_NOSIGNAL),
                     sizeof *head + head->have_len);
}

static size_t count_descriptors(pid_t pid) {
    char path[64];
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count;
}

/* -- Slow senders, whose requests are given back ----------------------------------- */

/* The lane's STALLED: the descriptor of its file, and how much is in it. */
static int expect_stalled(rig *r, uint32_t *have_len) {
    dirty_msg_stalled m = {0};
    dirty_fdpass_room room;
    int fds[DIRTY_FDPASS_MAX];
    struct iovec piece = {&m, sizeof m};
    struct msghdr msg = {.msg_iov = &piece, .msg_iovlen = 1};
    dirty_fdpass_expect(&msg, &room);
    rig_wait_readable(r->channels[0]);
    assert_int_equal(recvmsg(r->channels[0], &msg, MSG_CMSG_CLOEXEC), sizeof m);
    assert_int_equal(dirty_fdpass_take(&msg, fds), 1);
    assert_int_equal(m.kind, DIRTY_MSG_STALLED);
    assert_int_equal(m.seq, r->seq);
    *have_len = m.have_len;
    return fds[0];
}

/* Hand the whole request over in a file, as the arbiter does that has gathered it. */
static void send_gathered(rig *r, const rig_caller *c, int file, size_t frame_len) {
    dirty_msg_dispatch head = rig_head(r, 0, 0, frame_len);
    head.gathered = 1;
    send_descriptors(r, &head, NULL, (int[]){c->held, file}, 2);
}

static void start_impatient(rig *r) {
    rig_init(r, 1);
    r->start.patience_ms = 1;
    rig_add_app(r, &echo_app);
    rig_start(r);
    rig_expect_ready(r);
}

static void a_slow_request_is_given_back_with_its_bytes(void **state) {
    static const size_t lengths[] = {9000, 300000}, cuts[] = {20, 4096, 8192, 100000};
    (void)state;
    rig r;
    start_impatient(&r);
    size_t before = count_descriptors(r.pid);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (size_t k = 0; k < sizeof cuts / sizeof *cuts && cuts[k] < lengths[i]; k++) {
            dirty_buf frame = request_of("length", lengths[i]);
            rig_caller c = rig_connect();
            size_t first = cuts[k] < 8192 ? cuts[k] : 8192;
            dispatch_first(&r, &c, &frame, first, 20000);
            rig_write(c.fd, frame.base + first, cuts[k] - first);
            uint32_t have;
            int file = expect_stalled(&r, &have);
            assert_in_range(have, first, cuts[k]);
            uint8_t *bytes = malloc(frame.len);
            assert_int_equal(pread(file, bytes, frame.len, 0), have);
            assert_memory_equal(bytes, frame.base, have);
            free(bytes);
            assert_nothing_sent(&c);
            assert_int_equal(pwrite(file, frame.base + have, frame.len - have, have),
                             frame.len - have);
            send_gathered(&r, &c, file, frame.len);
            assert_length(rig_answer(&c), lengths[i]);
            assert_int_equal(rig_done(&r, 0).connection, DIRTY_CONNECTION_KEEP);
            close(file);
            rig_disconnect(&c);
            dirty_buf_deinit(&frame);
        }
    assert_int_equal(count_descriptors(r.pid), before);
    rig_stop(&r);
}

/* The lane of the rig would wait for a minute where nobody else waits. */
static void no_lane_waits_for_a_sender_while_others_wait(void **state) {
    (void)state;
    rig r;
    rig_init(&r, 1);
    rig_add_app(&r, &echo_app);
    rig_start(&r);
    rig_expect_ready(&r);
    dirty_buf frame = request_of("length", 20000);
    rig_caller c = rig_connect();
    rig_write(c.fd, frame.base + 8192, 100);
    dirty_msg_dispatch head = rig_head(&r, 0, 8192, frame.len);
    head.others_wait = 1;
    uint64_t sent_ns = dirty_now_ns();
    rig_send(&r, 0, &head, frame.base, c.held);
    uint32_t have;
    close(expect_stalled(&r, &have));
    assert_int_equal(have, 8292);
    assert_in_range((dirty_now_ns() - sent_ns) / DIRTY_NS_PER_MS, 0, RIG_WAIT_MS / 4);
    rig_disconnect(&c);

    /* One that sends without pauses keeps it: what has come is worth a wait. */
    dirty_buf large = request_of("length", 3000000);
    c = rig_connect();
    rig_write(c.fd, large.base + 8192, 60000);
    head = rig_head(&r, 0, 8192, large.len);
    head.others_wait = 1;
    rig_send(&r, 0, &head, large.base, c.held);
    rig_write(c.fd, large.base + 68192, large.len - 68192);
    assert_length(rig_answer(&c), 3000000);
    assert_int_equal(rig_done(&r, 0).connection, DIRTY_CONNECTION_KEEP);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    dirty_buf_deinit(&large);
    rig_stop(&r);
}

/* Whoever else has the file may have cut it short. */
static void a_gathered_request_that_was_cut_is_lost_alone(void **state) {
    (void)state;
    rig r;
    start_impatient(&r);
    dirty_buf frame = request_of("length", 9000);
    rig_caller c = rig_connect();
    int file = memfd_create("cut", MFD_CLOEXEC);
    assert_int_equal(write(file, frame.base, 5000), 5000);
    send_gathered(&r, &c, file, frame.len);
    assert_int_equal(rig_done(&r, 0).connection, DIRTY_CONNECTION_LOST);
    close(file);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    assert_serves(&r);
    rig_stop(&r);
}

/* -- Long strings among other arguments, which the lane receives in place ---------- */

#define LONG (200u << 10) /* what the lane may receive where Lua will have it */

static void append_filler(dirty_buf *values, size_t len) {
    char *filler = malloc(len);
    assert_non_null(filler);
    for (size_t i = 0; i < len; i++)
        filler[i] = (char)(i * 7 + len);
    rig_bytes(values, filler, len);
    free(filler);
}

/* `echo` of these values, with `have` bytes dispatched, gives them back. */
static void assert_echoes(rig *r, const dirty_buf *values, uint16_t argc, size_t have) {
    dirty_buf frame = {0};
    rig_caller c = rig_connect();
    rig_request(&frame, "echo", argc, values);
    dispatch_first(r, &c, &frame, have, 20000);
    rig_write(c.fd, frame.base + have, frame.len - have);
    rig_frame f = rig_answer(&c);
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    assert_int_equal(f.head.payload_len, values->len + 2);
    assert_memory_equal(f.payload + 2, values->base, values->len);
    free(f.payload);
    assert_int_equal(rig_done(r, 0).connection, DIRTY_CONNECTION_KEEP);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
}

static void a_long_string_of_any_length_comes_back(void **state) {
    for (size_t more = 0; more < 9; more++) {
        dirty_buf v = {0};
        append_filler(&v, LONG + more);
        assert_echoes(*state, &v, 1, 4096);
        assert_echoes(*state, &v, 1, 4096); /* now there is such a string already */
        dirty_buf_deinit(&v);
    }
}

static void a_long_string_comes_back_from_between_others(void **state) {
    dirty_buf v = {0};
    rig_json(&v, "[1,true]");
    append_filler(&v, LONG);
    rig_json(&v, "false");
    append_filler(&v, LONG + 1);
    append_filler(&v, 3);
    assert_echoes(*state, &v, 5, 4096);
    dirty_buf_deinit(&v);
}

static void a_long_string_may_be_cut_anywhere(void **state) {
    dirty_buf v = {0}, frame = {0};
    rig_json(&v, "1");
    append_filler(&v, LONG);
    rig_json(&v, "2");
    rig_request(&frame, "echo", 3, &v);
    size_t head = frame.len - v.len;
    for (size_t have = DIRTY_FRAME_HEADER_LEN; have < head + 24; have++)
        assert_echoes(*state, &v, 3, have);
    dirty_buf_deinit(&v);
    dirty_buf_deinit(&frame);
}

static void what_is_wrong_behind_a_long_string_is_told(void **state) {
    rig *r = *state;
    static const struct {
        const char *last;
        size_t len;
        uint16_t argc;
        const char *fault;
    } wrong[] = {{"m\0\0\0\1x", 6, 2, "\"fault\":\"BAD_TAG\""},
                 {"j\0\0\0\2x", 6, 2, "\"fault\":\"TRUNCATED\""},
                 {"j\0\0\0\1{", 6, 2, "\"fault\":\"BAD_JSON\""},
                 {"j\0\0\0\0011", 6, 1, "\"fault\":\"BAD_COUNT\""},
                 {"j\0\0\0\0011", 6, 3, "\"fault\":\"BAD_COUNT\""}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        dirty_buf v = {0}, frame = {0};
        append_filler(&v, LONG);
        dirty_buf_append(&v, wrong[i].last, wrong[i].len);
        rig_request(&frame, "echo", wrong[i].argc, &v);
        rig_caller c = rig_connect();
        rig_dispatch(r, 0, &c, &frame);
        assert_code(rig_answer(&c), DIRTY_CODE_PROTOCOL, wrong[i].fault);
        assert_int_equal(rig_done(r, 0).connection, DIRTY_CONNECTION_DRAIN);
        rig_disconnect(&c);
        dirty_buf_deinit(&v);
        dirty_buf_deinit(&frame);
    }
    assert_serves(r);
}

static void a_string_longer_than_its_message_is_told(void **state) {
    rig *r = *state;
    dirty_buf v = {0}, frame = {0};
    append_filler(&v, LONG);
    v.base[2]++; /* 64 KiB more than there are */
    rig_request(&frame, "echo", 1, &v);
    rig_caller c = rig_connect();
    rig_dispatch(r, 0, &c, &frame);
    assert_code(rig_answer(&c), DIRTY_CODE_PROTOCOL, "\"fault\":\"TRUNCATED\"");
    rig_done(r, 0);
    rig_disconnect(&c);
    dirty_buf_deinit(&v);
    dirty_buf_deinit(&frame);
}

static void a_long_string_may_not_come_whole(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", LONG);
    rig_caller c = rig_connect();
    dispatch_first(r, &c, &frame, 4096, 50);
    rig_write(c.fd, frame.base + 4096, 100000);
    assert_code(rig_answer(&c), DIRTY_CODE_TIMEOUT, "\"action\":\"length\"");
    assert_int_equal(rig_done(r, 0).connection, DIRTY_CONNECTION_DRAIN);
    rig_disconnect(&c);
    c = rig_connect();
    dispatch_first(r, &c, &frame, 4096, 20000);
    rig_write(c.fd, frame.base + 4096, 100000);
    rig_disconnect(&c);
    assert_int_equal(rig_done(r, 0).connection, DIRTY_CONNECTION_LOST);
    dirty_buf_deinit(&frame);
    assert_serves(r);
}

/* -- Callers that leave ------------------------------------------------------------ */

static void a_caller_that_leaves_within_its_request_is_lost(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", 40);
    for (size_t have = DIRTY_FRAME_HEADER_LEN; have < frame.len; have += 7) {
        rig_caller c = rig_connect();
        dispatch_first(r, &c, &frame, have, 20000);
        rig_disconnect(&c);
        dirty_msg_done done = rig_done(r, 0);
        assert_int_equal(done.outcome, DIRTY_CODE_CONNECTION);
        assert_int_equal(done.connection, DIRTY_CONNECTION_LOST);
    }
    dirty_buf_deinit(&frame);
    assert_serves(r);
}

static void half_a_request_and_a_half_close_is_truncated(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", 40);
    rig_caller c = rig_connect();
    shutdown(c.fd, SHUT_WR);
    dispatch_first(r, &c, &frame, 20, 20000);
    assert_code(rig_answer(&c), DIRTY_CODE_PROTOCOL, "\"fault\":\"TRUNCATED\"");
    dirty_msg_done done = rig_done(r, 0);
    assert_int_equal(done.outcome, DIRTY_CODE_PROTOCOL);
    assert_int_equal(done.connection, DIRTY_CONNECTION_DRAIN);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
}

static void a_half_closed_caller_gets_its_answer(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("echo", LARGE);
    rig_caller c = rig_connect();
    dirty_msg_dispatch head = rig_head(r, 0, 100, frame.len);
    rig_send(r, 0, &head, frame.base, c.held);
    rig_write(c.fd, frame.base + 100, frame.len - 100);
    shutdown(c.fd, SHUT_WR);
    rig_frame f = rig_answer(&c);
    assert_int_equal(f.head.payload_len, LARGE + 7);
    free(f.payload);
    assert_int_equal(rig_done(r, 0).connection, DIRTY_CONNECTION_KEEP);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
}

static void a_caller_that_has_left_costs_only_its_answer(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", 40);
    rig_caller c = rig_connect();
    close(c.fd);
    rig_dispatch(r, 0, &(rig_caller){.fd = -1, .held = c.held}, &frame);
    dirty_msg_done done = rig_done(r, 0);
    assert_int_equal(done.outcome, DIRTY_CODE_CONNECTION);
    assert_int_equal(done.connection, DIRTY_CONNECTION_LOST);
    /* framing may be lost: nobody writes here again */
    assert_int_equal(dirty_baton_read(r->pages[0], r->seq), DIRTY_BATON_IDLE);
    close(c.held);
    dirty_buf_deinit(&frame);
    assert_serves(r);
}

static void a_caller_that_does_not_read_is_left(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("echo", LARGE);
    rig_caller c = rig_connect();
    uint64_t began = dirty_now_ns();
    rig_dispatch(r, 0, &c, &frame);
    dirty_msg_done done = rig_done(r, 0); /* nothing was read meanwhile */
    assert_true(dirty_now_ns() - began >= 250 * DIRTY_NS_PER_MS);
    assert_int_equal(done.connection, DIRTY_CONNECTION_LOST);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    assert_serves(r);
}

static void a_slow_reader_gets_all(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("echo", 600000);
    rig_caller c = rig_connect();
    rig_dispatch(r, 0, &c, &frame);
    uint8_t piece[30000];
    size_t got = 0, whole = DIRTY_FRAME_HEADER_LEN + 7 + 600000;
    while (got < whole) {
        size_t want = whole - got < sizeof piece ? whole - got : sizeof piece;
        rig_read(c.fd, piece, want);
        got += want;
        poll(NULL, 0, 2);
    }
    assert_int_equal(rig_done(r, 0).connection, DIRTY_CONNECTION_KEEP);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
}

/* -- The baton --------------------------------------------------------------------- */

static void a_baton_taken_while_reading_drops_the_request(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", 40);
    rig_caller c = rig_connect();
    dispatch_first(r, &c, &frame, 20, 20000);
    assert_true(
        dirty_baton_move(r->pages[0], r->seq, DIRTY_BATON_READING, DIRTY_BATON_TAKEN));
    dirty_msg_done done = rig_done(r, 0); /* without a byte more from the caller */
    assert_int_equal(done.dropped, 1);
    assert_nothing_sent(&c);
    assert_int_equal(dirty_baton_read(r->pages[0], r->seq), DIRTY_BATON_IDLE);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    assert_serves(r);
}

static void a_baton_taken_while_the_app_runs_drops_the_answer(void **state) {
    rig *r = *state;
    dirty_buf frame = {0}, v = {0};
    rig_json(&v, "100");
    rig_request(&frame, "sleep", 1, &v);
    rig_caller c = rig_connect();
    rig_dispatch(r, 0, &c, &frame);
    uint64_t deadline = dirty_now_ns() + RIG_WAIT_MS * DIRTY_NS_PER_MS;
    while (
        !dirty_baton_move(r->pages[0], r->seq, DIRTY_BATON_RUNNING, DIRTY_BATON_TAKEN)) {
        assert_true(dirty_now_ns() < deadline);
        poll(NULL, 0, 1);
    }
    assert_int_equal(rig_done(r, 0).dropped, 1);
    assert_nothing_sent(&c);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    dirty_buf_deinit(&v);
    assert_serves(r);
}

/* -- Descriptors ------------------------------------------------------------------- */

static void a_dispatch_without_descriptor_is_given_back(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("length", 40);
    dirty_msg_dispatch head = rig_head(r, 0, frame.len, frame.len);
    rig_send(r, 0, &head, frame.base, -1);
    struct {
        dirty_msg_plain plain;
        uint8_t given[sizeof(dirty_msg_dispatch) + 256];
    } m;
    size_t whole = sizeof head + frame.len;
    assert_int_equal(rig_message(r, 0, &m, sizeof m), sizeof m.plain + whole);
    assert_int_equal(m.plain.kind, DIRTY_MSG_NO_DESCRIPTOR);
    assert_int_equal(m.plain.len, whole);
    assert_memory_equal(m.given, &head, sizeof head);
    assert_memory_equal(m.given + sizeof head, frame.base, frame.len);
    dirty_buf_deinit(&frame);
    assert_serves(r);
}

static void at_the_limit_of_descriptors_the_request_is_given_back(void **state) {
    (void)state;
    rig r;
    rig_init(&r, 1);
    rig_add_app(&r, &echo_app);
    rig_start(&r);
    rig_expect_ready(&r);
    struct rlimit before;
    assert_int_equal(prlimit(r.pid, RLIMIT_NOFILE, NULL, &before), 0);
    struct rlimit none = {0, before.rlim_max};
    assert_int_equal(prlimit(r.pid, RLIMIT_NOFILE, &none, NULL), 0);
    rig_caller c = rig_connect();
    dirty_buf frame = request_of("length", 40);
    rig_dispatch(&r, 0, &c, &frame);
    uint8_t m[1024];
    assert_int_equal(rig_message(&r, 0, m, sizeof m),
                     sizeof(dirty_msg_plain) + sizeof(dirty_msg_dispatch) + frame.len);
    assert_int_equal(((dirty_msg_plain *)m)->kind, DIRTY_MSG_NO_DESCRIPTOR);
    assert_nothing_sent(&c);
    assert_int_equal(prlimit(r.pid, RLIMIT_NOFILE, &before, NULL), 0);
    rig_dispatch(&r, 0, &c, &frame);
    assert_length(rig_answer(&c), 40);
    rig_done(&r, 0);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    rig_stop(&r);
}

/* A second descriptor has no room, and the kernel says that something was cut off. */
static void more_descriptors_than_one_are_given_back(void **state) {
    rig *r = *state;
    assert_serves(r);
    size_t before = count_descriptors(r->pid);
    dirty_buf frame = request_of("length", 40);
    dirty_msg_dispatch head = rig_head(r, 0, frame.len, frame.len);
    rig_caller c = rig_connect();
    send_descriptors(r, &head, frame.base, (int[]){c.held, c.held, c.held}, 3);
    uint8_t m[1024];
    assert_int_equal(rig_message(r, 0, m, sizeof m),
                     sizeof(dirty_msg_plain) + sizeof head + frame.len);
    assert_int_equal(((dirty_msg_plain *)m)->kind, DIRTY_MSG_NO_DESCRIPTOR);
    assert_nothing_sent(&c);
    assert_int_equal(count_descriptors(r->pid), before);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
    assert_serves(r);
}

static void no_descriptor_is_kept(void **state) {
    rig *r = *state;
    assert_serves(r);
    size_t before = count_descriptors(r->pid);
    for (int i = 0; i < 20; i++)
        assert_serves(r);
    a_caller_that_leaves_within_its_request_is_lost(state);
    assert_int_equal(count_descriptors(r->pid), before);
}

static void the_flags_of_the_connection_are_left_alone(void **state) {
    rig *r = *state;
    dirty_buf frame = request_of("echo", LARGE);
    rig_caller c = rig_connect();
    int before = fcntl(c.held, F_GETFL);
    rig_dispatch(r, 0, &c, &frame);
    free(rig_answer(&c).payload);
    rig_done(r, 0);
    assert_int_equal(fcntl(c.held, F_GETFL), before);
    rig_disconnect(&c);
    dirty_buf_deinit(&frame);
}

/* -- Programs that an app starts ----------------------------------------------------- */

/* They would keep the caller's connection open, and could read and write it. */
#define STARTER                                       \
    "local ffi = require 'ffi'\n"                     \
    "ffi.cdef 'int close(int);'\n"                    \
    "local M = {}\n"                                  \
    "function M.close_stdin()\n"                      \
    "    return ffi.C.close(0)\n"                     \
    "end\n"                                           \
    "function M.started_has()\n"                      \
    "    local ls = io.popen 'ls -l /proc/self/fd'\n" \
    "    local list = ls:read '*a'\n"                 \
    "    ls:close()\n"                                \
    "    return list\n"                               \
    "end\n"                                           \
    "return M\n"

/* What a program has that an app starts while it serves `c`, as a list of symlinks. */
static void assert_starts_without(rig *r, rig_caller *c, int file) {
    dirty_buf frame = {0};
    struct stat st;
    char connection[40];
    rig_request(&frame, "started_has", 0, NULL);
    if (file < 0) {
        rig_dispatch(r, 0, c, &frame);
    } else {
        assert_int_equal(pwrite(file, frame.base, frame.len, 0), frame.len);
        send_gathered(r, c, file, frame.len);
    }
    rig_frame f = rig_answer(c);
    assert_int_equal(f.head.type, DIRTY_FRAME_RESPONSE);
    assert_int_equal(rig_done(r, 0).outcome, 0);
    assert_int_equal(fstat(c->held, &st), 0);
    snprintf(connection, sizeof connection, "socket:[%lu]", (unsigned long)st.st_ino);
    const char *list = (const char *)f.payload + 7;
    assert_non_null(strstr(list, "/fd")); /* it has one of that directory at least */
    if (strstr(list, connection) != NULL || strstr(list, "of a test") != NULL)
        fail_msg("it has %s or the request:\n%s", connection, list);
    free(f.payload);
    dirty_buf_deinit(&frame);
}

static void what_an_app_starts_has_nothing_of_the_caller(void **state) {
    static const dirty_app_spec app = {.name = "starter", .module = "starter"};
    (void)state;
    rig r;
    rig_apps apps;
    rig_apps_open(&apps);
    rig_apps_write(&apps, "starter", STARTER);
    rig_init(&r, 1);
    r.start.lua_path = apps.path;
    rig_add_app(&r, &app);
    rig_start(&r);
    rig_expect_ready(&r);
    rig_caller c = rig_connect();
    int file = memfd_create("request of a test", MFD_CLOEXEC);
    assert_starts_without(&r, &c, -1);
    assert_starts_without(&r, &c, file);

    /* what would be descriptor 0 is moved up */
    dirty_buf frame = {0};
    for (int i = 0; i < 2; i++) {
        rig_request(&frame, "close_stdin", 0, NULL);
        rig_dispatch(&r, 0, &c, &frame);
        rig_frame f = rig_answer(&c);
        assert_memory_equal(f.payload + 7, "0", 1);
        free(f.payload);
        rig_done(&r, 0);
        assert_starts_without(&r, &c, i == 0 ? -1 : file);
    }
    dirty_buf_deinit(&frame);
    close(file);
    rig_disconnect(&c);
    rig_stop(&r);
    rig_apps_close(&apps);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_echo_comes_back),
        cmocka_unit_test(a_request_may_come_in_any_two_pieces),
        cmocka_unit_test(a_request_may_come_byte_by_byte),
        cmocka_unit_test(a_slow_request_is_given_back_with_its_bytes),
        cmocka_unit_test(no_lane_waits_for_a_sender_while_others_wait),
        cmocka_unit_test(a_gathered_request_that_was_cut_is_lost_alone),
        cmocka_unit_test(bytes_behind_the_request_stay_in_the_socket),
        cmocka_unit_test(a_request_that_does_not_come_is_a_timeout),
        cmocka_unit_test(a_trickle_does_not_stretch_the_time),
        cmocka_unit_test(a_deadline_holds_while_the_request_is_read),
        cmocka_unit_test(a_long_string_of_any_length_comes_back),
        cmocka_unit_test(a_long_string_comes_back_from_between_others),
        cmocka_unit_test(a_long_string_may_be_cut_anywhere),
        cmocka_unit_test(what_is_wrong_behind_a_long_string_is_told),
        cmocka_unit_test(a_string_longer_than_its_message_is_told),
        cmocka_unit_test(a_long_string_may_not_come_whole),
        cmocka_unit_test(a_caller_that_leaves_within_its_request_is_lost),
        cmocka_unit_test(half_a_request_and_a_half_close_is_truncated),
        cmocka_unit_test(a_half_closed_caller_gets_its_answer),
        cmocka_unit_test(a_caller_that_has_left_costs_only_its_answer),
        cmocka_unit_test(a_caller_that_does_not_read_is_left),
        cmocka_unit_test(a_slow_reader_gets_all),
        cmocka_unit_test(a_baton_taken_while_reading_drops_the_request),
        cmocka_unit_test(a_baton_taken_while_the_app_runs_drops_the_answer),
        cmocka_unit_test(a_dispatch_without_descriptor_is_given_back),
        cmocka_unit_test(at_the_limit_of_descriptors_the_request_is_given_back),
        cmocka_unit_test(more_descriptors_than_one_are_given_back),
        cmocka_unit_test(no_descriptor_is_kept),
        cmocka_unit_test(the_flags_of_the_connection_are_left_alone),
        cmocka_unit_test(what_an_app_starts_has_nothing_of_the_caller),
    };
    return cmocka_run_group_tests(tests, start_rig, stop_rig);
}
