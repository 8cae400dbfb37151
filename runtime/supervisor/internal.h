/* internal: the state that the parts of the supervisor share. */
#ifndef DIRTY_SUPERVISOR_INTERNAL_H
#define DIRTY_SUPERVISOR_INTERNAL_H

#include <stdbool.h>

#include "base/pidfile.h"
#include "base/report.h"
#include "supervisor/sd_notify.h"
#include "supervisor/relay.h"
#include "supervisor/watchdog.h"
#include "supervisor/supervisor.h"
#include "supervisor/upgrade.h"

typedef enum phase {
    STARTING, /* the first arbiter boots; if it ends, we end with its status */
    SERVING,  /* an arbiter has served; if one dies, the next is started */
    STOPPING  /* we, or the arbiter, were told to stop */
} phase;

/* Our place in an upgrade, if another supervisor has started us for one. */
typedef enum heir {
    HEIR_NONE,  /* there is no other supervisor, or we have taken over */
    HEIR_WAITS, /* ours starts, the other one serves */
    HEIR_READY, /* ours is ready, the other one serves until it says GO */
    HEIR_ALONE, /* ours starts, and the other one has ended */
    HEIR_TOOK   /* we have taken over; the other one tells the service manager */
} heir;

typedef struct supervisor {
    const dirty_supervisor_options *o;
    pid_t pid;
    dirty_endpoint endpoint;
    uint64_t look_at_ns; /* when to check the socket's files next */
    bool socket_is_new;  /* the arbiter was forked with the former socket */
    bool socket_told;    /* the arbiter has it, and knows what is wrong with the files */
    dirty_pidfile pidfile;
    dirty_sd_notify sd_notify;
    int signal_fd;
    phase phase;
    bool done;
    int status;
    bool pidfile_due; /* writing it failed; retry */

    pid_t subreaper; /* 0: not running */
    int report_fd;
    dirty_relay relay;
    bool listens;  /* it has sent STARTED: its signal handlers are set */
    bool serves;   /* it has sent READY */
    uint32_t held; /* bits of signals to send after STARTED */
    uint64_t born_ns, ready_ns;
    uint64_t start_at_ns; /* when to start the next one; only while none runs */
    uint64_t kill_at_ns;  /* when to kill it as hung; 0: never */
    uint64_t tell_at_ns; /* when WATCHDOG=1 is due while no arbiter sends ALIVE; 0: now */
    watchdog watchdog;   /* runs while the arbiter should serve */
    upgrade upgrade;
    heir heir;
    bool accept_due;                         /* the arbiter must be told to accept */
    bool departs;                            /* our successor serves */
    bool depart_told;                        /* the arbiter knows that */
    bool reloads;                            /* a reload runs */
    uint32_t boot_within_ms;                 /* the arbiter's boot_timeout */
    char ready_text[DIRTY_REPORT_TEXT_SIZE]; /* of its READY */
    unsigned quick_deaths, stops;
    uint32_t restarts, hangs;
    const char *kill_reason; /* why we killed it, for last_exit; NULL: we did not */
    char last_exit[96];
} supervisor;

#endif
