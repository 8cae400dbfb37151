/* title: sets what ps and top show in place of a process's command line:
 *
 *   dirty: worker 1 [apps.image] /run/dirty/dirty.sock
 *
 * The kernel shows the bytes between two addresses that exec has set. A title longer than
 * the original command line needs other addresses. We use a page of our own;
 * PR_SET_MM_MAP can set its address without privileges. If the kernel lacks that, the
 * title overwrites the command line and the environment after it, as far as they reach.
 * Programs that we start still get the whole environment. Only one thread may use
 * this. */
#ifndef DIRTY_TITLE_H
#define DIRTY_TITLE_H

#include <stdbool.h>

/* Maximum size of a title, its NUL included. */
#define DIRTY_TITLE_MAX 8192

/* Find the place for the title. Call it first in main. The first title overwrites `argv`:
 * copy what is needed of it before. `in_place` forbids the page of our own, for tests.
 * Without this call the functions below do nothing. */
void dirty_title_open(int argc, char **argv, bool in_place);

/* Set the text that follows every title from now on, here and in children: the path of
 * the socket. Copied. */
void dirty_title_subject(const char *path);

/* Set the title of this process, and of its children until they set theirs. If there is
 * not enough room the title is cut, and the subject stays. */
void dirty_title_set(const char *title);

#endif
