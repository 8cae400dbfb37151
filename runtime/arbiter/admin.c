#include "arbiter/admin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "arbiter/notify.h"
#include "arbiter/lane.h"
#include "arbiter/listener.h"
#include "arbiter/metrics.h"
#include "arbiter/pool.h"
#include "arbiter/recent.h"
#include "arbiter/ready_lanes.h"
#include "arbiter/reply.h"
#include "arbiter/reload.h"
#include "arbiter/status.h"
#include "arbiter/stop.h"
#include "base/log.h"
#include "base/safe_file.h"

/* Answer with a RESPONSE of one value. */
static void answer_value(conn *c, dirty_value_tag tag, const void *bytes, size_t len) {
    dirty_buf frame = {0};
    uint8_t head[DIRTY_FRAME_HEADER_LEN + 2] = {0};
    dirty_frame_encode(head, DIRTY_FRAME_RESPONSE,
                       (uint32_t)(2 + DIRTY_VALUE_HEAD_LEN + len), c->request.id);
    head[DIRTY_FRAME_HEADER_LEN + 1] = 1;
    dirty_buf_append(&frame, head, sizeof head);
    dirty_value_append(&frame, tag, bytes, (uint32_t)len);
    app_count(c->a, NULL, &(meter_sample){.outcome = DIRTY_CODE_NONE});
    if (dirty_buf_failed(&frame))
        conn_fail(c);
    else
        conn_answer(c, frame.base, frame.len, true);
    dirty_buf_deinit(&frame);
}

static void answer_json(conn *c, const void *json, size_t len) {
    answer_value(c, DIRTY_TAG_JSON, json, len);
}

/* See what lanes do and have counted without the arbiter. */
static void catch_up(arbiter *a) {
    ready_lanes_adopt(a);
    pool_read_pages(a);
}

static void make_status(void *ctx, dirty_buf *out) {
    catch_up(ctx);
    status_append(ctx, out);
}

static void make_metrics(void *ctx, dirty_buf *out) {
    catch_up(ctx);
    metrics_append(ctx, out);
}

static void answer_cached(conn *c, dirty_value_tag tag, const dirty_buf *text) {
    if (dirty_buf_failed(text))
        conn_fail(c);
    else
        answer_value(c, tag, text->base, text->len);
}

static void do_metrics(conn *c) {
    answer_cached(
        c, DIRTY_TAG_BYTES,
        answer_cache_get(&c->a->answer_cache, ANSWER_METRICS, make_metrics, c->a));
}

static void do_status(conn *c) {
    answer_cached(
        c, DIRTY_TAG_JSON,
        answer_cache_get(&c->a->answer_cache, ANSWER_STATUS, make_status, c->a));
}

/* -- Arguments ------------------------------------------------------------------- */

/* Get argument n (from 0) as text. It may be bytes, a JSON string or a number. Returns
 * false if it is missing or of another type. */
static bool get_argument(const conn *c, uint32_t n, char *out, size_t size) {
    const uint8_t *payload = c->in.base + DIRTY_FRAME_HEADER_LEN;
    size_t len = c->request.frame_len - DIRTY_FRAME_HEADER_LEN;
    dirty_route route;
    dirty_slice metadata;
    dirty_value_reader args;
    dirty_value v = {0};
    if (dirty_route_decode(payload, len, len, &route) != DIRTY_WIRE_OK ||
        dirty_request_open(payload, len, &route, UINT16_MAX, &metadata, &args) !=
            DIRTY_WIRE_OK ||
        args.left <= n)
        return false;
    for (uint32_t i = 0; i <= n; i++)
        if (dirty_value_next(&args, &v) != DIRTY_WIRE_OK)
            return false;
    dirty_slice text = v.bytes;
    if (v.tag == DIRTY_TAG_JSON && text.len >= 2 && text.base[0] == '"')
        text = (dirty_slice){text.base + 1, text.len - 2};
    if (text.len >= size || memchr(text.base, '\0', text.len) != NULL ||
        dirty_slice_equals(text, "null", 4))
        return false;
    memcpy(out, text.base, text.len);
    out[text.len] = '\0';
    return true;
}

__attribute__((format(printf, 2, 3))) static void
reply_bad_argument(conn *c, const char *format, ...) {
    char message[300];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    error_reply r = {DIRTY_CODE_APP, "no", NULL, ",\"app\":\"@arbiter\"", false};
    reply_error(c, &r, "%s", message);
}

/* Check metadata and arguments against the protocol, even unused ones. Returns false
 * after an error reply. */
static bool check_values(conn *c) {
    const dirty_wire_limits *limits = &c->a->o->limits;
    const uint8_t *payload = c->in.base + DIRTY_FRAME_HEADER_LEN;
    size_t len = c->request.frame_len - DIRTY_FRAME_HEADER_LEN;
    dirty_route route;
    dirty_buf extra = {0};
    char why[200] = "";
    dirty_wire_fault fault = dirty_route_decode(payload, len, len, &route);
    if (fault == DIRTY_WIRE_OK)
        fault = dirty_request_check((dirty_slice){(const char *)payload, len}, &route,
                                    limits->max_args, limits->max_depth, why, sizeof why);
    if (fault == DIRTY_WIRE_OK)
        return true;
    dirty_wire_fault_members(&extra, fault, limits->max_message, limits->max_args);
    dirty_buf_append(&extra, "", 1);
    error_reply r = {DIRTY_CODE_PROTOCOL, "no", "receive",
                     dirty_buf_failed(&extra) ? NULL : (const char *)extra.base, true};
    reply_error(c, &r, "%s", why);
    dirty_buf_deinit(&extra);
    return false;
}

/* Returns the serving worker of the slot in the argument, or NULL after an error
 * reply. */
static worker *get_worker(conn *c, const char *number) {
    char *end;
    unsigned long n = strtoul(number, &end, 10);
    arbiter *a = c->a;
    if (*number < '0' || *number > '9' || (*end != '\0' && *end != '.') || n == 0 ||
        n > a->slot_room || a->slots[n - 1]->worker == NULL) {
        reply_bad_argument(c, "there is no worker \"%s\": `dirty status` lists them",
                           number);
        return NULL;
    }
    return a->slots[n - 1]->worker;
}

/* -- Changes --------------------------------------------------------------------- */

static void do_ping(conn *c) {
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)c->a->pid);
    answer_json(c, pid, strlen(pid));
}

static void do_stop(conn *c) {
    arbiter *a = c->a;
    char how[16] = "graceful";
    get_argument(c, 0, how, sizeof how);
    bool now = strcmp(how, "now") == 0;
    if (!now && strcmp(how, "graceful") != 0) {
        reply_bad_argument(c, "stop \"%s\": must be \"graceful\" or \"now\"", how);
        return;
    }
    answer_json(c, "true", 4);
    if (now)
        stop_now(a, DIRTY_EXIT_OK);
    else
        stop_gracefully(a);
}

static void do_reload(conn *c) {
    char json[64];
    if (c->a->heard.upgrades == DIRTY_UPGRADES_BUSY) {
        reply_bad_argument(c, "an upgrade is running: the new runtime reads the "
                              "configuration when it starts");
        return;
    }
    reload_answer answer = reload_start(c->a);
    if (answer.number == 0) {
        reply_bad_argument(c, "the runtime is stopping: nothing is reloaded");
        return;
    }
    snprintf(json, sizeof json, "{\"reload\":%llu,\"start\":\"%s\"}",
             (unsigned long long)answer.number, answer.start);
    answer_json(c, json, strlen(json));
}

/* Why no upgrade can begin now. NULL: it can. */
static const char *upgrade_hindrance(const arbiter *a) {
    if (a->boot->report_fd <= 0)
        return "this runtime has no supervisor";
    if (a->heard.upgrades == DIRTY_UPGRADES_OFF)
        return "this runtime belongs to the program that has started it by dirty_spawn: "
               "restart that program";
    if (a->heard.upgrades == DIRTY_UPGRADES_BUSY)
        return "an upgrade is running already";
    if (a->reloads)
        return "a reload is running: try again when it has ended";
    return a->phase == ARBITER_SERVING ? NULL : "this runtime is starting or stopping";
}

/* The argument is the limit of the start, in milliseconds. */
static void do_upgrade(conn *c) {
    arbiter *a = c->a;
    char text[16] = "0", json[64], *end;
    get_argument(c, 0, text, sizeof text);
    unsigned long within_ms = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || within_ms > INT32_MAX) {
        reply_bad_argument(c, "upgrade \"%s\": must be a number of milliseconds", text);
        return;
    }
    const char *hindrance = upgrade_hindrance(a);
    if (hindrance != NULL) {
        reply_bad_argument(c, "not upgraded: %s", hindrance);
        return;
    }
    int rc = notify_upgrade(a, (uint32_t)within_ms);
    if (rc < 0) {
        reply_bad_argument(c, "not upgraded: the supervisor can't be told: %s",
                           strerror(-rc));
        return;
    }
    a->heard.upgrades = DIRTY_UPGRADES_BUSY; /* until the supervisor says more */
    snprintf(json, sizeof json, "{\"upgrade\":%u}", a->heard.upgrade_number + 1);
    answer_json(c, json, strlen(json));
}

/* Scale to "4" workers, or by "+1" or "-2". */
static void do_scale(conn *c) {
    arbiter *a = c->a;
    char text[16] = "", why[200], json[32], *end;
    get_argument(c, 0, text, sizeof text);
    long n = strtol(text, &end, 10);
    long target = *text == '+' || *text == '-' ? (long)a->plan->slot_count + n : n;
    if (*text == '\0' || *end != '\0' || target < 1 || target > DIRTY_WORKERS_MAX) {
        reply_bad_argument(
            c, "scale \"%s\": must be a number of workers from 1 to %d, or +N, -N", text,
            DIRTY_WORKERS_MAX);
        return;
    }
    while ((long)a->plan->slot_count != target) {
        int step = (long)a->plan->slot_count < target ? 1 : -1;
        if (pool_scale(a, step, why, sizeof why) < 0) {
            reply_bad_argument(c, "stayed at %u workers: %s", a->plan->slot_count, why);
            return;
        }
    }
    snprintf(json, sizeof json, "{\"workers\":%u}", a->plan->slot_count);
    answer_json(c, json, strlen(json));
}

static void do_kill(conn *c) {
    char number[16] = "", json[32];
    get_argument(c, 0, number, sizeof number);
    worker *w = get_worker(c, number);
    if (w == NULL)
        return;
    snprintf(json, sizeof json, "{\"pid\":%d}", (int)w->pid);
    worker_kill(w, "requested");
    answer_json(c, json, strlen(json));
}

/* Returns the lane of "2" (its first lane) or "2.1", or NULL after an error reply. */
static lane *get_lane(conn *c, const char *name) {
    worker *w = get_worker(c, name);
    if (w == NULL)
        return NULL;
    const char *dot = strchr(name, '.');
    char *end = NULL;
    unsigned long n = dot != NULL ? strtoul(dot + 1, &end, 10) : 0;
    if (n >= w->lane_count || (end != NULL && (*end != '\0' || end == dot + 1))) {
        reply_bad_argument(c, "worker %u has no lane \"%s\": its lanes are %u.0 to %u.%u",
                           w->slot->number, name, w->slot->number, w->slot->number,
                           w->lane_count - 1);
        return NULL;
    }
    return &w->lanes[n];
}

static void do_cancel(conn *c) {
    char name[32] = "";
    get_argument(c, 0, name, sizeof name);
    ready_lanes_adopt(c->a);
    lane *l = get_lane(c, name);
    if (l == NULL)
        return;
    bool busy = l->busy;
    lane_interrupt(l, DIRTY_CODE_CANCELLED);
    answer_json(c, busy ? "true" : "false", busy ? 4 : 5);
}

static void do_reopen_logs(conn *c) {
    int rc = workers_reopen_logs(c->a);
    notify_tell(c->a, DIRTY_REPORT_REOPEN, "%s", "");
    if (rc < 0)
        reply_bad_argument(c,
                           "the log file can't be reopened, the old one is kept: "
                           "%s: %s",
                           dirty_log_path(), dirty_safe_reason(rc));
    else
        answer_json(c, "true", 4);
}

/* List the busy lanes with the tracebacks that have come, and ask for the missing ones.
 * A later call with "read" returns them. Without "read" all are requested again. */
static void do_stack(conn *c) {
    arbiter *a = c->a;
    dirty_buf json = {0};
    const worker *w;
    char how[16] = "";
    bool read = get_argument(c, 0, how, sizeof how) && strcmp(how, "read") == 0;
    if (!a->o->allow_stack) {
        reply_bad_argument(c, "stacks are off, because the signal that takes a traceback "
                              "ends a poll or sleep of the app with EINTR: set "
                              "allow_stack = true in the configuration to turn them on");
        return;
    }
    ready_lanes_adopt(a);
    dirty_buf_append_cstr(&json, "[");
    DL_FOREACH (a->workers, w)
        for (uint32_t i = 0; i < w->lane_count; i++)
            if (w->lanes[i].busy) {
                dirty_buf_append_cstr(&json, json.len > 1 ? "," : "");
                status_append_stack((lane *)&w->lanes[i], !read, &json);
            }
    dirty_buf_append_cstr(&json, "]");
    if (dirty_buf_failed(&json))
        conn_fail(c);
    else
        answer_json(c, json.base, json.len);
    dirty_buf_deinit(&json);
}

/* The last failed and slow calls. Arguments: how many, and the time after which they
 * ended, in seconds since 1970. */
static void do_recent(conn *c) {
    char most_text[16] = "50", after_text[32] = "0", *end;
    get_argument(c, 0, most_text, sizeof most_text);
    get_argument(c, 1, after_text, sizeof after_text);
    unsigned long most = strtoul(most_text, &end, 10);
    if (*most_text < '0' || *most_text > '9' || *end != '\0' || most == 0 ||
        most > RECENT_MOST) {
        reply_bad_argument(c, "recent \"%s\": must be a number of calls from 1 to %d",
                           most_text, RECENT_MOST);
        return;
    }
    double after_s = strtod(after_text, &end);
    if (*after_text < '0' || *after_text > '9' || *end != '\0' || !(after_s < 1e11)) {
        reply_bad_argument(c, "recent after \"%s\": must be seconds since 1970",
                           after_text);
        return;
    }
    dirty_buf json = {0};
    recent_append(c->a, after_s, (uint32_t)most, &json);
    if (dirty_buf_failed(&json))
        conn_fail(c);
    else
        answer_json(c, json.base, json.len);
    dirty_buf_deinit(&json);
}

/* Who may use an action. */
typedef enum action_right {
    FOR_ALL,
    FOR_READERS, /* who may_change; it is not logged, because tools ask often */
    FOR_CHANGES  /* who may_change; it is logged */
} action_right;

static const struct {
    const char *name;
    action_right right;
    void (*run)(conn *c);
} actions[] = {
    {"status", FOR_ALL, do_status},     {"metrics", FOR_ALL, do_metrics},
    {"ping", FOR_ALL, do_ping},         {"recent", FOR_READERS, do_recent},
    {"stop", FOR_CHANGES, do_stop},     {"reload", FOR_CHANGES, do_reload},
    {"scale", FOR_CHANGES, do_scale},   {"kill", FOR_CHANGES, do_kill},
    {"cancel", FOR_CHANGES, do_cancel}, {"reopen_logs", FOR_CHANGES, do_reopen_logs},
    {"stack", FOR_CHANGES, do_stack},   {"upgrade", FOR_CHANGES, do_upgrade},
};
#define ACTION_COUNT (sizeof actions / sizeof *actions)

/* May the caller change things? With admin_users only the listed users may (root only
 * if listed). Without it, root and the socket's owner may. */
static bool may_change(const conn *c) {
    const dirty_arbiter_options *o = c->a->o;
    uid_t owner = listener_owner(c->a);
    if (o->admin_uids == NULL)
        return c->request.peer_uid == 0 ||
               (owner != (uid_t)-1 && c->request.peer_uid == owner);
    for (uint32_t i = 0; i < o->admin_count; i++)
        if (o->admin_uids[i] == c->request.peer_uid)
            return true;
    return false;
}

static void reply_no_action(conn *c) {
    char names[200];
    size_t at = 0;
    for (size_t i = 0; i < ACTION_COUNT; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "",
                               actions[i].name);
    error_reply r = {DIRTY_CODE_ACTION_NOT_FOUND, "no", NULL, ",\"app\":\"@arbiter\"",
                     false};
    reply_error(c, &r, "@arbiter has no action \"%s\"; it has: %s", c->request.action,
                names);
}

/* Write "uid 7, uid 8", as many of admin_users as fit. */
static const char *list_admins(const dirty_arbiter_options *o, char *out, size_t size) {
    size_t at = 0;
    for (uint32_t i = 0; i < o->admin_count && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%suid %u", i ? ", " : "",
                               (unsigned)o->admin_uids[i]);
    return out;
}

static void reply_denied(conn *c) {
    error_reply r = {DIRTY_CODE_DENIED, "no", NULL, ",\"app\":\"@arbiter\"", false};
    const dirty_arbiter_options *o = c->a->o;
    char admins[400];
    if (o->admin_uids == NULL)
        reply_error(c, &r,
                    "@arbiter %s is allowed only for root and the socket's owner (uid "
                    "%u); the caller is uid %u",
                    c->request.action, (unsigned)listener_owner(c->a),
                    (unsigned)c->request.peer_uid);
    else if (o->admin_count == 0)
        reply_error(c, &r,
                    "@arbiter %s is turned off (admin_users); the caller is uid %u",
                    c->request.action, (unsigned)c->request.peer_uid);
    else
        reply_error(c, &r,
                    "@arbiter %s is allowed only for the users that admin_users names "
                    "(%s); the caller is uid %u",
                    c->request.action, list_admins(o, admins, sizeof admins),
                    (unsigned)c->request.peer_uid);
}

static void run_action(conn *c, size_t i) {
    if (actions[i].right != FOR_ALL && !may_change(c)) {
        reply_denied(c);
        return;
    }
    if (actions[i].right == FOR_CHANGES)
        dirty_log(DIRTY_LOG_INFO, "admin request", "action=%s by_pid=%d by_uid=%u",
                  c->request.action, (int)c->request.peer_pid,
                  (unsigned)c->request.peer_uid);
    actions[i].run(c);
}

void admin_answer(conn *c, dirty_slice app_name) {
    if (!c->request.whole) {
        error_reply r = {DIRTY_CODE_PROTOCOL, "no", NULL, NULL, true};
        reply_error(c, &r, "a request to a reserved app must have at most %d bytes",
                    DIRTY_HEAD_BYTES_MAX);
        return;
    }
    if (!dirty_slice_equals(app_name, "@arbiter", 8)) {
        reply_no_app(c, app_name);
        return;
    }
    if (!check_values(c))
        return;
    for (size_t i = 0; i < ACTION_COUNT; i++)
        if (strcmp(actions[i].name, c->request.action) == 0) {
            run_action(c, i);
            return;
        }
    reply_no_action(c);
}
