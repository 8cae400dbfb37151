/* Call an action of a dirty app and print what comes back.
 *
 *     cc call.c $(pkg-config --cflags --libs dirty) -o call
 *     ./call apps.echo echo hello world
 *
 * Arguments travel as bytes; JSON values are printed as their text. */
#include <stdio.h>
#include <string.h>

#include <dirty.h>

static int fail(const dirty_client *c) {
    fprintf(stderr, "%s: %s\n", dirty_err_name(dirty_err(c)), dirty_errmsg(c));
    return 1;
}

int main(int argc, char **argv) {
    dirty_client *c;
    dirty_request *r;
    dirty_reply *reply;
    if (argc < 3 || dirty_request_new(&r, argv[1], argv[2]) < 0) {
        fprintf(stderr, "usage: %s APP ACTION [ARG…]\n", argv[0]);
        return 2;
    }
    for (int i = 3; i < argc; i++)
        dirty_request_add_bytes(r, argv[i], strlen(argv[i]));
    if (dirty_open(&c, NULL) < 0 || dirty_call(c, r, &reply) < 0)
        return fail(c);
    for (size_t i = 0; i < dirty_reply_count(reply); i++) {
        const char *data;
        size_t len;
        dirty_reply_value(reply, i, &data, &len);
        fwrite(data, 1, len, stdout);
        putchar('\n');
    }
    dirty_reply_free(reply);
    dirty_request_free(r);
    dirty_free(c);
    return 0;
}
