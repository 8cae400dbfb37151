/* title: what ps and top show of a process in place of its command line:
 *
 *   dirty: worker 1 [apps.image] /run/dirty/dirty.sock
 *
 * The kernel shows the bytes between two addresses that exec has set. A title that is
 * longer than the command line was needs other addresses: a page of ours, which
 * PR_SET_MM_MAP can name without any rights. Where the kernel does not have that the
 * title goes over the command line and the environment behind it, as far as they reach;
 * what a program starts still gets the whole environment. One thread may use this. */
#ifndef DIRTY_TITLE_H
#define DIRTY_TITLE_H

#include <stdbool.h>

/* A title is cut to this, its NUL included. */
#define DIRTY_TITLE_MAX 8192

/* Look where the title may go. First in main. `argv` is not used afterwards: copy what is
 * still wanted of it before the first title is set. `in_place`: not in a page of ours,
 * for tests. Without this call the functions below do nothing. */
void dirty_title_open(int argc, char **argv, bool in_place);

/* What stands behind every title from now on, here and in children: the socket's path.
 * Copied. */
void dirty_title_subject(const char *path);

/* Set the title of this process, and of children until they set theirs. Where not all of
 * it has room the title is cut, the subject stays. */
void dirty_title_set(const char *title);

#endif
