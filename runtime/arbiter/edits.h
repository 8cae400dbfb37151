/* edits: `dirty serve --dev` reloads when a file is saved that code was loaded from.
 *
 * The files come from base/loaded.h. Their directories are watched, because editors
 * replace a file by another one of the same name. A reload begins when no file has
 * changed for a moment. */
#ifndef DIRTY_EDITS_H
#define DIRTY_EDITS_H

#include "arbiter/internal.h"

/* Watch for edits from now on, if the options say so. */
void edits_open(arbiter *a);

/* At the end of the runtime. */
void edits_close(arbiter *a);

#endif
