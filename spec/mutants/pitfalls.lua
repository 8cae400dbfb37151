-- Puts known mistakes into the fast path, one at a time, and sees the named test fail.
--
--     luajit spec/mutants/pitfalls.lua     (make pitfalls)
--
-- Each is a mistake that one makes easily, and that a measurement or a prototype has shown to cost
-- a request, a connection or the gain. The first nine are those that spec/model/run.sh puts into
-- the model, by the same names. They are put into a copy of what git tracks and of build/, which is
-- built and tested. A test that fails must have passed in the sound copy before. The last line is
-- "N passed, N failed". Environment: ONLY=NAMES (these alone), TEST_SECONDS, the limit of one test
-- (100).
local only = os.getenv "ONLY"
only = only ~= "" and only or nil
local limit_s = tonumber(os.getenv "TEST_SECONDS") or 100

-- Words of a shell that run one test of a file.
local STEPS = "DIRTY_TEST='%s' spec/run.sh c build/spec/test_ready" -- killed between two steps
local THREADS = "DIRTY_TEST='%s' spec/run.sh c build/spec/test_ready_threads" -- at full speed
local LONG = "DIRTY_RIG_SECONDS=10 " .. THREADS
local APPS = "spec/run.sh lua --filter=%s spec/runtime/ready_lanes_spec.lua"

local BOARD = "runtime/base/board.h"
local READY = "runtime/worker/ready.c"
local LANE = "runtime/arbiter/lane.c"
local SHARED = "runtime/arbiter/shared_conns.c"
local LOOKS = "runtime/arbiter/ready_lanes.c"
local HANGUPS = "runtime/arbiter/hangup_watch.c"

-- Where a mistake needs a bad moment, it waits there, or makes a step at which the test may stop
-- the lane. In each: its name, the file and the name of the test that notices; then file, text, and
-- what takes its place.
local PITFALLS = {
    -- -- as in the model ----------------------------------------------------------------------
    -- MORE is set on a word that has become free meanwhile.
    { "MORE_BY_STORE", THREADS, "lanes_lose_no_event", BOARD, [[
        if (atomic_compare_exchange_weak(at, &word,
                                         is_free ? word | me : word | DIRTY_BOARD_MORE))]], [[
        if (!is_free) {
            atomic_fetch_or(at, DIRTY_BOARD_MORE);
            return DIRTY_BOARD_BUSY;
        }
        if (atomic_compare_exchange_weak(at, &word, word | me))]] },
    { "MORE_IGNORED", THREADS, "lanes_lose_no_event", BOARD, [[
        bool more = (word & DIRTY_BOARD_MORE) != 0;]], [[
        bool more = false;]] },
    -- The event that a dead lane has swallowed is not repeated.
    { "NO_ARM", THREADS, "lanes_that_die", LOOKS, [[
            shared_conns_arm(c); /* the lane may have swallowed its event */]], [[
            continue;]] },
    { "ARM_FREE_ONLY", THREADS, "an_event_that_dies_beside_its_owner", LOOKS, [[
        else
            shared_conns_arm(c); /* the lane may have swallowed its event */]], [[
        else if (shared_conns_owner(c) == DIRTY_BOARD_NOBODY)
            shared_conns_arm(c);]] },
    -- The lane reads `wanted` before it is idle.
    { "WANTED_EARLY", THREADS, "lane_and_arbiter_do_not_miss_each_other", READY, [[
static void join(dirty_ready *r) {]], [[
static _Thread_local bool wanted_before;
static void join(dirty_ready *r) {]], READY, [[
    bool wanted = atomic_load(&r->page->wanted) != 0;
    bool in_slice]], [[
    bool wanted = wanted_before;
    bool in_slice]], READY, [[
    if (!dirty_baton_end(r->page, r->seq))
        return;]], [[
    wanted_before = atomic_load(&r->page->wanted) != 0;
    if (!dirty_baton_end(r->page, r->seq))
        return;]], READY, [[
int dirty_ready_answered(dirty_ready *r, const dirty_msg_done *done) {]], [[
int dirty_ready_answered(dirty_ready *r, const dirty_msg_done *done) {
    wanted_before = atomic_load(&r->page->wanted) != 0;]], READY, [[
    r->messages++;]], [[
    r->messages++;
    wanted_before = false;]] },
    -- The page says only after the board which connection the lane has.
    { "PAGE_LATE", STEPS, "a_lane_killed_at_each_step", READY, [[
    announce(r);
    dirty_step("announced");
    switch]], [[
    switch]], READY, [[
    case DIRTY_BOARD_DONE: return receive(r, e->events);]], [[
    case DIRTY_BOARD_DONE:
        dirty_step("announced");
        announce(r);
        return receive(r, e->events);]] },
    -- A lane that looks again begins while its page shows the last request.
    { "ZERO_LATE", LONG, "lanes_that_die", READY, [[
    announce(r); /* before READING: the page must not show the last request any more */
]], "", READY, [[
    r->told = false;
    struct pollfd p]], [[
    r->told = false;
    dirty_step("again");
    announce(r);
    struct pollfd p]] },
    -- The arbiter reads which request it is after it has adopted it.
    { "HEAD_LATE", STEPS, "calls_with_near_deadlines", LOOKS, [[
!read_head(l, c) || !dirty_baton_adopt(l->page, seq))]], [[
!dirty_baton_adopt(l->page, seq) ||
        poll(NULL, 0, 1) != 0 || !read_head(l, c))]] },
    -- The lane looks for messages before it says that it sleeps.
    { "SLEEP_UNSAID", THREADS, "lane_and_arbiter_do_not_miss_each_other", READY, [[
    atomic_store(&r->page->asleep, 1);
    atomic_fetch_or_explicit(waiting, bit, memory_order_relaxed);
    bool listen = must_listen(r);]], [[
    bool listen = must_listen(r);
    poll(NULL, 0, 1);
    atomic_store(&r->page->asleep, 1);
    atomic_fetch_or_explicit(waiting, bit, memory_order_relaxed);]] },

    -- -- lane and arbiter ---------------------------------------------------------------------
    -- The arbiter does not try again after it has set `wanted`.
    { "WANTED_UNTRIED", THREADS, "lane_and_arbiter_do_not_miss_each_other", LANE, [[
    atomic_store(&l->page->wanted, 1);
    return dirty_baton_claim(l->page, DIRTY_BATON_REPORT, &l->seq);]], [[
    poll(NULL, 0, 1);
    atomic_store(&l->page->wanted, 1);
    return false;]], LANE, "#include <errno.h>", "#include <errno.h>\n#include <poll.h>" },
    -- It looks whether the lane sleeps before it has sent the message.
    { "ASLEEP_EARLY", THREADS, "lane_and_arbiter_do_not_miss_each_other", LANE, [[
    ssize_t n;
    do
        n = sendmsg(l->fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    wake(l);]], [[
    ssize_t n;
    bool asleep = l->page != NULL && atomic_load(&l->page->asleep) != 0;
    poll(NULL, 0, 1);
    do
        n = sendmsg(l->fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (asleep)
        wake(l);
    else
        atomic_fetch_add(&l->page->sent, 1);]],
        LANE, "#include <errno.h>", "#include <errno.h>\n#include <poll.h>" },
    -- The signal that wakes a lane is not blocked before it sleeps.
    { "WAKE_UNBLOCKED", THREADS, "lane_and_arbiter_do_not_miss_each_other", READY, [[
        n = epoll_pwait(]], [[
        pthread_sigmask(SIG_SETMASK, &r->asleep_mask, NULL);
        poll(NULL, 0, 1);
        n = epoll_pwait(]] },
    -- Nobody wakes the lanes when the first connection is shared.
    { "SHARED_UNSAID", STEPS, "one_shared_connection_after_another", SHARED, [[
            arbiter_mark(c->a, MARK_SHARED);]], [[
            return true;]] },

    -- -- death --------------------------------------------------------------------------------
    -- The page still shows the last request.
    { "NO_ZEROS", STEPS, "a_lane_killed_at_each_step", READY, [[
    memset(r->page->head, 0, DIRTY_DIRECT_MARK_BYTES);]], "" },
    -- A request is there before the time of its arrival.
    { "TIME_LATE", STEPS, "the_first_request_of_a_new_lane", READY, [[
    atomic_store_explicit(&r->page->received_ns, now_ns, memory_order_relaxed);
    dirty_step("noted");
    atomic_store_explicit(&r->page->received, n > 0 ? (uint32_t)n : 0,
                          memory_order_release);]], [[
    atomic_store_explicit(&r->page->received, n > 0 ? (uint32_t)n : 0,
                          memory_order_release);
    dirty_step("noted");
    atomic_store_explicit(&r->page->received_ns, now_ns, memory_order_relaxed);]] },
    -- What a dead lane has received in part is lost.
    { "PART_LOST", STEPS, "a_part_of_a_request_survives_its_lane", LOOKS, [[
    if (state == DIRTY_BATON_READING && give_back_part(l, c))
        return;]], "" },
    -- A connection whose lane died before it read anything is not let go.
    { "UNREAD_UNARMED", STEPS, "a_lane_killed_at_each_step", LOOKS, [[
        shared_conns_release(c);
        shared_conns_arm(c);
        return;]], [[
        return;]] },

    -- -- callers that leave -------------------------------------------------------------------
    -- A lane serves a caller that has hung up while it waited.
    { "HANGUP_SERVED", THREADS, "who_leaves_while_it_waits_is_not_served", READY, [[
    if (r->fd < 0 || (events & (EPOLLHUP | EPOLLERR)) != 0) {]], [[
    if (r->fd < 0) {]] },
    -- A half-closed caller is taken for one that has hung up.
    { "HALF_CLOSED_LOST", STEPS, "a_half_closed_caller_gets_its_answer",
        HANGUPS, [[.events = EPOLLET, .data.ptr = c]],
        [[.events = EPOLLET | EPOLLRDHUP, .data.ptr = c]] },
    -- The arbiter does not learn of a half-closed caller whose call it has adopted.
    { "HALF_CLOSED_UNSAID", THREADS, "a_half_closed_caller_whose_call_is_adopted", READY, [[
        return r->half_closed ? tell_half_closed(r) : 0; /* it will with DONE */]], [[
        return (void)tell_half_closed, 0;]] },
    -- Nor of one whose request a lane gives back.
    { "HALF_CLOSED_BACK", THREADS, "a_half_closed_caller_whose_request_goes_back", READY, [[
    if (end == DIRTY_CONNECTION_KEEP)
        dirty_board_take(word_of(r), r->ticket, r->me); /* it has an owner: sets MORE */]], "" },
    -- EPOLLPRI, as UV_PRIORITIZED: a unix socket reports it with every byte.
    { "HANGUP_BY_PRIORITY", THREADS, "one_caller_and_two_lanes",
        HANGUPS, [[.events = EPOLLET, .data.ptr = c]],
        [[.events = EPOLLET | EPOLLPRI, .data.ptr = c]], HANGUPS, [[
        if (c->watched)]], [[
        if (c->watched && (events[i].events & (EPOLLHUP | EPOLLERR)) != 0)]] },

    -- -- descriptors --------------------------------------------------------------------------
    -- A lane uses its copy of the last connection of a slot.
    { "TICKET_IGNORED", STEPS, "one_shared_connection_after_another", READY, [[
    if (copy->fd_plus_one == 0 || copy->ticket != r->ticket) {]], [[
    if (copy->fd_plus_one == 0) {]] },
    -- A new connection of a slot has the ticket of the last one.
    { "TICKET_KEPT", STEPS, "one_shared_connection_after_another", SHARED, [[
(s->tickets[c->slot] + 1) & DIRTY_BOARD_TICKET_MASK]], [[
s->tickets[c->slot] & DIRTY_BOARD_TICKET_MASK]] },
    -- Copies have low numbers.
    { "LOW_COPIES", APPS, "give.no.copy",
        "runtime/base/descriptors.c", [[F_DUPFD_CLOEXEC, DIRTY_DESCRIPTORS_HIGH]],
        [[F_DUPFD_CLOEXEC, 3]] },
    -- A child that an app forks keeps the copies.
    { "COPIES_IN_CHILD", APPS, "give.no.copy", READY, [[
        pthread_atfork(NULL, NULL, on_fork_in_child);]], [[
        (void)on_fork_in_child;]] },

    -- -- the queue ----------------------------------------------------------------------------
    -- Who had to wait in the queue is not shared.
    { "QUEUED_UNSHARED", STEPS, "many_callers_leave_the_queue", "runtime/arbiter/conn.c", [[
    if (!conn_set_state(c, CONN_QUEUED))]], [[
    c->fits = 0;
    if (!conn_set_state(c, CONN_QUEUED))]] },
    -- Without patience one late look puts everybody into the queue.
    { "NO_PATIENCE", STEPS, "who_waits_for_a_moment_is_not_queued", LOOKS, [[
    return !moving || now_ns - c->seen_ns >= PATIENCE_NS ||]], [[
    return true || !moving || now_ns - c->seen_ns >= PATIENCE_NS ||]] },
}

local copy = dofile "spec/mutants/copy.lua"
local lines_of = copy.lines_of
local place = lines_of("mktemp -d /tmp/pXXXXXX")[1]
assert(os.execute(("git ls-files -z | xargs -0 cp -p --parents -t %s && cp -a build %s")
    :format(place, place)) == 0)

local read, write = copy.files(place)

-- The text with its only `from` replaced.
local function replace(text, from, to)
    local first, last = text:find(from, 1, true)
    if not first or text:find(from, last + 1, true) then
        return nil
    end
    return text:sub(1, first - 1) .. to .. text:sub(last + 1)
end

local function build(test)
    local target = test:match "build/spec/%S+" or "all"
    return os.execute(("make -s -j$(nproc) -C %s CFLAGS=-O1 %s >%s/log 2>&1"):format(place, target,
        place)) == 0
end

-- Returns nil if the test passes, else the names of what failed in it.
local function failures(test)
    local words = {}
    local command = ("cd %s && TEST_SECONDS=%d SPEC_SECONDS=%d; export TEST_SECONDS " ..
        "SPEC_SECONDS; %s 2>&1"):format(place, limit_s, limit_s, test)
    local list = lines_of(command)
    for _, line in ipairs(list) do
        local name = line:match "^%[  FAILED  %] (%S+)" or line:match "^Failure → (.*)"
        if name and not words[name] then
            words[name], words[#words + 1] = true, name
        end
    end
    local failed = tonumber((list[#list] or ""):match "(%d+) failed$")
    if failed == 0 then
        return nil
    end
    return words[1] and table.concat(words, ", ") or list[#list] or "?"
end

local sound = {}

-- "passed" or "failed": was the pitfall noticed? And by what, or why not.
local function try(pitfall, test)
    local before = {}
    if not sound[test] then
        return "failed", "the test fails without it"
    end
    local fault
    for i = 4, #pitfall, 3 do
        local path = pitfall[i]
        local text = read(path)
        before[path] = before[path] or text
        local changed = replace(text, pitfall[i + 1], pitfall[i + 2])
        if changed then
            write(path, changed)
        else
            fault = path .. " has not its text, or has it twice"
        end
    end
    if not fault and not build(test) then
        fault = "it can't be built:\n" .. table.concat(lines_of("tail -n 5 " .. place .. "/log"),
            "\n")
    end
    local found = not fault and failures(test)
    for path, text in pairs(before) do
        write(path, text)
    end
    return found and "passed" or "failed", found or fault or "unnoticed by " .. test
end

io.stdout:setvbuf "line"
local chosen, totals = {}, { passed = 0, failed = 0 }
for _, pitfall in ipairs(PITFALLS) do
    if not only or (" " .. only .. " "):find(" " .. pitfall[1] .. " ", 1, true) then
        chosen[#chosen + 1] = { pitfall, pitfall[2]:format(pitfall[3]) }
    end
end
for _, each in ipairs(chosen) do
    local test = each[2]
    if sound[test] == nil then
        assert(build(test), "the sources as they are can't be built: see " .. place .. "/log")
        sound[test] = not failures(test) or not failures(test)
    end
end
for _, each in ipairs(chosen) do
    local begun = os.time()
    local outcome, words = try(unpack(each))
    totals[outcome] = totals[outcome] + 1
    print(("[%s] %s: %s, %d s"):format(outcome == "passed" and "  OK  " or "FAILED", each[1][1],
        words, os.time() - begun))
end
os.execute("rm -rf " .. place)
print(("%d passed, %d failed"):format(totals.passed, totals.failed))
os.exit(totals.failed == 0 and totals.passed > 0 and 0 or 1)
