#include "harness.h"

#include "client_rig.h"

#include <dirent.h>

void rig_start(rig *r, fake_serve serve, void *arg, uint32_t timeout_ms) {
    *r = (rig){0};
    fake_start(&r->server, 64, serve, arg);
    dirty_options options;
    dirty_options_init(&options);
    options.socket = r->server.path;
    options.timeout_ms = timeout_ms;
    assert_int_equal(dirty_open(&r->client, &options), 0);
    assert_int_equal(dirty_request_new(&r->request, "app", "action"), 0);
}

void rig_stop(rig *r) {
    dirty_reply_free(r->reply);
    dirty_request_free(r->request);
    dirty_free(r->client);
    fake_stop(&r->server);
}

int rig_call(rig *r) {
    dirty_reply_free(r->reply);
    return dirty_call(r->client, r->request, &r->reply);
}

void rig_expect_bytes(rig *r, const void *data, size_t len) {
    const char *got;
    size_t got_len;
    if (rig_call(r) < 0)
        fail_msg("%s: %s", dirty_err_name(dirty_err(r->client)), dirty_errmsg(r->client));
    assert_int_equal(dirty_reply_count(r->reply), 1);
    assert_int_equal(dirty_reply_value(r->reply, 0, &got, &got_len), DIRTY_BYTES);
    assert_int_equal(got_len, len);
    assert_memory_equal(got, data, len);
}

void rig_expect_failure(rig *r, int code, const char *started, const char *words) {
    int rc = rig_call(r);
    assert_string_equal(dirty_err_name(rc), dirty_err_name(code));
    assert_null(r->reply);
    assert_int_equal(dirty_err(r->client), code);
    assert_string_equal(dirty_err_started(r->client), started);
    if (strstr(dirty_errmsg(r->client), words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, dirty_errmsg(r->client));
}

int rig_count_descriptors(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}
