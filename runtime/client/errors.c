#include "dirty.h"

typedef struct error_row {
    const char *name, *text;
    int http_status;
} error_row;

static const error_row *find_row(int err) {
    static const error_row ok = {"OK", "no error", 200};
    static const error_row invalid = {"INVALID",
                                      "the caller broke the contract of a function", 400};
    static const error_row unknown = {
        "UNKNOWN", "an error code that this version of libdirty does not know", 500};
#define ROW(name, number, http, started, retry, text) [number] = {#name, text, http},
    static const error_row rows[] = {DIRTY_ERRORS(ROW)};
#undef ROW
    if (err == DIRTY_OK)
        return &ok;
    if (err == DIRTY_EINVALID)
        return &invalid;
    if (err > 0 || err <= -(int)(sizeof rows / sizeof *rows) || rows[-err].name == NULL)
        return &unknown;
    return &rows[-err];
}

const char *dirty_err_name(int err) {
    return find_row(err)->name;
}

const char *dirty_strerror(int err) {
    return find_row(err)->text;
}

int dirty_err_http_status(int err) {
    return find_row(err)->http_status;
}

const char *dirty_version(void) {
    return DIRTY_VERSION;
}
