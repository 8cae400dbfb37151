#include "bench/floor.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "bench/socket.h"
#include "wire/request.h"

volatile bool floor_stopped;

static void on_signal(int number) {
    (void)number;
    floor_stopped = true;
}

uint32_t floor_frame_len(const uint8_t *header) {
    uint32_t len = dirty_get32(header + 4);
    if (memcmp(header, "DW\1\1", 4) != 0 || len > FLOOR_FRAME_MAX)
        bench_die("not a request of the load generator");
    return DIRTY_FRAME_HEADER_LEN + len;
}

/* RESPONSE, count 1, the value `j` null. */
static const uint8_t nil_answer[] = {'D', 'W', 1, 2, 0, 0,   0,   11,  0,
                                     0,   0,   0, 0, 0, 0,   0,   0,   1,
                                     'j', 0,   0, 0, 4, 'n', 'u', 'l', 'l'};

size_t floor_answer(const uint8_t *request, size_t len, uint8_t head[FLOOR_ANSWER_HEAD],
                    struct iovec iov[2]) {
    const uint8_t *route = request + DIRTY_FRAME_HEADER_LEN;
    uint16_t argc = dirty_get16(route + 6);
    size_t names_len = (size_t)route[8] + route[9];
    size_t values_at = DIRTY_FRAME_HEADER_LEN + DIRTY_ROUTE_FIXED_LEN + names_len;
    if (route[5] & DIRTY_FLAG_EXTENSION)
        values_at += DIRTY_EXTENSION_HEAD_LEN + dirty_get16(request + values_at);
    if (argc == 0) {
        memcpy(head, nil_answer, sizeof nil_answer);
        memcpy(head + 8, request + 8, 8);
        iov[0] = (struct iovec){head, sizeof nil_answer};
        iov[1] = (struct iovec){NULL, 0};
        return sizeof nil_answer;
    }
    size_t values_len = len - values_at;
    dirty_frame_encode(head, DIRTY_FRAME_RESPONSE, (uint32_t)(2 + values_len), 0);
    memcpy(head + 8, request + 8, 8);
    dirty_put16(head + DIRTY_FRAME_HEADER_LEN, argc);
    iov[0] = (struct iovec){head, DIRTY_FRAME_HEADER_LEN + 2};
    iov[1] = (struct iovec){(void *)(uintptr_t)(request + values_at), values_len};
    return DIRTY_FRAME_HEADER_LEN + 2 + values_len;
}

static int usage(void) {
    fputs("usage: floor one SOCKET\n"
          "       floor pass WORKERS SOCKET\n"
          "       floor ready WORKERS SOCKET\n"
          "Serve the load generator from one process, from a dispatcher and WORKERS\n"
          "processes that get the client's descriptor, or from WORKERS processes that "
          "take\n"
          "ready connections from the kernel. SIGTERM ends it.\n",
          stderr);
    return 2;
}

int main(int argc, char **argv) {
    struct sigaction stop = {.sa_handler = on_signal};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "one") == 0)
        floor_one(bench_listen(argv[2]));
    else if (argc == 4 && strcmp(argv[1], "pass") == 0)
        floor_pass(bench_listen(argv[3]), (unsigned)bench_number("WORKERS", argv[2], 64));
    else if (argc == 4 && strcmp(argv[1], "ready") == 0)
        floor_ready(bench_listen(argv[3]),
                    (unsigned)bench_number("WORKERS", argv[2], 64));
    else
        return usage();
    return 0;
}
