/* hash: uthash with HASH_NONFATAL_OOM: a failed add leaves hh.tbl NULL and the element
 * in no table. By default uthash would end the process. */
#ifndef DIRTY_ARBITER_HASH_H
#define DIRTY_ARBITER_HASH_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#endif
