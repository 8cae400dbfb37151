/* fuzz_text: any bytes to what C makes of text, and text that we write ourselves. It
 * holds that a JSON string we write is found again in an object, whatever is in it, that
 * nothing is found outside of the text, and that numbers come back as they were. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/number.h"
#include "base/json_peek.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
    if (!holds)
        abort();
}

static void check_string(const char *text, size_t len) {
    dirty_buf object = {0};
    dirty_buf_append_cstr(&object, "{\"a\":");
    dirty_buf_json_string(&object, text, len);
    dirty_buf_append_cstr(&object, ",\"started\":");
    size_t at = object.len;
    dirty_buf_json_string(&object, text, len);
    size_t end = object.len;
    dirty_buf_append_cstr(&object, "}");
    for (size_t i = 0; i < object.len; i++)
        require(object.base[i] >= 0x20 && object.base[i] != 0x7f);
    dirty_slice whole = {(const char *)object.base, object.len};
    dirty_slice found = dirty_json_peek_string(whole, "started");
    require(found.base == whole.base + at + 1 && found.len == end - at - 2);
    dirty_buf_deinit(&object);
}

static void check_peek(const char *text, size_t len) {
    dirty_slice found = dirty_json_peek_string((dirty_slice){text, len}, "started");
    require(found.base == NULL ||
            (found.base > text && found.base + found.len < text + len));
}

static void check_numbers(const uint8_t *data, size_t size) {
    double value, back;
    char text[DIRTY_NUMBER_TEXT_MAX + 1];
    dirty_number_parse_int((dirty_slice){(const char *)data, size}, &value);
    if (size < sizeof value)
        return;
    memcpy(&value, data, sizeof value);
    size_t len = dirty_number_format(text, value);
    require(len <= DIRTY_NUMBER_TEXT_MAX && (len > 0) == (isfinite(value) != 0));
    text[len] = '\0';
    if (len == 0)
        return;
    require(strtod(text, NULL) == value);
    if (dirty_number_parse_int((dirty_slice){text, len}, &back))
        require(back == value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_string((const char *)data, size);
    check_peek((const char *)data, size);
    check_numbers(data, size);
    return 0;
}
