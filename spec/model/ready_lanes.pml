/* Model of the fast path (docs/design.md, "Ready lanes"): board, baton, sleep and death.
 *
 * Two lanes, the arbiter, one shared connection whose caller makes REQUESTS requests, one
 * request of another connection that the arbiter gives to a lane (EXTRA), and the death of
 * at most one lane, between any two steps. Memory is sequentially consistent, as the atomics
 * of board.h and baton.h are. An access to memory that two processes share is a step, except where
 * the other side can't tell two accesses apart or sees them in no order that matters:
 * must_listen, announce, receive and the begin of a write are one step each.
 *
 *   Caller, Other          the callers
 *   Lane                   worker/ready.c and worker/lane.c: dirty_ready_next,
 *                          sleep_in_epoll, take, pass_on, receive, take_again, handle,
 *                          write_frame, dirty_ready_answered, conclude
 *   must_listen, announce, become_idle       the functions of these names in ready.c
 *   baton_*                base/baton.h
 *   board_take, board_release                base/board.h
 *   Arbiter                its loop: one event at a time, in any order
 *   give                   lane_send, claim and wake (arbiter/lane.c)
 *   resume                 lane_resume
 *   pull                   dispatch_pull (arbiter/dispatch.c)
 *   seize, let_go, arm     shared_conns_seize, _release and _arm (arbiter/shared_conns.c)
 *   look_at_input          conn_bounced (arbiter/conn.c)
 *   adopt, settle          adopt, and ready_lanes_settle with inherit (ready_lanes.c)
 *   answer_for, reply      takeover_settle (arbiter/takeover.c)
 *   takeover               takeover_overdue
 *
 * Checked, by assertions and by `End`, which looks at each state in which nothing happens:
 *   - Only one process reads from or writes to the connection at a time, and nobody writes
 *     behind half a frame.
 *   - Each request has one answer, or its connection ends. No other answer is sent.
 *   - A request never waits for ever in the epoll, in the queue or in a channel. The
 *     arbiter's looks, which find such a request late, are left out on purpose.
 *   - In the end each lane that lives sleeps in the epoll, and the arbiter knows that it is
 *     idle. No lane waits for a message that never comes.
 *   - A page never contradicts itself: see `adopt` and `settle`.
 *
 * A budget bounds what may happen at any time: DEATHS, ADOPTS, TAKEOVERS, TAKE_BACKS.
 *
 * Left out: page.connection, because there is one connection; a second connection on the board, tickets, how a connection becomes shared and
 * stops to be; hang-ups and half-closed connections; requests in pieces or longer than a
 * page; two requests in one receive; NEED and COPY; shared_count, bell and pace; STOP and
 * drains; errors of send; lanes that write nonsense; the start of a new worker; a takeover
 * while the lane writes. Endless loops are not looked for.
 *
 * Each of these puts a mistake in, and the search must find an error:
 *   MORE_BY_STORE      MORE is set without a look whether there still is an owner
 *   MORE_IGNORED       a release does not look at MORE
 *   NO_ARM             the arbiter does not arm the epoll for a dead lane
 *   ARM_FREE_ONLY      it does so only for a connection that nobody owns
 *   WANTED_EARLY       the lane reads `wanted` before it is idle
 *   PAGE_LATE          the lane writes the page after the board's word
 *   ZERO_LATE          a lane that looks again begins before it has zeroed the last request
 *   HEAD_LATE          the arbiter reads the request after it has adopted it
 *   SLEEP_UNSAID       the lane looks for messages before it says that it sleeps
 */

#ifndef REQUESTS
#define REQUESTS 2
#endif
#ifndef EXTRA
#define EXTRA 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef TAKEOVERS
#define TAKEOVERS 1
#endif
#ifndef ADOPTS
#define ADOPTS 1
#endif
#ifndef TAKE_BACKS
#define TAKE_BACKS 1
#endif
/* How many requests the caller sends before it waits for an answer. */
#ifndef WINDOW
#define WINDOW 1
#endif

#define NOBODY 0
#define ARBITER 1
#define LANE(i) ((i) + 2)

#define NONE 0
#define CONN 1 /* the request of the shared connection */
#define THE_OTHER 2

mtype:baton = {IDLE, READING, RUNNING, WRITING, ANSWERED, TAKEN, FREE};
mtype:message = {DISPATCH, RESUME, WANT, DONE, BOUNCED};
mtype:state = {AWAITED, SHARED, QUEUED, RUN, OVER};

/* -- Shared memory ------------------------------------------------------------------ */

byte owner = NOBODY; /* the board's word */
bool more;

typedef page {
    mtype:baton state = IDLE;
    bool report;
    bool head = true; /* it does not begin with zeros; the last request is still there */
    bool received = true;
    bool wanted;
    bool asleep = true;
    short unread; /* page.sent - ready.messages */
}
page p[2];
byte watched; /* 1 + i: the arbiter has read lane i's baton, and its seq is still the same */

/* -- Kernel ------------------------------------------------------------------------- */

byte input;    /* requests in the socket */
bool edge;     /* the epoll has an event */
bool signal[2]; /* pending */
bool dead[2];
byte deaths = DEATHS;
chan to_lane[2] = [4] of {mtype:message, byte};
chan to_arbiter[2] = [6] of {mtype:message, bool};

/* -- What is true, for assertions ------------------------------------------------------ */

byte user;  /* who reads or writes now */
bool half;  /* half a frame is written */
byte asked, answered;
bool closed;
byte other_answers;

#define IS_IDLE(i) (p[i].state == IDLE || p[i].state == FREE)
#define IS_ANSWERED(i) (p[i].state == ANSWERED || p[i].state == FREE)

inline use(who) {
    assert(user == NOBODY);
    user = who;
}

/* -- Callers ---------------------------------------------------------------------------- */

active proctype Caller() {
    do
    :: atomic {
           !closed && asked < REQUESTS && asked - answered < WINDOW && input == 0 ->
           asked++;
           input++;
           edge = true;
       }
    :: atomic { closed || (asked == REQUESTS && answered == REQUESTS) -> break }
    od
}

mtype:state other = AWAITED;

active proctype Other() {
#if EXTRA
    other = QUEUED;
    other == OVER;
    assert(other_answers <= 1);
#else
    skip;
#endif
}

/* -- Baton and board: each is one swap, used within atomic ------------------------------ */

inline baton_claim(i, with_report, result) {
    if
    :: IS_IDLE(i) ->
        p[i].state = READING;
        p[i].report = with_report;
        watched = (watched == i + 1 -> 0 : watched); /* another seq */
        result = true;
    :: else -> result = false;
    fi
}

inline baton_move(i, from, to, result) {
    if
    :: p[i].state == from -> p[i].state = to; result = true;
    :: else -> result = false;
    fi
}

inline baton_end(i, reported) {
    reported = p[i].report;
    p[i].state = (reported && IS_ANSWERED(i) -> FREE : IDLE); /* FREE matters only then */
    p[i].report = false;
    p[i].head = true; /* what an idle lane's page says is worth nothing: let it be the worst */
    p[i].received = true;
}

inline board_release(i, is_again) {
    assert(owner == LANE(i) || closed);
    if
    :: owner != LANE(i) -> is_again = false;
#ifdef MORE_IGNORED
    :: owner == LANE(i) -> owner = NOBODY; more = false; is_again = false;
#else
    :: owner == LANE(i) && more -> more = false; is_again = true;
    :: owner == LANE(i) && !more -> owner = NOBODY; is_again = false;
#endif
    fi
}

/* -- Lane --------------------------------------------------------------------------- */

#ifdef WANTED_EARLY
#define WANTED wanted_before
#define NOTE_WANTED atomic { LIVES; wanted_before = p[me].wanted; }
#else
#define WANTED p[me].wanted
#define NOTE_WANTED skip
#endif

/* Each step of a lane begins with this: a dead lane does no more. Steps on its own
 * variables belong to the step before. */
#define LIVES !dead[me]

inline board_take(result) {
    atomic {
        LIVES;
        if
        :: owner == NOBODY -> owner = LANE(me); result = true;
#ifdef MORE_BY_STORE
        :: else -> result = false;
#else
        :: else -> more = true; result = false;
#endif
        fi
    }
#ifdef MORE_BY_STORE
    atomic {
        LIVES;
        if
        :: !result -> more = true;
        :: else
        fi
    }
#endif
}

/* WANT goes with the read of `wanted`: the arbiter may receive it as late as it likes. */
inline must_listen(result) {
    atomic {
        LIVES;
        result = p[me].unread > 0;
        if
        :: result
        :: !result && !WANTED
        :: !result && WANTED && slice -> zero = true; /* the slice is not over */
        :: !result && WANTED ->
            slice = false;
            result = true;
            if
            :: !told -> to_arbiter[me]!WANT(false); told = true;
            :: else
            fi
        fi
    }
}

inline announce() {
    atomic { LIVES; p[me].received = false; p[me].head = false; }
}

inline become_idle() {
    NOTE_WANTED;
    atomic { LIVES; baton_end(me, ok); }
    if
    :: ok -> atomic { LIVES; to_arbiter[me]!DONE(true); told = true; }
    :: else
    fi;
    ok = false
}

inline send_bounced(with_bytes) {
    atomic { LIVES; to_arbiter[me]!BOUNCED(with_bytes); }
}

proctype Lane(byte me) {
    bool ok, told, slice, again, direct, zero;
#ifdef WANTED_EARLY
    bool wanted_before;
#endif
    byte what; /* the request that is served */
    goto asleep;
next:
    zero = false;
    if
    :: again -> again = false; goto take_again;
    :: else
    fi;

    /* sleep_in_epoll. The look of dirty_ready_next before it changes nothing. */
#ifdef SLEEP_UNSAID
    must_listen(ok);
    if
    :: ok -> goto listen;
    :: else
    fi;
    atomic { LIVES; p[me].asleep = true; }
#else
    atomic { LIVES; p[me].asleep = true; }
    must_listen(ok);
    if
    :: ok -> atomic { LIVES; p[me].asleep = false; } goto listen;
    :: else
    fi;
#endif
asleep:
    do /* the kernel looks again whether there is input */
    :: atomic { LIVES && edge && input == 0 -> edge = false; }
    :: atomic { LIVES && edge && input > 0 -> edge = false; p[me].asleep = false; break; }
    :: atomic {
           LIVES && !edge && signal[me] ->
           signal[me] = false;
           p[me].asleep = false;
           goto next;
       }
    :: atomic { LIVES && !edge && zero -> slice = false; p[me].asleep = false; goto next; }
    od;
    zero = false;

    /* take */
    atomic {
        LIVES;
        baton_claim(me, false, ok);
        told = told && !ok;
    }
    if
    :: !ok ->
        announce(); /* pass_on */
        board_take(ok);
        if
        :: ok -> send_bounced(false);
        :: else
        fi;
        goto listen;
    :: else
    fi;
#ifdef PAGE_LATE
    board_take(ok);
#else
    announce();
    board_take(ok);
#endif
    if
    :: !ok -> become_idle(); goto next;
    :: else
    fi;
#ifdef PAGE_LATE
    announce();
#endif

receive:
    atomic {
        LIVES;
        assert(owner == LANE(me) && user == NOBODY);
        ok = input > 0;
        p[me].head = ok;
        input = 0;
    }
    if
    :: !ok ->
        atomic { LIVES; board_release(me, again); }
        become_idle();
        goto next;
    :: else
    fi;
    atomic { LIVES; p[me].received = true; what = CONN; direct = true; }
    if
    :: goto serve;
    :: direct = false; /* it is for the arbiter to answer */
        what = NONE;
        send_bounced(true);
        become_idle();
        goto next;
    fi;

take_again:
#ifndef ZERO_LATE
    announce();
#endif
    must_listen(ok);
    if
    :: !ok -> atomic { LIVES; baton_claim(me, false, ok); told = told && !ok; ok = !ok; }
    :: else
    fi;
#ifdef ZERO_LATE
    announce();
#endif
    if
    :: ok -> send_bounced(false); goto listen;
    :: else
    fi;
    goto receive;

listen:
    atomic {
        LIVES;
        if
        :: to_lane[me]?DISPATCH(what);
        :: to_lane[me]?RESUME(what);
        fi;
        p[me].unread--;
        told = false;
        ok = false;
    }
    if
    :: what == NONE -> goto next;
    :: else
    fi;

serve: /* handle */
    atomic { LIVES; baton_move(me, READING, RUNNING, ok); }
    if
    :: ok ->
        atomic {
            LIVES;
            baton_move(me, RUNNING, WRITING, ok);
            if
            :: ok && what == CONN ->
                use(LANE(me));
                assert(!half && answered < asked);
                half = true;
            :: else
            fi
        }
    :: else
    fi;
    if
    :: !ok
    :: ok && what == CONN ->
        atomic { LIVES; half = false; answered++; user = NOBODY; }
        atomic { LIVES; p[me].state = ANSWERED; }
    :: ok && what == THE_OTHER ->
        atomic { LIVES; other_answers++; p[me].state = ANSWERED; }
    fi;
    what = (ok -> 0 : 1); /* dropped */
    if
    :: ok && direct ->
        atomic {
            LIVES;
            if
            :: !p[me].report -> board_release(me, again); /* it can't change any more */
            :: else
            fi
        }
    :: else
    fi;
    NOTE_WANTED;
    atomic { LIVES; baton_end(me, ok); }
    if
    :: ok ->
        atomic { LIVES; to_arbiter[me]!DONE(what != 0); told = true; }
        if
        :: !direct -> atomic { LIVES; slice = p[me].wanted; }
        :: else -> slice = false;
        fi;
    :: else
    fi;
    direct = false;
    what = NONE;
    ok = false;
    goto next
}

/* -- Arbiter -------------------------------------------------------------------------- */

mtype:state conn = SHARED;
bool busy[2], wanted[2], idle[2], reaped[2];
byte request[2]; /* NONE: no request, or it is answered */

inline wake(i) {
    p[i].unread++;
    if
    :: p[i].asleep -> signal[i] = true;
    :: else
    fi;
}

inline resume(i) {
    atomic { wanted[i] = false; p[i].wanted = false; }
    if
    :: atomic { !dead[i] -> to_lane[i]!RESUME(NONE); }
       wake(i);
    :: dead[i]
    fi;
}

/* Send a request to a lane. */
inline give(i, which) {
    atomic { baton_claim(i, true, done); }
    if
    :: !done ->
        atomic { wanted[i] = true; p[i].wanted = true; }
        atomic { baton_claim(i, true, done); }
    :: else
    fi;
    idle[i] = false;
    if
    :: !done
    :: atomic {
           done && !dead[i] ->
           to_lane[i]!DISPATCH(which);
           busy[i] = true;
           request[i] = which;
           if
           :: which == CONN -> conn = RUN;
           :: else -> other = RUN;
           fi;
       }
       wake(i);
    :: atomic { done && dead[i] -> baton_end(i, done); } /* EPIPE */
    fi;
    done = false;
}

inline pull(i) {
    if
    :: conn == QUEUED -> give(i, CONN);
    :: other == QUEUED -> give(i, THE_OTHER);
    :: conn != QUEUED && other != QUEUED ->
        idle[i] = true;
        if
        :: wanted[i] -> resume(i);
        :: else
        fi;
    fi;
}

inline arm() {
    atomic {
        if
        :: input > 0 && !closed -> edge = true;
        :: else
        fi
    }
}

inline let_go() {
    atomic { done = more; owner = NOBODY; more = false; conn = SHARED; }
    if
    :: done -> arm();
    :: else
    fi;
    done = false;
}

inline close_conn() {
    atomic { closed = true; owner = ARBITER; conn = OVER; edge = false; }
}

/* The connection has had its answer. */
inline conn_done() {
    let_go(); /* after a seize, which changes nothing that others could see */
}

inline look_at_input() {
    atomic {
        assert(user == NOBODY);
        if
        :: input > 0 -> input = 0; conn = QUEUED;
        :: else
        fi
    }
    if
    :: conn == SHARED -> let_go();
    :: else
    fi;
}

inline reply() {
    atomic {
        use(ARBITER);
        assert(!half && (answered < asked));
        half = true;
    }
    atomic { half = false; answered++; user = NOBODY; }
    conn_done();
}

inline answer_for(which) {
    if
    :: which == CONN -> reply();
    :: which == THE_OTHER -> atomic { other_answers++; other = OVER; }
    :: else
    fi;
}

/* A lane's last request has ended. */
inline on_done(i, is_dropped) {
    atomic {
        assert(busy[i]);
        busy[i] = false;
        r = request[i];
        request[i] = NONE;
        p[i].state = (p[i].state == FREE -> IDLE : p[i].state);
    }
    pull(i);
    if
    :: r == CONN && is_dropped -> close_conn();
    :: r == CONN && !is_dropped -> conn_done();
    :: r == THE_OTHER -> other = OVER;
    :: else
    fi;
    r = NONE;
}

inline on_bounced(i, with_bytes) {
    if
    :: conn == SHARED && owner == LANE(i) ->
        owner = ARBITER; /* seize */
        if
        :: with_bytes -> conn = QUEUED;
        :: else -> look_at_input();
        fi;
    :: else /* DONE comes */
    fi;
}

#define HAS_BEGUN(s, h) (s == RUNNING || s == WRITING || (s == READING && h))

inline adopt(i) {
    /* the caller of this has read the baton: see `seen` and `watched` */
    if
    :: owner == LANE(i) ->
        done = p[i].head;
        flag = p[i].received;
        if
        :: done && (seen != READING || flag) ->
            atomic {
                done = watched == i + 1 && !p[i].report &&
                       HAS_BEGUN(p[i].state, true);
                p[i].report = p[i].report || done;
            }
#ifdef HEAD_LATE
            flag = p[i].received;
#endif
            if
            :: done ->
                assert(flag); /* or the arbiter sees a contradiction */
                atomic { busy[i] = true; request[i] = CONN; conn = RUN; }
            :: else
            fi;
        :: else
        fi;
    :: else
    fi;
    atomic { done = false; flag = false; }
}

inline settle(i) {
    if
    :: conn == SHARED && owner == LANE(i) ->
        if
        :: busy[i] || !HAS_BEGUN(p[i].state, p[i].head) ->
            owner = ARBITER; /* seize */
            let_go();
            arm();
        :: !busy[i] && HAS_BEGUN(p[i].state, p[i].head) && !p[i].received -> close_conn();
        :: !busy[i] && p[i].state == READING && p[i].head && p[i].received ->
            owner = ARBITER; /* give_back_part */
            conn = QUEUED;
        :: !busy[i] && HAS_BEGUN(p[i].state, p[i].head) && p[i].received ->
            atomic { busy[i] = true; request[i] = CONN; conn = RUN; }
        fi;
#ifndef NO_ARM
#ifdef ARM_FREE_ONLY
    :: conn == SHARED && owner == NOBODY -> arm();
#else
    :: conn != OVER && !(conn == SHARED && owner == LANE(i)) -> arm();
#endif
#endif
    :: else
    fi;
    if
    :: busy[i] ->
        busy[i] = false;
        r = request[i];
        request[i] = NONE;
        if
        :: (p[i].state == READING || p[i].state == RUNNING) ->
            answer_for(r);
        :: r == CONN && IS_ANSWERED(i) -> conn_done();
        :: r == CONN && (p[i].state == WRITING || p[i].state == TAKEN ||
                         p[i].state == IDLE) -> close_conn();
        :: r == THE_OTHER && p[i].state != READING && p[i].state != RUNNING -> other = OVER;
        :: else
        fi;
    :: else
    fi;
    atomic {
        r = NONE;
        reaped[i] = true;
        idle[i] = false;
    }
}

inline takeover(i) {
    seen = p[i].state;
    if
    :: seen == READING || (seen == RUNNING && deaths > 0) ->
        atomic { baton_move(i, seen, TAKEN, done); }
        if
        :: done ->
            r = request[i];
            request[i] = NONE;
            answer_for(r);
            r = NONE;
            if
            :: seen == RUNNING && deaths > 0 -> atomic { dead[i] = true; deaths = 0; }
            :: else
            fi;
        :: else
        fi;
    :: else
    fi;
    seen = IDLE;
    done = false;
}


#define CAN_ADOPT(i)                                                                     \
    (!busy[i] && !reaped[i] && !p[i].report && HAS_BEGUN(p[i].state, true))
#define HAS_REQUEST(i) (busy[i] && !reaped[i] && request[i] != NONE)

active proctype Arbiter() {
    bool done, flag;
    byte r, l;
    byte takeovers = TAKEOVERS, take_backs = TAKE_BACKS, adopts = ADOPTS;
    mtype:baton seen = IDLE;
    mtype:message kind;
    atomic {
        idle[0] = true;
        idle[1] = true;
        run Lane(0);
        run Lane(1);
    }
    do
    :: atomic {
           if
           :: nempty(to_arbiter[0]) -> l = 0;
           :: nempty(to_arbiter[1]) -> l = 1;
           fi;
           to_arbiter[l]?kind(flag);
       }
       if
       :: kind == WANT ->
           if
           :: !busy[l] && !reaped[l] -> pull(l);
           :: else
           fi;
       :: kind == DONE -> on_done(l, flag);
       :: kind == BOUNCED -> on_bounced(l, flag);
       fi;
       atomic { l = 0; flag = false; kind = WANT; }
    :: atomic { /* dispatch_rematch, admit */
           if
           :: idle[0] && (conn == QUEUED || other == QUEUED) -> l = 0;
           :: idle[1] && (conn == QUEUED || other == QUEUED) -> l = 1;
           fi;
           if
           :: conn == QUEUED -> r = CONN;
           :: other == QUEUED -> r = THE_OTHER;
           fi;
       }
       give(l, r);
       atomic { l = 0; r = NONE; }
    :: atomic {
           adopts > 0 && conn == SHARED && (CAN_ADOPT(0) || CAN_ADOPT(1));
           if
           :: CAN_ADOPT(0) -> l = 0;
           :: CAN_ADOPT(1) -> l = 1;
           fi;
           seen = p[l].state;
           watched = l + 1;
           adopts--;
       }
       adopt(l);
       atomic { l = 0; seen = IDLE; watched = 0; }
    :: atomic {
           if
           :: dead[0] && !reaped[0] && empty(to_arbiter[0]) -> l = 0;
           :: dead[1] && !reaped[1] && empty(to_arbiter[1]) -> l = 1;
           fi;
       }
       settle(l);
       l = 0;
    :: atomic {
           takeovers > 0 && (HAS_REQUEST(0) || HAS_REQUEST(1));
           if
           :: HAS_REQUEST(0) -> l = 0;
           :: HAS_REQUEST(1) -> l = 1;
           fi;
           takeovers--;
       }
       if
       :: true -> takeover(l);
       :: true
       fi;
       l = 0;
    :: atomic { take_backs > 0 && conn == SHARED -> take_backs--; }
       atomic {
           if
           :: owner == NOBODY -> owner = ARBITER; done = true;
           :: true
           fi;
       }
       if
       :: done -> done = false; look_at_input();
       :: else
       fi;
    od
}

/* -- Death and the end ---------------------------------------------------------------- */

active proctype Death() {
    if
    :: atomic {
           deaths > 0 -> /* the lanes are alike: it need not be the other one */
           dead[0] = true;
           deaths = 0;
           user = (user == LANE(0) -> NOBODY : user);
       }
    :: true
    fi
}

#define IS_FINE(i) (reaped[i] || (!dead[i] && idle[i] && p[i].asleep && IS_IDLE(i)))

/* Nothing happens any more. */
active proctype End() {
    timeout;
    assert(closed || (asked == REQUESTS && answered == REQUESTS));
    assert(input == 0 || closed);
    assert(other == OVER || !EXTRA);
    assert(IS_FINE(0) && IS_FINE(1));
}
