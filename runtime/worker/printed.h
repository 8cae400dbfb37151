/* printed: passes on what an app prints while it is tried, to the operator's terminal.
 *
 * If stdin, stdout or stderr is a terminal, the child that runs the app does not get it:
 * it reads from /dev/null and writes to a pipe. The parent passes the pipe on to the
 * terminal line by line, indented and without control characters. Files and pipes are not
 * touched: they get every byte. If the terminal is stopped, the parent waits once for 100
 * ms, then drops lines until it goes on.
 *
 * The parent owns it, from open to close. */
#ifndef DIRTY_PRINTED_H
#define DIRTY_PRINTED_H

#include <stdbool.h>
#include <stddef.h>

typedef struct dirty_printed {
    int fd;     /* read end, to be polled; -1: no terminal, or the pipe has ended */
    int theirs; /* write end, for the child; -1 after the fork */
    int out;    /* the terminal */
    bool stuck; /* the terminal takes nothing */
    size_t len;
    char line[1024];
} dirty_printed;

/* Open the pipe. Call it before the fork. Returns 0 or -errno. */
int dirty_printed_open(dirty_printed *p);

/* In the child: replace the terminal by the pipe. Returns 0 or -errno. */
int dirty_printed_enter(dirty_printed *p);

/* In the parent after the fork: close the child's end. */
void dirty_printed_begin(dirty_printed *p);

/* Pass on what the pipe holds. Never waits for more. */
void dirty_printed_pass(dirty_printed *p);

/* Pass on what the pipe holds and close it, even if someone still writes to it. */
void dirty_printed_close(dirty_printed *p);

#endif
