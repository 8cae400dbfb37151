#include "client/request.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "client/alloc.h"

#define ARGS_MIN 8
#define ARGC_MAX UINT16_MAX

/* -- Building ----------------------------------------------------------------------- */

static bool name_is_valid(const char *name) {
    size_t len = name != NULL ? strnlen(name, DIRTY_NAME_MAX + 1) : 0;
    for (size_t i = 0; i < len; i++)
        if (name[i] < 0x21 || name[i] > 0x7e)
            return false;
    return len > 0 && len <= DIRTY_NAME_MAX;
}

static dirty_slice copy_name(char *room, const char *name) {
    size_t len = strlen(name);
    memmove(room, name, len + 1);
    return (dirty_slice){room, len};
}

static int set_names(dirty_request *r, const char *app, const char *action) {
    if (r == NULL || !name_is_valid(app) || !name_is_valid(action))
        return DIRTY_EINVALID;
    r->app_name = copy_name(r->app, app);
    r->action_name = copy_name(r->action, action);
    r->priority = DIRTY_PRIORITY_DEFAULT;
    r->budget_ms = 0;
    r->failed = 0;
    r->why[0] = '\0';
    r->values_len = 0;
    r->has_metadata = false;
    r->argc = 0;
    return 0;
}

/* Names that start with '@' call the runtime itself. An app's name may come from somebody
 * else, from a URL for instance, who must not be able to do that. So such a request is
 * refused when it is called. */
int dirty_request_reset(dirty_request *r, const char *app, const char *action) {
    int rc = set_names(r, app, action);
    if (rc == 0 && app[0] == '@')
        dirty_request_refuse(r, DIRTY_EDENIED,
                             "names that start with @ belong to the runtime: use "
                             "dirty_request_new_arbiter");
    return rc;
}

int dirty_request_reset_arbiter(dirty_request *r, const char *action) {
    return set_names(r, "@arbiter", action);
}

int dirty_request_new_arbiter(dirty_request **out, const char *action) {
    int rc = dirty_request_new(out, "@arbiter", action);
    return rc == 0 ? dirty_request_reset_arbiter(*out, action) : rc;
}

int dirty_request_new(dirty_request **out, const char *app, const char *action) {
    *out = NULL;
    if (!name_is_valid(app) || !name_is_valid(action))
        return DIRTY_EINVALID;
    dirty_request *r = dirty_realloc(NULL, sizeof *r);
    if (r == NULL)
        return DIRTY_EMEMORY;
    memset(r, 0, sizeof *r);
    *out = r;
    return dirty_request_reset(r, app, action);
}

void dirty_request_free(dirty_request *r) {
    if (r == NULL)
        return;
    dirty_dealloc(r->args);
    dirty_dealloc(r);
}

int dirty_request_refuse(dirty_request *r, int code, const char *format, ...) {
    va_list args;
    if (r == NULL || r->failed != 0)
        return code;
    va_start(args, format);
    vsnprintf(r->why, sizeof r->why, format, args);
    va_end(args);
    return r->failed = code;
}

static int refuse_memory(dirty_request *r) {
    return dirty_request_refuse(
        r, DIRTY_EMEMORY, "out of memory in the client for the request's arguments");
}

/* Make room for one more argument and the metadata. */
static int grow(dirty_request *r) {
    if (r->argc + 1 < r->cap)
        return 0;
    uint32_t cap = r->cap ? r->cap * 2 : ARGS_MIN;
    dirty_arg *args = dirty_realloc(r->args, cap * sizeof *args);
    if (args == NULL)
        return DIRTY_EMEMORY;
    r->args = args;
    r->cap = cap;
    return 0;
}

static void set_arg(dirty_request *r, uint32_t at, dirty_value_tag tag, dirty_slice s) {
    dirty_arg *arg = &r->args[at];
    arg->data = s.base ? s.base : "";
    arg->len = (uint32_t)s.len;
    dirty_value_encode_head(arg->head, tag, arg->len);
    r->values_len += DIRTY_VALUE_HEAD_LEN + s.len;
}

static int add(dirty_request *r, dirty_value_tag tag, dirty_slice s) {
    if (r == NULL)
        return DIRTY_EINVALID;
    if (r->argc == ARGC_MAX)
        return dirty_request_refuse(r, DIRTY_EINVALID, "it has more than %d arguments",
                                    ARGC_MAX);
    if (s.len > UINT32_MAX)
        return dirty_request_refuse(r, DIRTY_EINVALID,
                                    "argument %u has %zu bytes, the maximum is %u",
                                    r->argc + 1, s.len, UINT32_MAX);
    if (s.base == NULL && s.len > 0)
        return dirty_request_refuse(r, DIRTY_EINVALID,
                                    "argument %u is NULL, with a length of %zu bytes",
                                    r->argc + 1, s.len);
    if (grow(r) < 0)
        return refuse_memory(r);
    set_arg(r, ++r->argc, tag, s);
    return 0;
}

int dirty_request_add_bytes(dirty_request *r, const void *data, size_t len) {
    return add(r, DIRTY_TAG_BYTES, (dirty_slice){data, len});
}

int dirty_request_add_json(dirty_request *r, const char *text, size_t len) {
    return add(r, DIRTY_TAG_JSON, (dirty_slice){text, len});
}

/* Add text that is stored in the argument itself. */
static int add_text(dirty_request *r, const char *text, size_t len) {
    int rc = add(r, DIRTY_TAG_JSON, (dirty_slice){text, len});
    if (rc == 0) {
        memcpy(r->args[r->argc].text, text, len);
        r->args[r->argc].data = NULL;
    }
    return rc;
}

int dirty_request_add_string(dirty_request *r, const char *text) {
    if (r == NULL || text != NULL)
        return dirty_request_add_bytes(r, text, text != NULL ? strlen(text) : 0);
    return dirty_request_refuse(r, DIRTY_EINVALID, "argument %u is NULL, not a string",
                                r->argc + 1);
}

int dirty_request_add_integer(dirty_request *r, long long value) {
    char text[DIRTY_NUMBER_TEXT_MAX];
    int len = snprintf(text, sizeof text, "%lld", value);
    return add_text(r, text, (size_t)len);
}

int dirty_request_add_number(dirty_request *r, double value) {
    char text[DIRTY_NUMBER_TEXT_MAX];
    size_t len = dirty_number_format(text, value);
    if (r == NULL || len > 0)
        return add_text(r, text, len);
    return dirty_request_refuse(r, DIRTY_EINVALID,
                                "argument %u is %g: must be a finite number", r->argc + 1,
                                value);
}

int dirty_request_add_boolean(dirty_request *r, int value) {
    return value ? add_text(r, "true", 4) : add_text(r, "false", 5);
}

int dirty_request_add_nil(dirty_request *r) {
    return add_text(r, "null", 4);
}

int dirty_request_set_metadata(dirty_request *r, const char *text, size_t len) {
    if (r == NULL)
        return DIRTY_EINVALID;
    if (len > UINT32_MAX)
        return dirty_request_refuse(r, DIRTY_EINVALID,
                                    "its metadata has %zu bytes, the maximum is %u", len,
                                    UINT32_MAX);
    if (grow(r) < 0)
        return refuse_memory(r);
    if (r->has_metadata)
        r->values_len -= DIRTY_VALUE_HEAD_LEN + r->args[0].len;
    r->has_metadata = text != NULL;
    if (text != NULL)
        set_arg(r, 0, DIRTY_TAG_JSON, (dirty_slice){text, len});
    return 0;
}

int dirty_request_set_priority(dirty_request *r, int priority) {
    if (r == NULL)
        return DIRTY_EINVALID;
    if (priority < 0 || priority > DIRTY_PRIORITY_LAST)
        return dirty_request_refuse(r, DIRTY_EINVALID,
                                    "priority is %d: must be 0 (first) to %d (last)",
                                    priority, DIRTY_PRIORITY_LAST);
    r->priority = (uint8_t)priority;
    return 0;
}

void dirty_request_set_budget_ms(dirty_request *r, uint32_t budget_ms) {
    if (r != NULL)
        r->budget_ms = budget_ms;
}

uint64_t dirty_request_payload_len(const dirty_request *r) {
    return DIRTY_ROUTE_FIXED_LEN + r->app_name.len + r->action_name.len +
           DIRTY_EXTENSION_WRITTEN_MAX + r->values_len;
}

/* -- Sending ------------------------------------------------------------------------ */

void dirty_outgoing_init(dirty_outgoing *out, const dirty_request *r, uint64_t id,
                         uint32_t budget_ms, uint64_t deadline_ns) {
    dirty_route route = {.budget_ms = budget_ms,
                         .priority = r->priority,
                         .flags = r->has_metadata ? DIRTY_FLAG_METADATA : 0,
                         .argc = (uint16_t)r->argc,
                         .app = r->app_name,
                         .action = r->action_name,
                         .extension = {.deadline_ns = deadline_ns}};
    /* The room is large enough for the longest head, so this buffer never grows. */
    dirty_buf head = {out->head, 0, sizeof out->head, false};
    int rc = dirty_request_encode_head(&head, id, &route, r->values_len);
    assert(rc == 0 && head.base == out->head);
    (void)rc;
    out->request = r;
    out->head_len = head.len;
    out->sent = out->part = out->part_sent = 0;
}

/* Get a part: 0 is the head, then come head and data of each value. Without metadata the
 * values begin at args[1]. False after the last part. */
static bool part_at(const dirty_outgoing *out, size_t part, struct iovec *piece) {
    const dirty_request *r = out->request;
    if (part == 0) {
        *piece = (struct iovec){(void *)out->head, out->head_len};
        return true;
    }
    size_t at = (part - 1) / 2 + (r->has_metadata ? 0 : 1);
    if (at > r->argc)
        return false;
    const dirty_arg *arg = &r->args[at];
    if ((part - 1) % 2 == 0)
        *piece = (struct iovec){(void *)arg->head, sizeof arg->head};
    else
        *piece = (struct iovec){(void *)(arg->data ? arg->data : arg->text), arg->len};
    return true;
}

int dirty_outgoing_next(const dirty_outgoing *out, struct iovec *pieces, int max) {
    int n = 0;
    size_t part = out->part, skip = out->part_sent;
    for (; n < max && part_at(out, part, &pieces[n]); part++) {
        pieces[n].iov_base = (char *)pieces[n].iov_base + skip;
        pieces[n].iov_len -= skip;
        skip = 0;
        if (pieces[n].iov_len > 0)
            n++;
    }
    return n;
}

void dirty_outgoing_advance(dirty_outgoing *out, size_t len) {
    struct iovec piece;
    out->sent += len;
    len += out->part_sent;
    while (part_at(out, out->part, &piece) && len >= piece.iov_len) {
        len -= piece.iov_len;
        out->part++;
    }
    out->part_sent = len;
}
