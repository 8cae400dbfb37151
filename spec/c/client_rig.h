/* client_rig: what the tests of the client share: a client on a fake server, with short
 * ways to call and to look at what came. */
#ifndef DIRTY_CLIENT_RIG_H
#define DIRTY_CLIENT_RIG_H

#include "fake_server.h"

#include "dirty.h"

typedef struct rig {
    fake server;
    dirty_client *client;
    dirty_request *request; /* "app", "action", no arguments */
    dirty_reply *reply;     /* of the last call */
} rig;

/* A client whose calls have `timeout_ms`, on a server that serves so. */
void rig_start(rig *r, fake_serve serve, void *arg, uint32_t timeout_ms);
void rig_stop(rig *r);

/* Make the call again; the reply before is freed. Returns what dirty_call does. */
int rig_call(rig *r);

/* The call gives one value, these bytes. */
void rig_expect_bytes(rig *r, const void *data, size_t len);

/* The call fails so. `words` is part of the message. */
void rig_expect_failure(rig *r, int code, const char *started, const char *words);

/* Open descriptors of this process. */
int rig_count_descriptors(void);

#endif
