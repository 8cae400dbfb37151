/* capture: collects what the configuration's Lua prints in a process that must not block.
 *
 * A write to a full pipe blocks until somebody reads it. So stdout and stderr are pipes
 * to this process itself while such Lua runs. The event loop reads them later. Their ends
 * are non-blocking: output that does not fit is lost. Outside of begin and end, stdout
 * and stderr are the original ones, so that the last output of a crash is not lost.
 *
 * stdout is global to the process, so these calls are too. Call them in the main thread
 * only. */
#ifndef DIRTY_CAPTURE_H
#define DIRTY_CAPTURE_H

/* Create the pipes, once. The log keeps writing where it did. Returns 0 or -errno. */
int dirty_capture_open(void);

/* Get the ends of stdout's pipe [0] and of stderr's [1]; -1 if there are none. The caller
 * owns the read ends from then on. */
void dirty_capture_ends(int read_ends[2], int write_ends[2]);

/* begin replaces stdout and stderr by the pipes, end restores them. What C has buffered
 * for stdout in between goes to its pipe, or is lost. No-op without pipes. Do not
 * nest. */
void dirty_capture_begin(void);
void dirty_capture_end(void);

#endif
