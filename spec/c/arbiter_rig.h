/* arbiter_rig: a real arbiter in a child process whose workers are scripted in C, so that
 * a test can hold a lane in any state of the baton. Raw clients beside it. */
#ifndef ARBITER_RIG_H
#define ARBITER_RIG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "arbiter/arbiter.h"
#include "wire/frame.h"

typedef struct rig {
    char dir[64];
    char socket[96];
    pid_t pid; /* of the arbiter */
    dirty_app_spec apps[3];
    dirty_arbiter_options o;
} rig;

/* Options with a private socket, 1 worker, the app "t" (unlimited) and small timeouts. */
void rig_init(rig *r);
/* A test whose state is such a rig. When the test has failed, the arbiter is killed, the
 * end of its log is printed and its directory removed. */
#define RIG_TEST(test) cmocka_unit_test_setup_teardown(test, rig_set_up, rig_tear_down)
int rig_set_up(void **state);
int rig_tear_down(void **state);
/* Give it a configuration that a reload reads: the next plans are `next` of them, one a
 * reload, the last again and again. An action "plan" of the scripted worker answers the
 * options text of its first app, which tells by which plan it was started. Where `why` is
 * not NULL the reading, the probe or the boot fails: `fails_at` "read", "probe", "boot".
 */
typedef struct rig_plan {
    const char *apps[3]; /* names, NULL ends */
    const char *mark;    /* the options of each app, JSON. "fates PATH": what becomes of
                            each boot is the last letter of that file, which is taken out
                            of it: k killed, f failed; it boots when there is none */
    uint32_t workers;
    uint32_t limit; /* of the last app, 0 none */
    const char *fails_at;
    bool exclusive;
    bool apart; /* one worker for each app, and the first is exclusive */
} rig_plan;
void rig_plans(rig *r, const rig_plan *next, size_t count);

/* Fork the arbiter and wait until it takes connections. */
void rig_start(rig *r);
/* TERM, wait for its end, check that it ended with `status`. Removes the directory. */
void rig_stop(rig *r, int status);
/* Remove the directory of a rig that has not been started. */
void rig_remove(rig *r);

/* What the scripted worker does with a request, by the action's name:
 *   value            answers a value
 *   pid              answers its process id as JSON
 *   slow             answers after 150 ms
 *   hold-reading     stays in READING
 *   hold-running     stays in RUNNING
 *   hold-writing     sends half a frame in WRITING, stays there
 *   hold-answered    answers, and never says done
 *   hold-running-unread, hold-answered-unread   the same, with the rest of the request
 *                    not read: as a lane does that refuses it
 *   returned         gives the first request back as NO_DESCRIPTOR; answers further ones
 *                    with the generation of its worker
 *   exit             ends with status 7 in RUNNING
 *   done-of-last, done-of-next   says in RUNNING that the request before this one, or the
 *                    one behind it, is done; stays in RUNNING
 *   stalled-of-last, stalled-of-next   the same of STALLED, with a file
 *   receive-ms       answers how long after its first byte the request must be whole,
 * null if it came whole keep             answers a value, and a child of it keeps the
 * descriptor keep-in-group    the same, with a child that stays in the worker's process
 * group keep-writing     as hold-writing, and a child keeps the descriptor fill sends
 * chunks until no more fits, as its whole answer A held lane writes a byte to the rig's
 * notice pipe once it is there. */
int rig_worker_main(const dirty_worker_start *start);

/* Wait until a held lane is where it should be; its process id. */
pid_t rig_wait_held(rig *r);
/* Wait for the child that keeps a descriptor; its process id, which is the test's to
 * kill. */
pid_t rig_wait_subreaper(rig *r);

/* -- raw clients -- */
int rig_connect(const rig *r);
void rig_send(int fd, const void *bytes, size_t len);
/* Call and expect a JSON value with this text. */
void rig_expect_text(int fd, uint64_t id, const char *app, const char *action,
                     const char *text);
/* Build a whole request with `argc` bytes values of `len` bytes each. Returns its length;
 * *out is malloc'd. */
size_t rig_request(uint8_t **out, uint64_t id, const char *app, const char *action,
                   uint32_t budget_ms, size_t payload);
void rig_call(int fd, uint64_t id, const char *app, const char *action);
/* Read one frame: 1 with *f and *payload (malloc'd), 0 the connection ended before it,
 * -1 it ended inside of it. Fails the test after 10 s. */
int rig_read(int fd, dirty_frame *f, uint8_t **payload);
/* Read an ERROR frame with this id and code; its details, malloc'd and NUL-terminated. */
char *rig_expect_error(int fd, uint64_t id, unsigned code);
void rig_expect_value(int fd, uint64_t id);
/* The connection is at its end. */
void rig_expect_end(int fd);
/* The status object as text, malloc'd. */
char *rig_status(rig *r);
/* Poll the status until `needle` is in it; fails the test after 10 s. */
void rig_wait_status(rig *r, const char *needle);

#endif
