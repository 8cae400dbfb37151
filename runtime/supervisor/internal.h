/* state: what the parts of the supervisor share. */
#ifndef DIRTY_SUPERVISOR_INTERNAL_H
#define DIRTY_SUPERVISOR_INTERNAL_H

#include <stdbool.h>

#include "base/pidfile.h"
#include "supervisor/sd_notify.h"
#include "supervisor/relay.h"
#include "supervisor/watchdog.h"
#include "supervisor/supervisor.h"

typedef enum phase {
    STARTING, /* the first arbiter boots: if it ends, so do we, with its status */
    SERVING,  /* one has served: another takes its place when it dies */
    STOPPING  /* we were told to stop, or it was */
} phase;

typedef struct supervisor {
    const dirty_supervisor_options *o;
    pid_t pid;
    dirty_endpoint endpoint;
    uint64_t look_at_ns; /* when the socket's files are looked at again */
    bool socket_is_new;  /* the arbiter was forked with another one */
    bool socket_told;    /* it has it, and knows what is wrong with the files */
    dirty_pidfile pidfile;
    dirty_sd_notify sd_notify;
    int signal_fd;
    phase phase;
    bool done;
    int status;
    bool pidfile_due; /* it could not be written: tried again */

    pid_t subreaper; /* 0: none runs */
    int report_fd;
    dirty_relay relay;
    bool listens;  /* it has said STARTED: signals have their meaning */
    bool serves;   /* it has said READY */
    uint32_t held; /* bits of signals that wait for STARTED */
    uint64_t born_ns, ready_ns;
    uint64_t start_at_ns; /* when the next one is due, while none runs */
    uint64_t kill_at_ns;  /* when it is taken to hang, 0: never */
    uint64_t tell_at_ns;  /* while none listens: when WATCHDOG=1 is due, 0: at once */
    watchdog watchdog;    /* listens while it should serve */
    unsigned quick_deaths, stops;
    uint32_t restarts, hangs;
    const char *kill_reason; /* why we killed it, for last_exit; NULL: we did not */
    char last_exit[96];
} supervisor;

#endif
