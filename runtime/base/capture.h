/* capture: what Lua of the configuration prints in a process that others wait for.
 *
 * A write to a full pipe waits for whoever reads it. So while such Lua runs, stdout and
 * stderr are two pipes to this process itself, which whoever runs its event loop reads at
 * leisure. Their ends never wait: what does not fit is lost. Before and after it the two
 * are what they were, so that the last words of a crash get out.
 *
 * As stdout is, this is of the process; in the main thread alone. */
#ifndef DIRTY_CAPTURE_H
#define DIRTY_CAPTURE_H

/* Make the pipes, once; the log goes on where it goes. 0 or -errno. */
int dirty_capture_open(void);

/* The ends of stdout's pipe and of stderr's; -1: there are none. Those to read from are
 * the caller's from then on. */
void dirty_capture_ends(int read_ends[2], int write_ends[2]);

/* Put the pipes in the place of stdout and stderr, and back. What C has buffered for
 * stdout meanwhile goes to its pipe, or is lost. Without pipes nothing happens. Not
 * nested. */
void dirty_capture_begin(void);
void dirty_capture_end(void);

#endif
