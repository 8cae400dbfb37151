#include "arbiter/takeover.h"

#include <stdio.h>
#include <sys/wait.h>

#include "arbiter/reply.h"
#include "arbiter/conn.h"
#include "arbiter/worker.h"
#include "base/clock.h"

/* Limit of the time from a lane's last byte to its DONE. Longer is treated as a
 * fault. */
#define REPORT_MS 1000

/* Returns the connection that waits for the lane's request, or NULL. */
static conn *conn_of(const lane *l) {
    return l->request != NULL ? l->request->conn : NULL;
}

/* Read from the page whether the lane read the whole request: the lane itself won't
 * report it any more. If it did not, the rest must not be taken for the next
 * request. */
static void note_whole(const lane *l, conn *c) {
    c->request.whole = c->request.whole || atomic_load(&l->page->whole) == l->seq;
}

/* Returns how an answered connection ends if no DONE will come. */
static dirty_connection_end end_of_answered(const lane *l, conn *c) {
    note_whole(l, c);
    return c->request.whole ? DIRTY_CONNECTION_KEEP : DIRTY_CONNECTION_DRAIN;
}

/* Act when the grace period is over: take the baton, or end a connection whose frame
 * will never be complete. */
void takeover_overdue(lane *l) {
    conn *c = conn_of(l);
    dirty_baton_state state = dirty_baton_read(l->page, l->seq);
    if (dirty_now_ns() < l->grace_until_ns &&
        (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_WRITING)) {
        /* The lane was reading at its deadline. Since then it has started the app or
         * begun its answer, so it gets its grace period. */
        l->seize_ns = l->grace_until_ns;
        lane_interrupt_again(l);
        return;
    }
    bool mine = (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_READING) &&
                dirty_baton_move(l->page, l->seq, state, DIRTY_BATON_TAKEN);
    bool lost_race =
        !mine && (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_READING);
    if (lost_race || (dirty_baton_is_answered(state) && !l->late)) {
        l->late = true; /* it has just moved on: DONE should come soon */
        l->seize_ns = dirty_now_ns() + REPORT_MS * DIRTY_NS_PER_MS;
        return;
    }
    if (state == DIRTY_BATON_WRITING && c != NULL) {
        /* The caller does not read and has part of a frame. Close the connection: the
         * lane's send then fails. */
        l->seize_ns = dirty_now_ns() + REPORT_MS * DIRTY_NS_PER_MS;
        conn_close(c);
        return;
    }
    lane_detach(l);
    if (mine && c != NULL) {
        note_whole(l, c);
        reply_interrupted(c, l->interrupted, state == DIRTY_BATON_RUNNING);
    } else if (c != NULL) {
        conn_close(c);
    }
    if (mine && state == DIRTY_BATON_READING)
        l->seize_ns =
            dirty_now_ns() + LANE_EXIT_MS * DIRTY_NS_PER_MS; /* it sees the end */
    else
        worker_condemn(l->worker, dirty_code_name(l->interrupted));
}

void takeover_shutdown(lane *l) {
    conn *c = conn_of(l);
    if (c == NULL)
        return;
    dirty_baton_state state = dirty_baton_read(l->page, l->seq);
    bool ours = (state == DIRTY_BATON_RUNNING || state == DIRTY_BATON_READING) &&
                dirty_baton_move(l->page, l->seq, state, DIRTY_BATON_TAKEN);
    lane_detach(l);
    if (!ours) {
        /* The lane is writing a frame, or has answered and its DONE is on the way. */
        if (!dirty_baton_is_answered(dirty_baton_read(l->page, l->seq)))
            conn_close(c);
        else
            conn_done(c, end_of_answered(l, c));
        return;
    }
    note_whole(l, c);
    const char *started = state == DIRTY_BATON_RUNNING ? "yes" : "no";
    const arbiter *a = l->worker->a;
    if (a->phase == ARBITER_DRAINING || a->phase == ARBITER_ENDING)
        reply_shutdown(c, started);
    else
        reply_worker_retired(c, l->worker, started);
}

static void reply_worker_lost(const lane *l, conn *c, const char *started,
                              int wait_status) {
    char extra[200], how[120], name[16];
    const worker *w = l->worker;
    /* A condemned worker's stuck lane was answered before. So this is another lane. */
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
        snprintf(how, sizeof how, "exited with status %d", WEXITSTATUS(wait_status));
    }
    bool ran = *started == 'y';
    error_reply r = {DIRTY_CODE_WORKER_LOST, started, ran ? "run" : "receive", extra,
                     false};
    reply_error(c, &r, "worker %u (pid %d) %s %s %s.%s%s", w->number, (int)w->pid, how,
                ran ? "while it ran" : "before it ran", c->request.app->name,
                c->request.action, sibling ? ": another of its lanes was stuck" : "");
}

void takeover_settle(lane *l, int wait_status) {
    conn *c = conn_of(l);
    if (!l->busy)
        return;
    l->busy = false;
    lane_detach(l);
    if (c == NULL)
        return;
    switch (dirty_baton_read(l->page, l->seq)) {
    case DIRTY_BATON_READING: reply_worker_lost(l, c, "no", wait_status); break;
    case DIRTY_BATON_RUNNING:
        note_whole(l, c);
        reply_worker_lost(l, c, "yes", wait_status);
        break;
    case DIRTY_BATON_ANSWERED:
    case DIRTY_BATON_FREE:
        lane_count(l, DIRTY_CODE_NONE);
        conn_done(c, end_of_answered(l, c));
        break;
    case DIRTY_BATON_WRITING: /* the caller may have part of a frame */
    case DIRTY_BATON_TAKEN:
    case DIRTY_BATON_IDLE: /* the page is not trustworthy */
        lane_count(l, DIRTY_CODE_WORKER_LOST);
        conn_close(c);
        break;
    }
}
