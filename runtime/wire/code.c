#include "wire/code.h"

#define NAME(name, number, http, started, retry, text) [number] = #name,
static const char *const names[] = {DIRTY_ERRORS(NAME)};
#undef NAME

const char *dirty_code_name(unsigned code) {
    if (code >= sizeof names / sizeof *names || names[code] == 0)
        return "UNKNOWN";
    return names[code];
}
