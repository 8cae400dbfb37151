/* format: arguments of a request by a format, in the manner of printf. */
#include <string.h>

#include "client/exchange.h"

/* A copy, so that it can be handed on by address on every platform. */
typedef struct arguments {
    va_list list;
} arguments;

static int add_json_text(dirty_request *r, const char *text) {
    return text == NULL ? DIRTY_EINVALID : dirty_request_add_json(r, text, strlen(text));
}

static int add_bytes(dirty_request *r, arguments *args) {
    const void *data = va_arg(args->list, const void *);
    return dirty_request_add_bytes(r, data, va_arg(args->list, size_t));
}

/* Add what the conversion behind a '%' says; *used its characters. */
static int add_one(dirty_request *r, const char *p, arguments *args, size_t *used) {
    *used = 1;
    if (p[0] == 'l' && p[1] == 'd') {
        *used = 2;
        return dirty_request_add_integer(r, va_arg(args->list, long));
    }
    if (p[0] == 'l' && p[1] == 'l' && p[2] == 'd') {
        *used = 3;
        return dirty_request_add_integer(r, va_arg(args->list, long long));
    }
    switch (p[0]) {
    case 'b': return add_bytes(r, args);
    case 's': return dirty_request_add_string(r, va_arg(args->list, const char *));
    case 'j': return add_json_text(r, va_arg(args->list, const char *));
    case 'd': return dirty_request_add_integer(r, va_arg(args->list, int));
    case 'f': return dirty_request_add_number(r, va_arg(args->list, double));
    case 't': return dirty_request_add_boolean(r, va_arg(args->list, int));
    case 'n': return dirty_request_add_nil(r);
    default: return DIRTY_EINVALID;
    }
}

static int refuse(dirty_request *r, int rc) {
    if (r->failed == 0)
        r->failed = rc;
    return rc;
}

int dirty_request_vaddf(dirty_request *r, const char *format, va_list list) {
    arguments args;
    int rc = 0;
    va_copy(args.list, list);
    for (const char *p = format; *p != '\0' && rc == 0;) {
        size_t used = 0;
        if (*p == '%')
            rc = add_one(r, p + 1, &args, &used);
        else if (*p != ' ' && *p != ',')
            rc = DIRTY_EINVALID;
        if (rc == 0)
            p += 1 + used;
    }
    va_end(args.list);
    return rc < 0 ? refuse(r, rc) : 0;
}

int dirty_request_addf(dirty_request *r, const char *format, ...) {
    va_list list;
    va_start(list, format);
    int rc = dirty_request_vaddf(r, format, list);
    va_end(list);
    return rc;
}

int dirty_callf(dirty_client *c, dirty_reply **out, const char *app, const char *action,
                const char *format, ...) {
    dirty_request *r;
    va_list list;
    *out = NULL;
    int rc = dirty_request_new(&r, app, action);
    if (rc < 0) {
        if (c == NULL || c->broken)
            return rc;
        return dirty_failure_set(&c->failure, rc, "no",
                                 rc == DIRTY_EMEMORY
                                     ? "no memory in the client for a request"
                                     : "app and action must be 1 to 255 bytes of "
                                       "printable ASCII without spaces");
    }
    va_start(list, format);
    dirty_request_vaddf(r, format, list); /* remembered: dirty_call tells it */
    va_end(list);
    rc = dirty_call(c, r, out);
    dirty_request_free(r);
    return rc;
}
