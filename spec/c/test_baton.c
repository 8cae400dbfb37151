#include "harness.h"

#include <pthread.h>
#include <sched.h>

#include "base/baton.h"

static const dirty_baton_state all_states[] = {
    DIRTY_BATON_IDLE,    DIRTY_BATON_READING,  DIRTY_BATON_RUNNING,
    DIRTY_BATON_WRITING, DIRTY_BATON_ANSWERED, DIRTY_BATON_TAKEN,
};
#define STATES (sizeof all_states / sizeof *all_states)

static void a_zeroed_page_is_idle(void **state) {
    (void)state;
    dirty_lane_page page = {0};
    assert_int_equal(dirty_baton_read(&page, 0), DIRTY_BATON_IDLE);
    assert_int_equal(dirty_baton_read(&page, 1), DIRTY_BATON_IDLE);
}

static void begin_starts_from_every_end(void **state) {
    (void)state;
    for (size_t i = 0; i < STATES; i++) {
        dirty_lane_page page = {0};
        atomic_store(&page.baton, dirty_baton_word(6, all_states[i]));
        dirty_baton_begin(&page, 7);
        assert_int_equal(dirty_baton_read(&page, 7), DIRTY_BATON_READING);
        assert_int_equal(dirty_baton_read(&page, 6), DIRTY_BATON_IDLE);
    }
}

/* A request goes READING → RUNNING → WRITING → RUNNING → WRITING → ANSWERED. */
static void a_stream_walks_the_states(void **state) {
    (void)state;
    static const dirty_baton_state walk[] = {
        DIRTY_BATON_READING, DIRTY_BATON_RUNNING, DIRTY_BATON_WRITING,
        DIRTY_BATON_RUNNING, DIRTY_BATON_WRITING, DIRTY_BATON_ANSWERED,
    };
    dirty_lane_page page = {0};
    dirty_baton_begin(&page, 1);
    for (size_t i = 1; i < sizeof walk / sizeof *walk; i++) {
        assert_true(dirty_baton_move(&page, 1, walk[i - 1], walk[i]));
        assert_int_equal(dirty_baton_read(&page, 1), walk[i]);
    }
}

static void a_move_from_another_state_fails_and_changes_nothing(void **state) {
    (void)state;
    for (size_t is = 0; is < STATES; is++)
        for (size_t from = 0; from < STATES; from++) {
            dirty_lane_page page = {0};
            uint64_t before = dirty_baton_word(9, all_states[is]);
            atomic_store(&page.baton, before);
            bool moved = dirty_baton_move(&page, 9, all_states[from], DIRTY_BATON_TAKEN);
            assert_int_equal(moved, is == from);
            if (!moved)
                assert_true(atomic_load(&page.baton) == before);
        }
}

static void a_move_of_another_request_fails(void **state) {
    (void)state;
    dirty_lane_page page = {0};
    dirty_baton_begin(&page, 41);
    assert_false(dirty_baton_move(&page, 40, DIRTY_BATON_READING, DIRTY_BATON_RUNNING));
    assert_false(dirty_baton_move(&page, 42, DIRTY_BATON_READING, DIRTY_BATON_RUNNING));
    assert_int_equal(dirty_baton_read(&page, 41), DIRTY_BATON_READING);
}

static void a_page_full_of_garbage_reads_as_idle(void **state) {
    (void)state;
    dirty_lane_page page;
    memset(&page, 0xff, sizeof page);
    assert_int_equal(dirty_baton_read(&page, UINT64_MAX >> 8), DIRTY_BATON_IDLE);
    atomic_store(&page.baton, (uint64_t)5 << 8 | 7);
    assert_int_equal(dirty_baton_read(&page, 5), DIRTY_BATON_IDLE);
}

static void the_largest_seq_fits(void **state) {
    (void)state;
    uint64_t seq = UINT64_MAX >> 8;
    dirty_lane_page page = {0};
    dirty_baton_begin(&page, seq);
    assert_true(dirty_baton_move(&page, seq, DIRTY_BATON_READING, DIRTY_BATON_RUNNING));
    assert_int_equal(dirty_baton_read(&page, seq), DIRTY_BATON_RUNNING);
}

/* Both sides go for the baton of the same request, ROUNDS times: one and only one of
 * them may write. */
#define ROUNDS 20000

typedef struct race {
    dirty_lane_page page;
    _Atomic uint64_t lane_at, arbiter_at; /* the round each side has finished */
    uint64_t lane_won, arbiter_won;
} race;

static void wait_for(_Atomic uint64_t *round, uint64_t least) {
    while (atomic_load(round) < least)
        sched_yield();
}

static void *lane_side(void *arg) {
    race *r = arg;
    for (uint64_t seq = 1; seq <= ROUNDS; seq++) {
        wait_for(&r->arbiter_at, seq * 2 - 1); /* it has begun this request */
        if (dirty_baton_move(&r->page, seq, DIRTY_BATON_RUNNING, DIRTY_BATON_WRITING)) {
            r->lane_won++;
            dirty_baton_move(&r->page, seq, DIRTY_BATON_WRITING, DIRTY_BATON_ANSWERED);
        }
        atomic_store(&r->lane_at, seq);
    }
    return NULL;
}

static void of_two_sides_exactly_one_wins(void **state) {
    (void)state;
    static race r;
    pthread_t lane;
    memset(&r, 0, sizeof r);
    assert_int_equal(pthread_create(&lane, NULL, lane_side, &r), 0);
    for (uint64_t seq = 1; seq <= ROUNDS; seq++) {
        dirty_baton_begin(&r.page, seq);
        dirty_baton_move(&r.page, seq, DIRTY_BATON_READING, DIRTY_BATON_RUNNING);
        atomic_store(&r.arbiter_at, seq * 2 - 1);
        if (dirty_baton_move(&r.page, seq, DIRTY_BATON_RUNNING, DIRTY_BATON_TAKEN))
            r.arbiter_won++;
        wait_for(&r.lane_at, seq);
        dirty_baton_state end = dirty_baton_read(&r.page, seq);
        assert_true(end == DIRTY_BATON_TAKEN || end == DIRTY_BATON_ANSWERED);
        atomic_store(&r.arbiter_at, seq * 2);
    }
    pthread_join(lane, NULL);
    assert_int_equal(r.lane_won + r.arbiter_won, ROUNDS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_zeroed_page_is_idle),
        cmocka_unit_test(begin_starts_from_every_end),
        cmocka_unit_test(a_stream_walks_the_states),
        cmocka_unit_test(a_move_from_another_state_fails_and_changes_nothing),
        cmocka_unit_test(a_move_of_another_request_fails),
        cmocka_unit_test(a_page_full_of_garbage_reads_as_idle),
        cmocka_unit_test(the_largest_seq_fits),
        cmocka_unit_test(of_two_sides_exactly_one_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
