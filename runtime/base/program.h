/* program: how this program was started, so that a successor can be started the same way.
 *
 * The path is kept, not the file: an upgrade puts another file there. */
#ifndef DIRTY_PROGRAM_H
#define DIRTY_PROGRAM_H

/* Remember path, arguments, environment, working directory and signal mask. Call it in
 * main before anything changes them. The path is that of argv[0] with its symlinks, if
 * it leads to the running file; otherwise the running file's. Without memory, and
 * without /proc, nothing is remembered. */
void dirty_program_remember(int argc, char **argv);

/* The path. "": unknown. */
const char *dirty_program_path(void);

/* Become the program that is at the path now, with the remembered arguments and
 * environment. `changes` are NAME=VALUE or NAME (removes it), NULL-terminated. Of our
 * descriptors it gets the `count` in `kept` and those that this program was given itself.
 * Call it in a forked child. Returns -errno on failure; then the child must end. */
int dirty_program_become(const char *const *changes, const int *kept, unsigned count);

/* Close what is kept for an exec. Call it in a child that will not become the program. */
void dirty_program_forget(void);

#endif
