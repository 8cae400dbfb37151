#include "worker/lane.h"

#include <errno.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/call_log.h"
#include "base/clock.h"
#include "base/guest.h"
#include "base/log.h"
#include "base/step.h"
#include "wire/frame.h"
#include "worker/request_reader.h"
#include "worker/peer.h"
#include "worker/channel.h"
#include "worker/lua_host.h"
#include "worker/pin.h"
#include "worker/ready.h"

/* Check whether the client has hung up if its request came longer ago than this. The
 * check costs a system call. */
#define UNSEEN_NS (10 * DIRTY_NS_PER_MS)
/* Restore signals after a call that ran longer than this, or after 64 shorter ones. */
#define LONG_RUN_NS DIRTY_NS_PER_MS
#define SHORT_CALLS 64

struct dirty_lane {
    const dirty_worker_start *start; /* borrowed */
    dirty_lane_page *page;           /* shared with the arbiter */
    dirty_host *host;                /* owned */
    dirty_request_reader reader;
    dirty_buf error; /* owned: the ERROR frame that is written */
    dirty_channel channel;
    dirty_ready ready;         /* shared connections */
    dirty_call_counts *counts; /* shared with the arbiter */
    uint32_t short_calls;      /* since dirty_pin_signals ran last */
    dirty_call_log call_log;
};

/* One request and what comes of it. */
typedef struct job {
    const dirty_msg_dispatch *dispatch;
    int fd;      /* borrowed from the channel: the client's connection */
    bool direct; /* of a shared connection */
    uint64_t began_ns;
    dirty_call call;
    dirty_msg_done done;
    int saved; /* owned: a file with the received bytes of a slow request, to be given
                  back to the arbiter; -1: none */
} job;

/* -- Boot -------------------------------------------------------------------------- */

static void boot_failed(dirty_lane *lane, dirty_buf *why) {
    if (dirty_buf_failed(why) || why->len > DIRTY_CHANNEL_TEXT_MAX)
        why->len = 0;
    dirty_msg_plain head = {.kind = DIRTY_MSG_BOOT_FAILED, .len = (uint32_t)why->len};
    dirty_channel_send(&lane->channel, &head, sizeof head, why->base, why->len);
}

/* Report that the runtime's own modules did not load, in the form of an app's failure. */
static void open_failed(dirty_lane *lane, const dirty_buf *reason) {
    dirty_buf why = {0};
    dirty_buf_append_cstr(&why,
                          "{\"app\":\"dirty.lane\",\"phase\":\"load\",\"message\":");
    size_t len = reason->len < 2000 ? reason->len : 2000;
    dirty_buf_json_string(&why, (const char *)reason->base, len);
    dirty_buf_append_cstr(&why, "}");
    boot_failed(lane, &why);
    dirty_buf_deinit(&why);
}

int dirty_lane_open(dirty_lane **out, const dirty_worker_start *start, uint32_t index) {
    dirty_lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL)
        return -ENOMEM;
    lane->start = start;
    lane->page = start->pages[index];
    lane->channel.fd = start->channels[index];
    lane->counts = start->counts[index];
    lane->call_log.every = start->log_failures;
    atomic_store(&lane->page->tid, (uint32_t)gettid());
    dirty_pin_thread();
    dirty_buf why = {0};
    int rc = dirty_host_open(&lane->host, start, &why);
    if (rc < 0) {
        open_failed(lane, &why);
    } else {
        rc = dirty_host_listen(lane->host, lane->page, index == 0);
        if (rc == 0)
            rc = dirty_host_boot(lane->host, &why);
        if (rc < 0)
            boot_failed(lane, &why);
    }
    dirty_buf_deinit(&why);
    lane->reader = (dirty_request_reader){.host = lane->host,
                                          .limits = &start->limits,
                                          .page = lane->page,
                                          .patience_ms = start->patience_ms};
    if (rc == 0)
        rc = dirty_ready_open(&lane->ready, start, lane->page, &lane->channel,
                              dirty_host_has_alarm(lane->host));
    if (rc < 0)
        dirty_lane_close(lane);
    else
        *out = lane;
    return rc;
}

void dirty_lane_close_apps(dirty_lane *lane) {
    dirty_host_close_apps(lane->host);
}

void dirty_lane_close(dirty_lane *lane) {
    dirty_ready_close(&lane->ready);
    dirty_host_close(lane->host);
    dirty_request_reader_deinit(&lane->reader);
    dirty_buf_deinit(&lane->error);
    dirty_call_log_flush(&lane->call_log, true);
    free(lane);
}

/* -- Answers ----------------------------------------------------------------------- */

static bool move(dirty_lane *lane, const job *j, dirty_baton_state from,
                 dirty_baton_state to) {
    return dirty_baton_move(lane->page, j->dispatch->seq, from, to);
}

static void lose(job *j) {
    j->done.outcome = DIRTY_CODE_CONNECTION;
    j->done.connection = DIRTY_CONNECTION_LOST;
}

/* Write one frame if the lane holds the baton. False: the lane may not write to this
 * client any more, and job.done says why. */
static bool write_frame(dirty_lane *lane, job *j, struct iovec *iov, size_t count,
                        dirty_baton_state then) {
    dirty_guest_end("the words for an error"); /* an app's metamethods may have run */
    if (!move(lane, j, DIRTY_BATON_RUNNING, DIRTY_BATON_WRITING)) {
        j->done.dropped = 1;
        return false;
    }
    dirty_step("writing");
    int rc = dirty_peer_write(j->fd, iov, count, lane->start->limits.send_timeout_ms);
    if (rc < 0) {
        /* the baton stays in WRITING: the frame is incomplete, nobody may write here */
        lose(j);
        return false;
    }
    move(lane, j, DIRTY_BATON_WRITING, then);
    dirty_step("answered");
    return true;
}

/* Send the host's failure as an ERROR frame. */
static void answer_error(dirty_lane *lane, job *j) {
    dirty_lane_error *f = dirty_host_error(lane->host);
    dirty_error_origin origin = {.app = lane->start->apps[j->dispatch->app]->name,
                                 .worker = lane->start->number,
                                 .call = &j->call,
                                 .now_ns = dirty_now_ns()};
    lane->error.len = 0;
    lane->error.failed = false;
    dirty_lane_error_encode(f, &origin, &lane->error);
    j->done.outcome = (uint16_t)f->code;
    if (f->code == DIRTY_CODE_PROTOCOL)
        j->done.connection = DIRTY_CONNECTION_DRAIN;
    struct iovec piece = {lane->error.base, lane->error.len};
    if (dirty_buf_failed(&lane->error))
        j->done.connection = DIRTY_CONNECTION_LOST;
    else
        write_frame(lane, j, &piece, 1, DIRTY_BATON_ANSWERED);
}

static bool answer_values(dirty_lane *lane, job *j, dirty_frame_type type,
                          dirty_baton_state then) {
    size_t count;
    struct iovec *iov = dirty_host_answer(lane->host, type, &count);
    return write_frame(lane, j, iov, count, then);
}

static void answer_end(dirty_lane *lane, job *j) {
    uint8_t head[DIRTY_FRAME_HEADER_LEN];
    dirty_frame_encode(head, DIRTY_FRAME_END, 0, j->call.id);
    struct iovec piece = {head, sizeof head};
    write_frame(lane, j, &piece, 1, DIRTY_BATON_ANSWERED);
}

/* -- Handling a request ------------------------------------------------------------ */

static void answer_fault(dirty_lane *lane, job *j, dirty_wire_fault fault,
                         uint32_t argument) {
    dirty_lane_error *f = dirty_host_error(lane->host);
    dirty_lane_error_set(f, DIRTY_CODE_PROTOCOL, "no");
    if (argument > 0)
        dirty_lane_error_sayf(f, "argument %u: ", argument);
    dirty_lane_error_sayf(f, "%s", dirty_wire_fault_text(fault));
    dirty_wire_fault_members(&f->members, fault, lane->start->limits.max_message,
                             lane->start->limits.max_args);
    answer_error(lane, j);
}

static void answer_timeout(dirty_lane *lane, job *j, const char *phase,
                           const char *started) {
    dirty_lane_error *f = dirty_host_error(lane->host);
    dirty_lane_error_set(f, DIRTY_CODE_TIMEOUT, started);
    f->phase = phase;
    if (strcmp(phase, "receive") == 0)
        dirty_lane_error_sayf(
            f, "the request did not arrive completely in time: %zu of %u bytes",
            lane->reader.have, j->dispatch->frame_len);
    else if (strcmp(phase, "queue") == 0)
        dirty_lane_error_sayf(f, "the deadline passed before the request could run");
    else
        dirty_lane_error_sayf(f, "the deadline passed while the request ran");
    answer_error(lane, j);
}

static bool is_late(const job *j, uint64_t now) {
    return j->call.deadline_ns != 0 && now >= j->call.deadline_ns;
}

/* Send the chunks of a stream until it ends or fails. */
static void stream(dirty_lane *lane, job *j) {
    for (;;) {
        dirty_outcome outcome = dirty_host_next(lane->host);
        if (outcome == DIRTY_OUTCOME_FAILED)
            return answer_error(lane, j);
        if (is_late(j, dirty_now_ns()))
            return answer_timeout(lane, j, "run", "yes");
        if (outcome == DIRTY_OUTCOME_END)
            return answer_end(lane, j);
        if (!answer_values(lane, j, DIRTY_FRAME_CHUNK, DIRTY_BATON_RUNNING))
            return;
    }
}

static void run(dirty_lane *lane, job *j) {
    uint64_t began = j->direct ? j->began_ns : dirty_now_ns();
    if (is_late(j, began))
        return answer_timeout(lane, j, "queue", "no");
    if (began - j->dispatch->arrived_ns > UNSEEN_NS && dirty_peer_is_gone(j->fd))
        return lose(j);
    dirty_outcome outcome = dirty_host_call(lane->host, &j->call);
    if (outcome == DIRTY_OUTCOME_STREAM) {
        atomic_store(&lane->page->streaming, j->dispatch->seq);
        stream(lane, j);
        j->done.run_ns = dirty_now_ns() - began;
        return;
    }
    j->done.run_ns = dirty_now_ns() - began;
    if (outcome == DIRTY_OUTCOME_VALUES)
        answer_values(lane, j, DIRTY_FRAME_RESPONSE, DIRTY_BATON_ANSWERED);
    else
        answer_error(lane, j);
}

/* Answer a request that was not received whole. */
static void refuse(dirty_lane *lane, job *j, int rc) {
    bool end =
        rc == -ENODATA &&
        !dirty_peer_is_gone(j->fd); /* the client shut down its sending side only */
    if (!end && rc != -ETIMEDOUT && rc != -ENOMEM)
        return lose(j);
    j->done.connection = DIRTY_CONNECTION_DRAIN;
    uint32_t argument;
    dirty_request_reader_parse(&lane->reader, &j->call, &argument);
    if (end)
        return answer_fault(lane, j, DIRTY_WIRE_TRUNCATED, 0);
    if (rc == -ETIMEDOUT)
        return answer_timeout(lane, j, "receive", "no");
    dirty_lane_error *f = dirty_host_error(lane->host);
    dirty_lane_error_set(f, DIRTY_CODE_MEMORY, "no");
    dirty_lane_error_sayf(f, "out of memory for a request of %u bytes",
                          j->dispatch->frame_len);
    answer_error(lane, j);
}

/* Run a request after it was received with the result `rc`. */
static void handle(dirty_lane *lane, job *j, int rc) {
    if (rc == 0)
        atomic_store_explicit(&lane->page->whole, j->dispatch->seq, memory_order_release);
    if (!move(lane, j, DIRTY_BATON_READING, DIRTY_BATON_RUNNING)) {
        j->done.dropped = 1;
        return;
    }
    dirty_step("running");
    if (rc < 0)
        return refuse(lane, j, rc);
    uint32_t argument;
    dirty_wire_fault fault =
        dirty_request_reader_parse(&lane->reader, &j->call, &argument);
    if (fault == DIRTY_WIRE_MORE) /* the header and the dispatch differ in length */
        fault = DIRTY_WIRE_TRUNCATED;
    if (fault != DIRTY_WIRE_OK)
        return answer_fault(lane, j, fault, argument);
    run(lane, j);
}

static void increment(_Atomic uint64_t *number) {
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static const char *action_of(const job *j, char room[DIRTY_COUNTS_NAME]) {
    snprintf(room, DIRTY_COUNTS_NAME, "%.*s", (int)j->call.action.len,
             j->call.action.len > 0 ? j->call.action.base : "");
    return room;
}

static dirty_recent_facts facts_of(const dirty_lane *lane, const job *j,
                                   uint64_t queue_ns) {
    const dirty_lane_error *f = dirty_host_error(lane->host);
    dirty_recent_facts facts = {
        .ended_ns = dirty_now_ns(),
        .queue_ns = queue_ns,
        .run_ns = j->done.run_ns,
        .code = j->done.outcome,
        .worker = lane->start->number,
        .worker_pid = getpid(),
        .caller_pid = j->dispatch->peer_pid,
        .caller_uid = j->dispatch->peer_uid,
        .app = dirty_slice_cstr(lane->start->apps[j->dispatch->app]->name),
        .action = j->call.action};
    if (j->done.outcome == DIRTY_CODE_CONNECTION)
        facts.message =
            dirty_slice_cstr("the caller hung up, or did not read, before the answer");
    else if (j->done.outcome != DIRTY_CODE_NONE) {
        facts.message = (dirty_slice){(const char *)f->message.base, f->message.len};
        facts.traceback =
            (dirty_slice){(const char *)f->traceback.base, f->traceback.len};
    }
    return facts;
}

/* Remember a call that failed or was slow, for operators who ask, and log it. */
static void note_call(dirty_lane *lane, const job *j, uint64_t queue_ns, bool slow) {
    unsigned code = j->done.outcome;
    dirty_recent_facts facts = facts_of(lane, j, queue_ns);
    dirty_call_words words = {.code = code ? dirty_code_name(code) : "OK",
                              .level = dirty_code_level(code),
                              .by_message = true};
    if (slow || code != DIRTY_CODE_NONE)
        dirty_recent_add(&lane->page->recent, &facts);
    /* MEMORY has a line of its own. */
    if (code != DIRTY_CODE_NONE && code != DIRTY_CODE_MEMORY)
        dirty_call_log_failed(&lane->call_log, &facts, &words);
    if (lane->start->access_log)
        dirty_call_log_access(&facts, words.code);
}

static void log_memory(const dirty_lane *lane, const job *j) {
    const dirty_msg_dispatch *d = j->dispatch;
    char action[DIRTY_COUNTS_NAME];
    dirty_log(DIRTY_LOG_WARN, "call ran out of memory",
              "app=%s action=%s run_ms=%llu worker=%u worker_pid=%d caller_pid=%d "
              "lua_bytes=%llu",
              lane->start->apps[d->app]->name, DIRTY_LOG_QUOTE(action_of(j, action)),
              (unsigned long long)(j->done.run_ns / DIRTY_NS_PER_MS), lane->start->number,
              (int)getpid(), (int)d->peer_pid,
              (unsigned long long)dirty_host_bytes(lane->host));
}

static void log_slow(const dirty_lane *lane, const job *j, uint64_t queue_ns) {
    const dirty_msg_dispatch *d = j->dispatch;
    char action[DIRTY_COUNTS_NAME];
    dirty_log(DIRTY_LOG_WARN, "slow call",
              "app=%s action=%s code=%s queue_ms=%llu run_ms=%llu worker=%u "
              "worker_pid=%d caller_pid=%d",
              lane->start->apps[d->app]->name, DIRTY_LOG_QUOTE(action_of(j, action)),
              j->done.outcome ? dirty_code_name(j->done.outcome) : "OK",
              (unsigned long long)(queue_ns / DIRTY_NS_PER_MS),
              (unsigned long long)(j->done.run_ns / DIRTY_NS_PER_MS), lane->start->number,
              (int)getpid(), (int)d->peer_pid);
}

/* Count a request that this lane has answered. The arbiter counts those that it has
 * answered in this lane's place. */
static void count_call(dirty_lane *lane, const job *j) {
    uint64_t slow_ns = lane->start->slow_log_threshold_ms * DIRTY_NS_PER_MS;
    uint64_t queue_ns = j->began_ns - j->dispatch->arrived_ns;
    unsigned outcome = j->done.outcome;
    dirty_call_counts_add(
        lane->counts,
        &(dirty_call_sample){.app = j->dispatch->app,
                             .action = j->call.action,
                             .outcome = outcome,
                             .resolved = outcome != DIRTY_CODE_ACTION_NOT_FOUND &&
                                         outcome != DIRTY_CODE_PROTOCOL,
                             .queue_ns = queue_ns,
                             .run_ns = j->done.run_ns});
    if (outcome == DIRTY_CODE_MEMORY)
        log_memory(lane, j);
    bool slow = slow_ns > 0 && queue_ns + j->done.run_ns >= slow_ns;
    if (slow)
        log_slow(lane, j, queue_ns);
    if (slow || outcome != DIRTY_CODE_NONE || lane->start->access_log)
        note_call(lane, j, queue_ns, slow);
}

static void count_request(dirty_lane *lane, const job *j) {
    dirty_lane_page *page = lane->page;
    if (!j->done.dropped)
        count_call(lane, j);
    atomic_store(&page->counted, j->dispatch->seq);
    increment(&page->served);
    if (j->direct)
        increment(&page->direct);
    if (j->done.outcome == DIRTY_CODE_MEMORY)
        increment(&page->starved);
    atomic_store_explicit(&page->lua_bytes, dirty_host_bytes(lane->host),
                          memory_order_relaxed);
}

/* Give a slow request back, so that this lane can serve others. The arbiter receives the
 * rest. */
static int give_back_slow(dirty_lane *lane, job *j) {
    dirty_msg_stalled m = {.kind = DIRTY_MSG_STALLED,
                           .have_len = (uint32_t)lane->reader.have,
                           .seq = j->dispatch->seq};
    dirty_channel_close(&lane->channel);
    dirty_baton_end(lane->page, m.seq);
    int rc = dirty_channel_send_file(&lane->channel, &m, j->saved);
    close(j->saved);
    dirty_host_release(lane->host);
    dirty_request_reader_end(&lane->reader);
    return rc;
}

/* Restore signals after a long call or after many short ones. */
static void pin_signals(dirty_lane *lane, const job *j) {
    if (j->done.run_ns < LONG_RUN_NS && ++lane->short_calls < SHORT_CALLS)
        return;
    lane->short_calls = 0;
    dirty_pin_signals(lane->start->apps[j->dispatch->app]->name);
}

static job job_of(const dirty_msg_dispatch *d, int fd, uint64_t now_ns) {
    return (job){.dispatch = d,
                 .fd = fd,
                 .began_ns = now_ns,
                 .call = {.seq = d->seq,
                          .app = d->app,
                          .arrived_ns = d->arrived_ns,
                          .deadline_ns = d->deadline_ns,
                          .peer_pid = d->peer_pid,
                          .peer_uid = d->peer_uid,
                          .fd = fd},
                 .done = {.kind = DIRTY_MSG_DONE, .seq = d->seq},
                 .saved = -1};
}

/* End a request: count it, be idle, report it if the arbiter waits for that, tidy up. */
static int conclude(dirty_lane *lane, job *j) {
    int rc = 0;
    if (j->done.outcome == DIRTY_CODE_MEMORY)
        dirty_host_release_all(lane->host); /* so that lua_bytes is right */
    count_request(lane, j);
    dirty_step("counted");
    dirty_channel_close(&lane->channel);
    if (dirty_baton_end(lane->page, j->dispatch->seq)) {
        dirty_step("unsaid");
        rc = dirty_channel_send(&lane->channel, &j->done, sizeof j->done, NULL, 0);
        dirty_ready_told(&lane->ready, !j->direct);
    }
    dirty_step("idle");
    dirty_host_release(lane->host);
    if (__fpending(stdout) > 0)
        fflush(stdout); /* an app may have made stdout fully buffered */
    pin_signals(lane, j);
    dirty_request_reader_end(&lane->reader);
    return rc;
}

/* Serve a request that the arbiter sent. */
static int serve_dispatch(dirty_lane *lane) {
    job j =
        job_of(&lane->channel.message.dispatch, lane->channel.peer_fd, dirty_now_ns());
    int rc = dirty_request_reader_read(&lane->reader, &lane->channel);
    if (rc == -EINPROGRESS) {
        j.saved = dirty_request_reader_save(&lane->reader);
        if (j.saved >= 0)
            return give_back_slow(lane, &j);
        rc = -ENOMEM;
    }
    handle(lane, &j, rc);
    return conclude(lane, &j);
}

/* Serve a request that this lane took itself. */
static int serve_direct(dirty_lane *lane) {
    const dirty_msg_dispatch *d = &lane->ready.request;
    job j = job_of(d, lane->ready.fd, d->arrived_ns);
    j.direct = true;
    int rc = dirty_ready_begin(&lane->ready);
    if (rc < 0)
        return rc; /* the lane ends, and the arbiter says that the request was not started
                    */
    bool alone = lane->ready.alone && d->deadline_ns != 0;
    if (alone)
        dirty_host_bound(lane->host, d->deadline_ns);
    dirty_request_reader_take(&lane->reader, lane->page->head, d->have_len);
    handle(lane, &j, 0);
    if (alone)
        dirty_host_bound(lane->host, 0);
    rc = dirty_ready_answered(&lane->ready, &j.done);
    int end = conclude(lane, &j);
    return rc < 0 ? rc : end;
}

/* Give a request back that came without its descriptor, because too many are open in this
 * process. The request has not begun. */
static int give_back(dirty_lane *lane) {
    dirty_log(DIRTY_LOG_WARN, "a request came without its descriptor: too many are open",
              "%s", "option=RLIMIT_NOFILE");
    dirty_channel_close(&lane->channel);
    dirty_baton_end(lane->page, lane->channel.message.dispatch.seq);
    dirty_msg_plain head = {.kind = DIRTY_MSG_NO_DESCRIPTOR,
                            .len = (uint32_t)lane->channel.len};
    return dirty_channel_send(&lane->channel, &head, sizeof head, &lane->channel.message,
                              lane->channel.len);
}

/* Handle the message that was received. */
static int serve_message(dirty_lane *lane) {
    const dirty_msg_dispatch *d = &lane->channel.message.dispatch;
    if (d->kind != DIRTY_MSG_DISPATCH) {
        dirty_channel_close(&lane->channel); /* STOP, RESUME, or a late COPY */
        return 0;
    }
    if (d->app >= lane->start->app_count)
        return -EBADMSG;
    if (lane->channel.peer_fd < 0 || (d->gathered && lane->channel.file < 0))
        return give_back(lane);
    return serve_dispatch(lane);
}

/* Wait for the next request or message and handle it. */
static int serve_next(dirty_lane *lane) {
    switch (dirty_ready_next(&lane->ready)) {
    case DIRTY_READY_REQUEST: return serve_direct(lane);
    case DIRTY_READY_BROKEN: return -EBADF;
    case DIRTY_READY_MESSAGE: break;
    }
    int rc = dirty_channel_receive(&lane->channel);
    if (rc < 0)
        return rc;
    dirty_ready_note(&lane->ready);
    return serve_message(lane);
}

int dirty_lane_serve(dirty_lane *lane) {
    dirty_pin_thread(); /* a hook may have run */
    dirty_pin_signals("worker_init");
    dirty_msg_plain ready = {.kind = DIRTY_MSG_READY};
    int rc = dirty_channel_send(&lane->channel, &ready, sizeof ready, NULL, 0);
    while (rc == 0 && !lane->ready.stopped)
        rc = serve_next(lane);
    if (rc == 0 || rc == -EPIPE)
        return 0;
    dirty_log(DIRTY_LOG_ERROR, "the channel to the arbiter is broken: the lane ends",
              "error=%s", DIRTY_LOG_QUOTE(strerror(-rc)));
    return rc;
}
