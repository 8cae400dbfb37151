/* code: the wire numbers of the error codes, generated from dirty_errors.h. */
#ifndef DIRTY_CODE_H
#define DIRTY_CODE_H

#include "base/log.h"
#include "dirty_errors.h"

#define DIRTY_CODE_ENUM(name, number, http, started, retry, text) \
    DIRTY_CODE_##name = (number),
typedef enum dirty_code {
    DIRTY_CODE_NONE = 0, /* a value, no error */
    DIRTY_ERRORS(DIRTY_CODE_ENUM)
} dirty_code;
#undef DIRTY_CODE_ENUM

#define DIRTY_CODE_LAST DIRTY_CODE_MEMORY

/* The name of a code: "TIMEOUT" for 1. "UNKNOWN" for a number without a code. */
const char *dirty_code_name(unsigned code);

/* The level at which a call that ended with this code is logged: info for what the caller
 * or an operator did, warn for the rest. */
dirty_log_level dirty_code_level(unsigned code);

#endif
