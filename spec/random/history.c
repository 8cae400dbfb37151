#include "spec/random/history.h"

#include <string.h>

void history_note(history *h, uint64_t at_ns, uint64_t serial, const char *text) {
    history_line *line = &h->lines[h->count++ % h->room];
    line->at_ns = at_ns;
    line->serial = serial;
    snprintf(line->text, sizeof line->text, "%s", text);
}

void history_clear(history *h) {
    h->count = 0;
}

void history_print(const history *h, uint32_t most, uint64_t zero_ns, FILE *out) {
    uint32_t kept = h->count < h->room ? h->count : h->room;
    if (kept < most)
        most = kept;
    if (h->count > most)
        fprintf(out, "    (%u earlier notes are left out)\n", h->count - most);
    for (uint32_t i = h->count - most; i < h->count; i++) {
        const history_line *line = &h->lines[i % h->room];
        fprintf(out, "    %10.3f ms  %5llu  %s\n",
                ((double)line->at_ns - (double)zero_ns) / 1e6,
                (unsigned long long)line->serial, line->text);
    }
}
