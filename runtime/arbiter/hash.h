/* hash: uthash that bears it when memory runs out. Its own way is to end the process;
 * here an element that could not be added has hh.tbl NULL and is in no table. */
#ifndef DIRTY_ARBITER_HASH_H
#define DIRTY_ARBITER_HASH_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#endif
