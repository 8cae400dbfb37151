#include "fake_server.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bytes.h"

static bool wait_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, FAKE_PATIENCE_MS) > 0;
}

static bool wait_client(fake *f) {
    struct pollfd p[] = {{.fd = f->listener, .events = POLLIN},
                         {.fd = f->stop_pipe[0], .events = POLLIN}};
    return poll(p, 2, -1) > 0 && p[1].revents == 0;
}

static void *run(void *arg) {
    fake *f = arg;
    while (wait_client(f)) {
        int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        f->serve(f, fd, atomic_fetch_add(&f->connections, 1) + 1);
        close(fd);
        atomic_fetch_add(&f->ended, 1);
    }
    return NULL;
}

void fake_start(fake *f, int backlog, fake_serve serve, void *arg) {
    *f = (fake){.serve = serve, .arg = arg};
    strcpy(f->dir, "/tmp/dirty-test-XXXXXX");
    assert(mkdtemp(f->dir) != NULL);
    chmod(f->dir, 0755);
    snprintf(f->path, sizeof f->path, "%s/s.sock", f->dir);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, f->path);
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(bind(f->listener, (struct sockaddr *)&address, sizeof address) == 0);
    assert(listen(f->listener, backlog) == 0);
    assert(pipe2(f->stop_pipe, O_CLOEXEC) == 0);
    /* Signals are for the thread under test. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (serve != NULL)
        assert(pthread_create(&f->thread, NULL, run, f) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void fake_stop(fake *f) {
    close(f->stop_pipe[1]);
    if (f->serve != NULL)
        pthread_join(f->thread, NULL);
    close(f->stop_pipe[0]);
    close(f->listener);
    free(f->payload);
    unlink(f->path);
    rmdir(f->dir);
}

static bool read_exactly(int fd, uint8_t *data, size_t len) {
    for (size_t have = 0; have < len;) {
        ssize_t n = wait_readable(fd) ? recv(fd, data + have, len - have, 0) : 0;
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

bool fake_read_request(fake *f, int fd) {
    uint8_t header[DIRTY_FRAME_HEADER_LEN];
    dirty_frame frame;
    if (!read_exactly(fd, header, sizeof header))
        return false;
    assert(dirty_frame_decode(header, sizeof header, UINT32_MAX, &frame) == 0);
    assert(frame.type == DIRTY_FRAME_REQUEST);
    free(f->payload);
    f->payload = malloc(frame.payload_len);
    f->payload_len = frame.payload_len;
    f->id = frame.id;
    if (!read_exactly(fd, f->payload, frame.payload_len))
        return false;
    assert(dirty_route_decode(f->payload, f->payload_len, f->payload_len, &f->route) ==
           DIRTY_WIRE_OK);
    atomic_fetch_add(&f->requests, 1);
    return true;
}

bool fake_discard(int fd, size_t len) {
    uint8_t room[65536];
    while (len > 0) {
        size_t part = len < sizeof room ? len : sizeof room;
        if (!read_exactly(fd, room, part))
            return false;
        len -= part;
    }
    return true;
}

void fake_await_input(int fd) {
    wait_readable(fd);
}

void fake_await_end(int fd) {
    uint8_t room[4096];
    while (read_exactly(fd, room, 1))
        ;
}

void fake_await_hangup(int fd) {
    struct pollfd p = {.fd = fd};
    poll(&p, 1, FAKE_PATIENCE_MS);
}

void fake_await_closed(fake *f, int number) {
    for (int ms = 0; atomic_load(&f->ended) < number; ms++) {
        assert(ms < FAKE_PATIENCE_MS);
        usleep(1000);
    }
}

void fake_send(int fd, const void *data, size_t len) {
    for (const uint8_t *at = data; len > 0;) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += n;
        len -= (size_t)n;
    }
}

void fake_send_frame(fake *f, int fd, dirty_frame_type type, const void *data,
                     size_t len) {
    dirty_buf frame = {0};
    uint8_t header[DIRTY_FRAME_HEADER_LEN];
    dirty_frame_encode(header, type, (uint32_t)len, f->id);
    dirty_buf_append(&frame, header, sizeof header);
    dirty_buf_append(&frame, data, len);
    fake_send(fd, frame.base, frame.len);
    dirty_buf_deinit(&frame);
}

void fake_echo_times(fake *f, int fd, int times) {
    uint8_t head[DIRTY_FRAME_HEADER_LEN + 2];
    size_t values_len = f->payload_len - f->route.values_at;
    dirty_buf frames = {0};
    dirty_frame_encode(head, DIRTY_FRAME_RESPONSE, (uint32_t)(2 + values_len), f->id);
    dirty_put16(head + DIRTY_FRAME_HEADER_LEN,
                (uint16_t)(f->route.argc + (f->route.flags & DIRTY_FLAG_METADATA)));
    for (int i = 0; i < times; i++) {
        dirty_buf_append(&frames, head, sizeof head);
        dirty_buf_append(&frames, f->payload + f->route.values_at, values_len);
    }
    fake_send(fd, frames.base, frames.len);
    dirty_buf_deinit(&frames);
}

void fake_echo(fake *f, int fd) {
    fake_echo_times(f, fd, 1);
}

void fake_send_error(fake *f, int fd, uint16_t code, const char *message,
                     const char *details) {
    dirty_buf frame = {0};
    dirty_error_encode(&frame, f->id, code, dirty_slice_cstr(message), details);
    fake_send(fd, frame.base, frame.len);
    dirty_buf_deinit(&frame);
}

int fake_count_passed_on(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert(dir != NULL);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        int flags = fcntl((int)strtol(entry->d_name, NULL, 10), F_GETFD);
        count += entry->d_name[0] != '.' && flags >= 0 && (flags & FD_CLOEXEC) == 0;
    }
    closedir(dir);
    return count;
}
