#include "base/utf8.h"

#include <string.h>

size_t dirty_utf8_sequence(const uint8_t *p, size_t left, uint32_t *code) {
    static const struct {
        uint8_t mask, lead, len;
        uint32_t min;
    } forms[] = {{0x80, 0x00, 1, 0},
                 {0xe0, 0xc0, 2, 0x80},
                 {0xf0, 0xe0, 3, 0x800},
                 {0xf8, 0xf0, 4, 0x10000}};
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        if ((p[0] & forms[f].mask) != forms[f].lead)
            continue;
        if (forms[f].len > left)
            return 0;
        *code = p[0] & (uint8_t)~forms[f].mask;
        for (size_t i = 1; i < forms[f].len; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return 0;
            *code = *code << 6 | (p[i] & 0x3f);
        }
        bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
        return *code >= forms[f].min && *code <= 0x10ffff && !surrogate ? forms[f].len
                                                                        : 0;
    }
    return 0;
}

bool dirty_utf8_is_control(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x061c ||
           code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

size_t dirty_utf8_tame(char *text, size_t len, const char *keep) {
    size_t used = 0, n;
    for (size_t at = 0; at < len; at += n) {
        uint32_t code = 0;
        n = dirty_utf8_sequence((const uint8_t *)text + at, len - at, &code);
        bool kept = n == 1 && code != 0 && strchr(keep, (int)code) != NULL;
        if (n == 0 || (dirty_utf8_is_control(code) && !kept)) {
            n = n ? n : 1;
            text[used++] = '?';
        } else {
            memmove(text + used, text + at, n);
            used += n;
        }
    }
    return used;
}
