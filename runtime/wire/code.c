#include "wire/code.h"

#define NAME(name, number, http, started, retry, text) [number] = #name,
static const char *const names[] = {DIRTY_ERRORS(NAME)};
#undef NAME

const char *dirty_code_name(unsigned code) {
    if (code >= sizeof names / sizeof *names || names[code] == 0)
        return "UNKNOWN";
    return names[code];
}

dirty_log_level dirty_code_level(unsigned code) {
    switch (code) {
    case DIRTY_CODE_NONE:
    case DIRTY_CODE_CONNECTION: /* it hung up, or did not read its answer */
    case DIRTY_CODE_APP_NOT_FOUND:
    case DIRTY_CODE_ACTION_NOT_FOUND:
    case DIRTY_CODE_CANCELLED:
    case DIRTY_CODE_SHUTDOWN:
    case DIRTY_CODE_PROTOCOL:
    case DIRTY_CODE_DENIED: return DIRTY_LOG_INFO;
    default: return DIRTY_LOG_WARN;
    }
}
