/* printed: what an app prints while it is tried, on its way to an operator's terminal.
 *
 * Where stdin, stdout or stderr is a terminal the child that runs the app does not get
 * it: it reads nothing, and writes to a pipe. The parent passes that on to the terminal
 * line by line, indented, without what a terminal would take for a command. Where none is
 * a terminal nothing is changed: who reads a file or a pipe gets every byte. A terminal
 * that is stopped is waited for once, for a moment; then lines are lost until it goes on.
 *
 * The parent owns it, from open to close. */
#ifndef DIRTY_PRINTED_H
#define DIRTY_PRINTED_H

#include <stdbool.h>
#include <stddef.h>

typedef struct dirty_printed {
    int fd;     /* read end, to be polled; -1: no terminal, or nobody writes any more */
    int theirs; /* write end, until the fork; else -1 */
    int out;    /* the terminal */
    bool stuck; /* it takes nothing */
    size_t len;
    char line[1024];
} dirty_printed;

/* Before the fork. 0 or -errno. */
int dirty_printed_open(dirty_printed *p);

/* In the child: take the terminal's place. 0 or -errno. */
int dirty_printed_enter(dirty_printed *p);

/* In the parent, after the fork. */
void dirty_printed_begin(dirty_printed *p);

/* Pass on what is there. Never waits for more. */
void dirty_printed_pass(dirty_printed *p);

/* Pass on what is there now, though what the child has left behind may write still. */
void dirty_printed_close(dirty_printed *p);

#endif
