/* pin: what our code depends on of the state that all code of a thread or process shares,
 * set back after code of apps, or of libraries in them, has run. docs/apps.md tells
 * authors what that means for them.
 *
 * Of a thread these are the locale, which printf and strtod look at, ours and
 * lua-cjson's, and the modes of the FPU (rounding, tiny numbers taken for 0). To set them
 * back costs no system call, so it is done whenever an app's code has returned. With a
 * locale of its own the thread does not see what setlocale() does to the process.
 *
 * Of the process these are how signals act that the runtime uses, and that they are not
 * blocked in a lane's thread. That takes system calls, so it is done at boot, after calls
 * that were long, and after every so many others. */
#ifndef DIRTY_PIN_H
#define DIRTY_PIN_H

/* Give this thread the locale "C" and the FPU's default modes. */
void dirty_pin_thread(void);

/* Remember how signals act, and the umask, in a worker whose threads have not started. */
void dirty_pin_open(void);

/* Let signals act in this thread and process as they did at dirty_pin_open. The first
 * time that one acted otherwise it is logged; `app`: the one that ran last. */
void dirty_pin_signals(const char *app);

/* Open the log again with the umask of dirty_pin_open. For a signal handler. */
void dirty_pin_reopen_log(void);

#endif
