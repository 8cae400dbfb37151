/* monkey: kills workers of a running tree at random, and reloads and scales it.
 *
 * It finds the processes in /proc by their titles, so that nothing depends on what the
 * runtime says of itself, and remembers whom it has killed: that is what explains an
 * error. */
#ifndef CHAOS_MONKEY_H
#define CHAOS_MONKEY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MONKEY_WORKERS_MAX 256

typedef struct monkey_options {
    pid_t pid;          /* of `dirty serve` */
    uint32_t kill_ms;   /* from one kill of a worker to the next; 0: none */
    uint32_t reload;    /* every so many kills also a reload (HUP), 0: never */
    uint32_t scale;     /* every so many kills one worker more or less, 0: never */
    uint32_t behead;    /* every so many kills the arbiter, 0: never */
    uint32_t steady_ms; /* from one reload to the next while nobody is killed, 0: none */
} monkey_options;

typedef struct monkey {
    monkey_options o;
    uint64_t seed;
    uint64_t next_ns;
    uint64_t last_shot_ns; /* the last kill of anybody */
    uint64_t kills, reloads, scales, beheadings;
    bool grown; /* the last scaling was up */
    uint32_t killed_count, killed_room;
    pid_t *killed; /* owned: all that were killed so far */
} monkey;

void monkey_init(monkey *m, const monkey_options *o, uint64_t seed);
void monkey_deinit(monkey *m);

/* Do what is due. `storm`: kill; else only reload and scale. */
void monkey_tick(monkey *m, uint64_t now_ns, bool storm);

bool monkey_has_killed(const monkey *m, pid_t pid);

/* The process ids of the workers that live, at most MONKEY_WORKERS_MAX, and of the
 * arbiter, 0 if there is none. Returns how many workers there are. */
uint32_t monkey_look(const monkey *m, pid_t *arbiter, pid_t *workers);

#endif
