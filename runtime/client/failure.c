#include "client/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "client/alloc.h"
#include "base/json_peek.h"
#include "dirty.h"
#include "wire/frame.h"
#include "wire/json.h"

void dirty_failure_init(dirty_failure *f) {
    f->payload = NULL;
    dirty_failure_clear(f);
}

void dirty_failure_deinit(dirty_failure *f) {
    dirty_dealloc(f->payload);
    f->payload = NULL;
}

void dirty_failure_clear(dirty_failure *f) {
    dirty_failure_deinit(f);
    f->code = 0;
    f->started = "no";
    f->message = dirty_slice_cstr("");
    f->details = dirty_slice_cstr("{}");
}

int dirty_failure_set(dirty_failure *f, int code, const char *started, const char *format,
                      ...) {
    dirty_failure_clear(f);
    f->code = code;
    f->started = started;
    va_list args;
    va_start(args, format);
    vsnprintf(f->own_message, sizeof f->own_message, format, args);
    va_end(args);
    f->message = dirty_slice_cstr(f->own_message);
    return code;
}

void dirty_failure_describe(dirty_failure *f, dirty_slice app, dirty_slice action,
                            uint64_t elapsed_ms) {
    if (f->code == 0 || f->payload != NULL)
        return;
    /* The room is large enough for both names fully escaped, so this buffer never
     * grows. */
    dirty_buf text = {(uint8_t *)f->own_details, 0, sizeof f->own_details, false};
    dirty_buf_append_cstr(&text, "{\"app\":");
    dirty_buf_json_string(&text, app.base, app.len);
    dirty_buf_append_cstr(&text, ",\"action\":");
    dirty_buf_json_string(&text, action.base, action.len);
    dirty_buf_printf(&text,
                     ",\"phase\":\"client\",\"started\":\"%s\",\"elapsed_ms\":%llu}",
                     f->started, (unsigned long long)elapsed_ms);
    f->details = (dirty_slice){f->own_details, text.len};
}

/* The value of `started` in the details. If it is missing, the one that the code
 * implies. */
static const char *started_of(int code, dirty_slice details) {
    static const char *const words[] = {"no", "yes", "unknown"};
#define STARTED(name, number, http, started, retry, text) [number] = started,
    static const char *const by_code[] = {DIRTY_ERRORS(STARTED)};
#undef STARTED
    dirty_slice told = dirty_json_peek_string(details, "started");
    if (told.base == NULL && -code >= (int)(sizeof by_code / sizeof *by_code))
        return "unknown";
    if (told.base == NULL)
        told = dirty_slice_cstr(by_code[-code]);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (dirty_slice_equals(told, words[i], strlen(words[i])))
            return words[i];
    return "unknown";
}

/* Whether the text is JSON and an object. */
static bool is_object(dirty_slice text) {
    dirty_json_look look;
    size_t at = 0;
    while (at < text.len && strchr(" \t\r\n", text.base[at]) != NULL)
        at++;
    return at < text.len && text.base[at] == '{' &&
           dirty_json_is_valid(text, DIRTY_JSON_DEPTH_MAX, &look);
}

const char *dirty_failure_take(dirty_failure *f, uint8_t *payload, size_t len) {
    dirty_error error;
    dirty_wire_fault fault = dirty_error_decode(payload, len, &error);
    if (fault != DIRTY_WIRE_OK)
        return dirty_wire_fault_text(fault);
    if (error.code == 0)
        return "its error code is 0, which is not an error";
    if (!is_object(error.details))
        return "its details are not a JSON object";
    dirty_failure_clear(f);
    f->payload = payload;
    f->code = -(int)error.code;
    f->message = error.message;
    f->details = error.details;
    f->started = started_of(f->code, error.details);
    /* Terminate both texts in place. The byte after the message is the tag of the
     * details, which is decoded by now. The byte after the details is the spare one. */
    payload[(const uint8_t *)error.message.base - payload + error.message.len] = '\0';
    payload[len] = '\0';
    return NULL;
}
