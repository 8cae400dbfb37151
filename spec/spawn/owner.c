/* A server with threads that owns a runtime, and ends in the way it is told to.
 *
 *   owner PROGRAM SOCKET CONFIG WAY
 *
 * It prints "ready PID" with the process id of the runtime while its threads make calls,
 * waits for SIGUSR1 or its end, then ends. WAY is how:
 *
 *   free    stop the runtime, free everything, return from main
 *   return  from main, with the runtime as it is
 *   exit    by exit(3) in a thread that is not the first
 *   abort
 *   exec    become another program
 *   thread  the first thread ends, the others go on
 *   fork    a child is forked, which has copies of all descriptors; prints "child PID" */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dirty.h"

#define THREADS 3
#define STOP_MS 20000

static atomic_bool over;
static atomic_int answers;

static void *call_and_call(void *arg) {
    dirty_options o;
    dirty_client *c;
    dirty_options_init(&o);
    o.socket = arg;
    if (dirty_open(&c, &o) < 0)
        abort();
    while (!atomic_load(&over)) {
        dirty_reply *reply;
        if (dirty_callf(c, &reply, "apps.echo", "echo", "%s", "hello") == 0)
            atomic_fetch_add(&answers, 1);
        dirty_reply_free(reply);
        usleep(2000);
    }
    dirty_free(c);
    return NULL;
}

/* Spawn in a thread of its own: the runtime must not hang on that. */
static void *spawn(void *arg) {
    dirty_runtime *rt;
    if (dirty_spawn(&rt, arg) < 0) {
        fprintf(stderr, "%s: %s\n", dirty_err_name(dirty_runtime_err(rt)),
                dirty_runtime_errmsg(rt));
        dirty_runtime_free(rt);
        exit(1);
    }
    return rt;
}

static void *leave(void *arg) {
    (void)arg;
    exit(0);
}

static void wait_for_word(void) {
    sigset_t usr1;
    int number;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigwait(&usr1, &number);
}

static int end_well(dirty_runtime *rt, pthread_t *threads) {
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    int rc = dirty_runtime_stop(rt, STOP_MS);
    if (rc < 0)
        fprintf(stderr, "stop: %s\n", dirty_runtime_errmsg(rt));
    dirty_runtime_free(rt);
    return rc < 0;
}

static int end(const char *way, dirty_runtime *rt, pthread_t *threads) {
    pthread_t thread;
    if (strcmp(way, "free") == 0)
        return end_well(rt, threads);
    if (strcmp(way, "exit") == 0 && pthread_create(&thread, NULL, leave, NULL) == 0)
        pause();
    if (strcmp(way, "abort") == 0)
        abort();
    if (strcmp(way, "exec") == 0)
        execl("/bin/sleep", "sleep", "60", (char *)NULL);
    if (strcmp(way, "thread") == 0)
        pthread_exit(NULL);
    return 0;
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS], spawner;
    dirty_spawn_options o;
    void *rt;
    sigset_t usr1;
    if (argc != 5)
        return 2;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    dirty_spawn_options_init(&o);
    o.program = argv[1];
    o.socket = argv[2];
    o.config = argv[3];
    if (pthread_create(&spawner, NULL, spawn, &o) != 0)
        return 1;
    pthread_join(spawner, &rt);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, call_and_call, argv[2]) != 0)
            return 1;
    while (atomic_load(&answers) < THREADS)
        usleep(1000);
    if (strcmp(argv[4], "fork") == 0) {
        pid_t child = fork();
        if (child == 0)
            for (;;)
                pause();
        printf("child %d\n", (int)child);
    }
    printf("ready %d\n", dirty_runtime_pid(rt));
    fflush(stdout);
    wait_for_word();
    return end(argv[4], rt, threads);
}
