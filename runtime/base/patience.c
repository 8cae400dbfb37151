#include "base/patience.h"

#include <signal.h>
#include <stddef.h>
#include <sys/time.h>

/* Interval of the signal after the limit. */
#define AGAIN_US 100000

/* Does nothing: running a handler is enough to interrupt the system call. */
static void on_signal(int number) {
    (void)number;
}

void dirty_patience_init(void) {
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART */
    sigset_t own;
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&own);
    sigaddset(&own, SIGALRM);
    sigprocmask(SIG_UNBLOCK, &own, NULL);
}

static void set_timer(uint32_t ms) {
    struct itimerval t = {
        .it_value = {.tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000},
        .it_interval = {.tv_usec = ms > 0 ? AGAIN_US : 0}};
    setitimer(ITIMER_REAL, &t, NULL);
}

void dirty_patience_begin(uint32_t ms) {
    set_timer(ms);
}

void dirty_patience_end(void) {
    set_timer(0);
}
