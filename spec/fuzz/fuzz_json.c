/* fuzz_json: any bytes to what tells whether they are JSON. Beside what the sanitizers
 * see, it holds that
 *   - the place of a flaw is in the text or at its end, and its words fit,
 *   - a text with spaces around it, in an array or as a member, is told as the text
 * alone,
 *   - no start of an array, object or string is JSON,
 *   - a mended text is JSON of the same length and has no halves. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEPTH 50

static void require(bool holds) {
    if (!holds)
        abort();
}

static bool is_valid(const void *text, size_t len, uint32_t depth,
                     dirty_json_look *look) {
    return dirty_json_is_valid((dirty_slice){text, len}, depth, look);
}

static void check_within(const char *before, const uint8_t *data, size_t size,
                         const char *behind, bool valid) {
    dirty_json_look look;
    dirty_buf text = {0};
    dirty_buf_append_cstr(&text, before);
    dirty_buf_append(&text, data, size);
    dirty_buf_append_cstr(&text, behind);
    bool within = is_valid(text.base, text.len, DEPTH + 1, &look);
    require(!valid ||
            within); /* the other way round "1],[1" is a good part of an array */
    dirty_buf_deinit(&text);
}

static void check_starts(const uint8_t *data, size_t size) {
    dirty_json_look look;
    size_t at = 0;
    while (at < size && strchr(" \t\r\n", data[at]) != NULL)
        at++;
    if (strchr("[{\"", data[at]) == NULL)
        return;
    while (strchr(" \t\r\n", data[size - 1]) != NULL)
        size--;
    for (size_t len = at; len < size; len += 1 + size / 16)
        require(!is_valid(data, len, DEPTH, &look));
}

static void check_mended(const uint8_t *data, size_t size, bool halves) {
    dirty_json_look look;
    char *out = malloc(size);
    dirty_json_mend((dirty_slice){(const char *)data, size}, out);
    require(is_valid(out, size, DEPTH, &look) && !look.halves);
    require((memcmp(out, data, size) == 0) == !halves);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dirty_json_look look;
    char words[100];
    bool valid = is_valid(data, size, DEPTH, &look);
    require(look.at <= size);
    if (!valid) {
        dirty_json_explain((dirty_slice){(const char *)data, size}, &look, words,
                           sizeof words);
        require(strstr(words, " at character ") != NULL);
    } else {
        require(look.at == size);
        check_starts(data, size);
        check_mended(data, size, look.halves);
    }
    /* where nothing is doubtful there are no halves, and no space but ' ' */
    require(dirty_json_is_doubtful((dirty_slice){(const char *)data, size}) ||
            (!look.halves && memchr(data, '\n', size) == NULL));
    check_within(" \t\n\r", data, size, " \r\n\t", valid);
    check_within("[", data, size, ",null]", valid);
    check_within("{\"a\":", data, size, "}", valid);
    return 0;
}
