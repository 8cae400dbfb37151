/* pin: restores the state of the thread and the process that our code depends on, after
 * code of apps or of their libraries has run. docs/apps.md tells authors of apps about
 * it.
 *
 * Of the thread: the locale, which printf and strtod use in our code and in lua-cjson,
 * and the modes of the FPU (rounding, flush to zero). Restoring them costs no system
 * call, so it is done whenever an app's code has returned. The thread has a locale of its
 * own, so setlocale() of an app does not reach it.
 *
 * Of the process: the actions of the signals that the runtime uses, and that they are not
 * blocked in a lane's thread. Restoring them costs system calls, so it is done at boot,
 * after long calls, and after every 64 short ones. */
#ifndef DIRTY_PIN_H
#define DIRTY_PIN_H

/* Give this thread the locale "C" and the default modes of the FPU. */
void dirty_pin_thread(void);

/* Remember the signals' actions and the umask. Call it before threads start. */
void dirty_pin_open(void);

/* Restore the signals' actions and unblock the signals in this thread. Logs the first
 * change of each signal; `app` is the one that ran last. */
void dirty_pin_signals(const char *app);

/* Reopen the log with the umask of dirty_pin_open. For a signal handler. */
void dirty_pin_reopen_log(void);

#endif
