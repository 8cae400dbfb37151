#include "base/call_log.h"

#include <string.h>

#include "base/clock.h"

/* Lines of all kinds together: at once, and per second. */
#define BURST 20
#define PER_S 2
/* Bytes of a message in a line. */
#define MESSAGE_SIZE 512

typedef struct text {
    char bytes[DIRTY_RECENT_TRACEBACK];
} text;

static void copy(char *out, dirty_slice from, size_t size) {
    size_t len = from.len < size ? from.len : size - 1;
    if (len > 0)
        memcpy(out, from.base, len);
    out[len] = '\0';
}

static const char *cstr(text *room, dirty_slice from, size_t most) {
    copy(room->bytes, from, most);
    return room->bytes;
}

/* FNV-1a without digits: ids and times in messages must not make new kinds. */
static uint64_t hash(uint64_t h, dirty_slice from) {
    for (size_t i = 0; i < from.len; i++)
        if (from.base[i] < '0' || from.base[i] > '9')
            h = (h ^ (unsigned char)from.base[i]) * 0x100000001b3u;
    return (h ^ 0xff) * 0x100000001b3u;
}

static uint64_t key_of(const dirty_recent_facts *f, const dirty_call_words *words) {
    uint64_t h = (0xcbf29ce484222325u ^ f->code) * 0x100000001b3u;
    h = hash(h, f->app);
    if (words->by_message)
        h = hash(h, f->message);
    return h != 0 ? h : 1;
}

static uint64_t next_due_ns(uint64_t now_ns) {
    return now_ns + DIRTY_CALL_LOG_EVERY_MS * DIRTY_NS_PER_MS;
}

/* Tell how many calls of this kind got no line, and forget the kind. */
static void settle(dirty_call_kind *k) {
    if (k->left_out > 0)
        dirty_log(k->level, "more calls failed", "app=%s code=%s calls=%llu",
                  DIRTY_LOG_QUOTE(k->app), k->code, (unsigned long long)k->left_out);
    k->key = k->left_out = 0;
}

void dirty_call_log_flush(dirty_call_log *log, bool all) {
    uint64_t now_ns = dirty_now_ns();
    for (size_t i = 0; i < DIRTY_CALL_LOG_KINDS; i++)
        if (log->kinds[i].left_out > 0 && (all || now_ns >= log->kinds[i].due_ns))
            settle(&log->kinds[i]);
    if (log->others.left_out > 0 && (all || now_ns >= log->others.due_ns))
        settle(&log->others);
}

/* Make room for another kind. A line for each that goes would be one for each call of an
 * app whose messages are always new. */
static void evict(dirty_call_log *log, dirty_call_kind *k) {
    if (k->left_out > 0 && log->others.left_out == 0) {
        log->others.due_ns = next_due_ns(dirty_now_ns());
        log->others.level = k->level;
        log->others.code = "various";
    }
    log->others.left_out += k->left_out;
    *k = (dirty_call_kind){0};
}

/* The entry of the kind, or the one that is due first, emptied for it. */
static dirty_call_kind *find(dirty_call_log *log, uint64_t key) {
    dirty_call_kind *oldest = &log->kinds[0];
    for (size_t i = 0; i < DIRTY_CALL_LOG_KINDS; i++) {
        dirty_call_kind *k = &log->kinds[i];
        if (k->key == key)
            return k;
        if (k->key == 0 ? oldest->key != 0
                        : oldest->key != 0 && k->due_ns < oldest->due_ns)
            oldest = k;
    }
    evict(log, oldest);
    return oldest;
}

static void tell(const dirty_recent_facts *f, const dirty_call_kind *k, bool trace) {
    text action, message, traceback;
    cstr(&traceback, f->traceback, trace ? sizeof traceback.bytes : 1);
    dirty_log(k->level, "call failed",
              "app=%s action=%s code=%s error=%s queue_ms=%llu run_ms=%llu worker=%u "
              "worker_pid=%d caller_pid=%d caller_uid=%u left_out=%llu%s%s",
              DIRTY_LOG_QUOTE(k->app),
              DIRTY_LOG_QUOTE(cstr(&action, f->action, DIRTY_RECENT_NAME)), k->code,
              DIRTY_LOG_QUOTE(cstr(&message, f->message, MESSAGE_SIZE)),
              (unsigned long long)(f->queue_ns / DIRTY_NS_PER_MS),
              (unsigned long long)(f->run_ns / DIRTY_NS_PER_MS), f->worker,
              (int)f->worker_pid, (int)f->caller_pid, (unsigned)f->caller_uid,
              (unsigned long long)k->left_out,
              traceback.bytes[0] != '\0' ? " traceback=" : "",
              traceback.bytes[0] != '\0' ? DIRTY_LOG_QUOTE(traceback.bytes) : "");
}

void dirty_call_log_failed(dirty_call_log *log, const dirty_recent_facts *f,
                           const dirty_call_words *words) {
    if (!dirty_log_takes(words->level))
        return;
    uint64_t key = key_of(f, words), now_ns = dirty_now_ns();
    dirty_call_kind *k = find(log, key);
    if (k->key == key && now_ns < k->due_ns && !log->every) {
        k->left_out++;
        return;
    }
    k->key = key;
    k->level = words->level;
    k->code = words->code;
    copy(k->app, f->app, sizeof k->app);
    k->due_ns = next_due_ns(now_ns);
    if (!log->every && !dirty_bucket_pass(&log->lines, BURST, PER_S)) {
        k->left_out++;
        return;
    }
    tell(f, k, log->every || dirty_log_takes(DIRTY_LOG_DEBUG));
    k->left_out = 0;
    dirty_call_log_flush(log, false);
}

void dirty_call_log_access(const dirty_recent_facts *f, const char *code) {
    text app, action;
    if (!dirty_log_takes(DIRTY_LOG_INFO))
        return;
    dirty_log(DIRTY_LOG_INFO, "call",
              "app=%s action=%s code=%s queue_ms=%.3f run_ms=%.3f worker=%u "
              "caller_pid=%d caller_uid=%u",
              DIRTY_LOG_QUOTE(cstr(&app, f->app, DIRTY_RECENT_NAME)),
              DIRTY_LOG_QUOTE(cstr(&action, f->action, DIRTY_RECENT_NAME)), code,
              (double)f->queue_ns / DIRTY_NS_PER_MS, (double)f->run_ns / DIRTY_NS_PER_MS,
              f->worker, (int)f->caller_pid, (unsigned)f->caller_uid);
}
