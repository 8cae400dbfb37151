#include "arbiter/service.h"

#include "arbiter/listener.h"
#include "arbiter/refusal.h"
#include "arbiter/status.h"
#include "base/log.h"

/* RESPONSE with one value, JSON. */
static void answer_json(session *s, const void *json, size_t len) {
    dirty_buf frame = {0};
    uint8_t head[DIRTY_FRAME_HEADER_LEN + 2] = {0};
    dirty_frame_encode(head, DIRTY_FRAME_RESPONSE,
                       (uint32_t)(2 + DIRTY_VALUE_HEAD_LEN + len), s->id);
    head[DIRTY_FRAME_HEADER_LEN + 1] = 1;
    dirty_buf_append(&frame, head, sizeof head);
    dirty_value_append(&frame, DIRTY_TAG_JSON, json, (uint32_t)len);
    app_count(s->a, NULL, DIRTY_CODE_NONE, 0);
    if (dirty_buf_failed(&frame))
        session_close(s);
    else
        session_answer(s, frame.base, frame.len, true);
    dirty_buf_deinit(&frame);
}

static void do_status(session *s) {
    dirty_buf json = {0};
    status_append(s->a, &json);
    if (dirty_buf_failed(&json))
        session_close(s);
    else
        answer_json(s, json.base, json.len);
    dirty_buf_deinit(&json);
}

static void do_stop(session *s) {
    dirty_log(DIRTY_LOG_INFO, "told to stop", "by_pid=%d by_uid=%u", (int)s->peer_pid,
              (unsigned)s->peer_uid);
    answer_json(s, "true", 4);
    arbiter_drain(s->a);
}

static const struct {
    const char *name;
    bool changes; /* for root and the socket's owner only */
    void (*run)(session *s);
} actions[] = {
    {"status", false, do_status},
    {"stop", true, do_stop},
};

static bool may_change(const session *s) {
    return s->peer_uid == 0 || s->peer_uid == listener_owner(s->a);
}

static void refuse_action(session *s) {
    refusal r = {DIRTY_CODE_ACTION_NOT_FOUND, "no", NULL, ",\"app\":\"@arbiter\"", false};
    refuse(s, &r, "@arbiter has no action \"%s\"; it has: status, stop", s->action);
}

static void refuse_denied(session *s) {
    refusal r = {DIRTY_CODE_DENIED, "no", NULL, ",\"app\":\"@arbiter\"", false};
    refuse(
        s, &r,
        "@arbiter %s is for root and the socket's owner (uid %u), the caller is uid %u",
        s->action, (unsigned)listener_owner(s->a), (unsigned)s->peer_uid);
}

void service_answer(session *s, dirty_slice app_name) {
    if (!s->whole) {
        refusal r = {DIRTY_CODE_PROTOCOL, "no", NULL, NULL, true};
        refuse(s, &r, "a request to a reserved app is at most %d bytes long",
               DIRTY_HEAD_BYTES_MAX);
        return;
    }
    if (!dirty_slice_equals(app_name, "@arbiter", 8)) {
        refuse_app(s, app_name);
        return;
    }
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(actions[i].name, s->action) != 0)
            continue;
        if (actions[i].changes && !may_change(s))
            refuse_denied(s);
        else
            actions[i].run(s);
        return;
    }
    refuse_action(s);
}
