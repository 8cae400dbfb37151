#include "arbiter/takeover.h"

#include <stdio.h>
#include <sys/wait.h>

#include "arbiter/refusal.h"
#include "arbiter/session.h"
#include "arbiter/worker.h"
#include "base/clock.h"

/* How long a lane may take from its last byte to its DONE before that is odd. */
#define REPORT_MS 1000

/* The connection whose request the lane has, NULL: none that waits for it. */
static session *conn_of(const lane *l) {
    return l->request != NULL ? l->request->conn : NULL;
}

/* The lane won't tell any more whether it had read the request to its end: its page does.
 * If not, what is left of it must not be taken for the next one. */
static void note_whole(const lane *l, session *s) {
    s->request.whole = s->request.whole || atomic_load(&l->page->whole) == l->seq;
}

/* The end of a connection whose answer is out, with no DONE to tell it. */
static dirty_connection_end end_of_answered(const lane *l, session *s) {
    note_whole(l, s);
    return s->request.whole ? DIRTY_CONNECTION_KEEP : DIRTY_CONNECTION_DRAIN;
}

/* Grace is over: take the baton, or end the connection whose frame never gets whole. */
void takeover_overdue(lane *l) {
    session *s = conn_of(l);
    dirty_baton_state state = dirty_baton_read(l->page, l->seq);
    if (dirty_now_ns() < l->grace_until_ns &&
        (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_WRITING)) {
        /* It was reading when its deadline came, and has begun since, or answers itself
         * by now: it gets its grace. */
        l->seize_ns = l->grace_until_ns;
        lane_interrupt_again(l);
        return;
    }
    bool mine = (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_READING) &&
                dirty_baton_move(l->page, l->seq, state, DIRTY_BATON_TAKEN);
    bool lost_race =
        !mine && (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_READING);
    if (lost_race || (state == DIRTY_BATON_ANSWERED && !l->late)) {
        l->late = true; /* it has just gone on: its DONE is near */
        l->seize_ns = dirty_now_ns() + REPORT_MS * DIRTY_NS_PER_MS;
        return;
    }
    if (state == DIRTY_BATON_WRITING && s != NULL) {
        /* The caller does not read; what it has got is no frame any more. The lane's
         * send fails now. */
        l->seize_ns = dirty_now_ns() + REPORT_MS * DIRTY_NS_PER_MS;
        session_close(s);
        return;
    }
    lane_detach(l);
    if (mine && s != NULL) {
        note_whole(l, s);
        refuse_interrupted(s, l->interrupted, state == DIRTY_BATON_RUNNING);
    } else if (s != NULL) {
        session_close(s);
    }
    if (mine && state == DIRTY_BATON_READING)
        l->seize_ns =
            dirty_now_ns() + LANE_EXIT_MS * DIRTY_NS_PER_MS; /* it sees the end */
    else
        worker_condemn(l->worker, dirty_code_name(l->interrupted));
}

void takeover_shutdown(lane *l) {
    session *s = conn_of(l);
    if (s == NULL)
        return;
    dirty_baton_state state = dirty_baton_read(l->page, l->seq);
    bool ours = (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_READING) &&
                dirty_baton_move(l->page, l->seq, state, DIRTY_BATON_TAKEN);
    lane_detach(l);
    if (!ours) {
        /* A frame is being written, or is out and the DONE is on its way. */
        if (dirty_baton_read(l->page, l->seq) != DIRTY_BATON_ANSWERED)
            session_close(s);
        else
            session_done(s, end_of_answered(l, s));
        return;
    }
    note_whole(l, s);
    const char *started = state == DIRTY_BATON_RUNNING ? "yes" : "no";
    const arbiter *a = l->worker->a;
    if (a->phase == ARBITER_DRAINING || a->phase == ARBITER_ENDING)
        refuse_shutdown(s, started);
    else
        refuse_retired(s, l->worker, started);
}

static void refuse_lost(const lane *l, session *s, const char *started, int wait_status) {
    char extra[200], how[120], name[16];
    const worker *w = l->worker;
    /* The lane that a worker is condemned for has been answered before. */
    bool sibling = w->condemned != NULL && w->kill_reason != NULL;
    bool oom = w->exit_reason == WORKER_EXIT_OOM;
    if (WIFSIGNALED(wait_status)) {
        int number = WTERMSIG(wait_status);
        worker_signal_name(number, name, sizeof name);
        snprintf(extra, sizeof extra,
                 ",\"signal\":%d,\"signal_name\":\"%s\",\"killed_by_runtime\":%s,"
                 "\"worker\":%u,\"pid\":%d%s",
                 number, name, w->kill_reason ? "true" : "false", w->number, (int)w->pid,
                 sibling ? ",\"cause\":\"sibling\""
                 : oom   ? ",\"cause\":\"oom\""
                         : "");
        snprintf(how, sizeof how, "was killed by signal %d (%s)%s", number, name,
                 oom ? ", likely by the OOM killer," : "");
    } else {
        snprintf(extra, sizeof extra,
                 ",\"exit_status\":%d,\"killed_by_runtime\":false,\"worker\":%u,"
                 "\"pid\":%d",
                 WEXITSTATUS(wait_status), w->number, (int)w->pid);
        snprintf(how, sizeof how, "ended with exit status %d", WEXITSTATUS(wait_status));
    }
    bool ran = *started == 'y';
    refusal r = {DIRTY_CODE_WORKER_LOST, started, ran ? "run" : "receive", extra, false};
    refuse(s, &r, "worker %u (pid %d) %s %s %s.%s%s", w->number, (int)w->pid, how,
           ran ? "while it ran" : "before it ran", s->request.app->name,
           s->request.action, sibling ? ": another of its lanes was stuck" : "");
}

void takeover_settle(lane *l, int wait_status) {
    session *s = conn_of(l);
    if (!l->busy)
        return;
    l->busy = false;
    lane_detach(l);
    if (s == NULL)
        return;
    switch (dirty_baton_read(l->page, l->seq)) {
    case DIRTY_BATON_READING: refuse_lost(l, s, "no", wait_status); break;
    case DIRTY_BATON_RUNNING:
        note_whole(l, s);
        refuse_lost(l, s, "yes", wait_status);
        break;
    case DIRTY_BATON_ANSWERED:
        lane_count(l, DIRTY_CODE_NONE, 0);
        session_done(s, end_of_answered(l, s));
        break;
    case DIRTY_BATON_WRITING: /* framing is lost */
    case DIRTY_BATON_TAKEN:
    case DIRTY_BATON_IDLE: /* the page can't be believed */
        lane_count(l, DIRTY_CODE_WORKER_LOST, 0);
        session_close(s);
        break;
    }
}
