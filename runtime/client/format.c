/* format: adds arguments to a request by a printf-like format. */
#include <string.h>

#include "client/exchange.h"

/* A copy of the va_list that can be passed by address on every platform. */
typedef struct arguments {
    va_list list;
} arguments;

static int add_json_text(dirty_request *r, const char *text) {
    if (text != NULL)
        return dirty_request_add_json(r, text, strlen(text));
    return dirty_request_refuse(r, DIRTY_EINVALID, "argument %u is NULL, not a JSON text",
                                r->argc + 1);
}

static int add_bytes(dirty_request *r, arguments *args) {
    const void *data = va_arg(args->list, const void *);
    return dirty_request_add_bytes(r, data, va_arg(args->list, size_t));
}

static int refuse_conversion(dirty_request *r, const char *p) {
    int len = p[0] == '\0' ? 0 : p[0] == 'l' && p[1] == 'l' && p[2] != '\0' ? 3 : 1;
    if (p[0] == 'l' && p[1] != 'l' && p[1] != '\0')
        len = 2;
    return dirty_request_refuse(
        r, DIRTY_EINVALID,
        "the format has %%%.*s for argument %u, but there are only %%b %%s "
        "%%j %%d %%ld %%lld %%f %%t %%n",
        len, p, r->argc + 1);
}

/* Add the argument of the conversion after a '%'. *used is the length of the
 * conversion. */
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
    default: return refuse_conversion(r, p);
    }
}

static int refuse_text(dirty_request *r, const char *format, const char *p) {
    return dirty_request_refuse(r, DIRTY_EINVALID,
                                "the format \"%.60s\" has '%c' outside of a conversion, "
                                "where only blanks and commas are allowed",
                                format, *p);
}

int dirty_request_vaddf(dirty_request *r, const char *format, va_list list) {
    arguments args;
    int rc = 0;
    if (r == NULL || format == NULL)
        return dirty_request_refuse(r, DIRTY_EINVALID, "the format is NULL");
    va_copy(args.list, list);
    for (const char *p = format; *p != '\0' && rc == 0;) {
        size_t used = 0;
        if (*p == '%')
            rc = add_one(r, p + 1, &args, &used);
        else if (*p != ' ' && *p != ',')
            rc = refuse_text(r, format, p);
        if (rc == 0)
            p += 1 + used;
    }
    va_end(args.list);
    return rc;
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
    if (out == NULL)
        return dirty_refuse_no_place(c);
    *out = NULL;
    int rc = dirty_request_new(&r, app, action);
    if (rc < 0) {
        if (c == NULL || c->broken)
            return rc;
        return dirty_failure_set(&c->failure, rc, "no",
                                 rc == DIRTY_EMEMORY
                                     ? "out of memory in the client for a request"
                                     : "app and action must be 1 to 255 bytes of "
                                       "printable ASCII without spaces");
    }
    va_start(list, format);
    dirty_request_vaddf(r, format, list); /* dirty_call returns a failure */
    va_end(list);
    rc = dirty_call(c, r, out);
    dirty_request_free(r);
    return rc;
}
