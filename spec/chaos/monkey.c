#include "spec/chaos/monkey.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "spec/chaos/call.h"

#define ARBITER_TITLE "dirty: arbiter"
#define WORKER_TITLE "dirty: worker"

/* -- Looking ------------------------------------------------------------------------- */

static bool is_titled(pid_t pid, const char *title) {
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return false;
    bool is =
        fgets(text, sizeof text, f) != NULL && strncmp(text, title, strlen(title)) == 0;
    fclose(f);
    return is;
}

/* Children of `parent` with this title; at most `max` are noted in `out`. */
static uint32_t children(pid_t parent, const char *title, pid_t *out, uint32_t max) {
    char path[64];
    int pid;
    uint32_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    while (count < max && fscanf(f, "%d", &pid) == 1)
        if (is_titled(pid, title))
            out[count++] = pid;
    fclose(f);
    return count;
}

/* The arbiter below `pid`: there may be others between the two. 0: there is none. */
static pid_t find_arbiter(pid_t pid, int depth) {
    pid_t below[8], found = 0;
    if (is_titled(pid, ARBITER_TITLE))
        return pid;
    uint32_t count = depth > 0 ? children(pid, "dirty", below, 8) : 0;
    for (uint32_t i = 0; i < count && found == 0; i++)
        found = find_arbiter(below[i], depth - 1);
    return found;
}

uint32_t monkey_look(const monkey *m, pid_t *arbiter, pid_t *workers) {
    *arbiter = find_arbiter(m->o.pid, 2);
    return *arbiter ? children(*arbiter, WORKER_TITLE, workers, MONKEY_WORKERS_MAX) : 0;
}

/* -- Doing --------------------------------------------------------------------------- */

void monkey_init(monkey *m, const monkey_options *o, uint64_t seed) {
    *m = (monkey){.o = *o, .seed = seed};
}

void monkey_deinit(monkey *m) {
    free(m->killed);
}

bool monkey_has_killed(const monkey *m, pid_t pid) {
    for (uint32_t i = 0; i < m->killed_count; i++)
        if (m->killed[i] == pid)
            return true;
    return false;
}

static void shoot(monkey *m, pid_t pid) {
    if (m->killed_count == m->killed_room) {
        m->killed_room = m->killed_room ? 2 * m->killed_room : 1024;
        m->killed = realloc(m->killed, m->killed_room * sizeof *m->killed);
        if (m->killed == NULL)
            abort();
    }
    m->killed[m->killed_count++] = pid;
    m->last_shot_ns = dirty_now_ns();
    kill(pid, SIGKILL);
}

static bool is_turn(uint64_t count, uint32_t every) {
    return every != 0 && count % every == every - 1;
}

static void reload(monkey *m) {
    kill(m->o.pid, SIGHUP);
    m->reloads++;
}

static void scale(monkey *m) {
    m->grown = !m->grown;
    kill(m->o.pid, m->grown ? SIGTTIN : SIGTTOU);
    m->scales++;
}

static void storm_on(monkey *m) {
    pid_t arbiter, workers[MONKEY_WORKERS_MAX];
    uint32_t count = monkey_look(m, &arbiter, workers);
    if (is_turn(m->kills, m->o.behead) && arbiter != 0 && arbiter != m->o.pid) {
        shoot(m, arbiter);
        m->beheadings++;
    } else if (count > 0) {
        shoot(m, workers[(chaos_random(&m->seed) >> 32) % count]);
    }
    m->kills++;
    if (is_turn(m->kills, m->o.reload))
        reload(m);
    if (is_turn(m->kills, m->o.scale))
        scale(m);
}

void monkey_tick(monkey *m, uint64_t now_ns, bool storm) {
    uint32_t every_ms = storm ? m->o.kill_ms : m->o.steady_ms;
    if (every_ms == 0 || now_ns < m->next_ns)
        return;
    m->next_ns = now_ns + every_ms * DIRTY_NS_PER_MS;
    if (storm) {
        storm_on(m);
    } else {
        reload(m);
        if (m->o.scale != 0)
            scale(m);
    }
}
