/* children: the processes whose parent this process is, by what /proc says. */
#ifndef DIRTY_BASE_CHILDREN_H
#define DIRTY_BASE_CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

/* Called for every child, those included that have ended and were not reaped. */
typedef void dirty_visit(pid_t child, void *arg);

/* Visit all of them. Those that are forked or end meanwhile may be missed. */
void dirty_children(dirty_visit *visit, void *arg);

/* The two ways to know them: the kernel's own list, false where it has none
 * (CONFIG_PROC_CHILDREN), and a look at the parent of every process there is. */
bool dirty_children_listed(dirty_visit *visit, void *arg);
void dirty_children_scanned(dirty_visit *visit, void *arg);

#endif
