/* Make thumbnails of many files, several at once, by calls that block: a thread for each
 * that is to run at a time, and a client of its own for each thread.
 *
 *     cc thumbs.c $(pkg-config --cflags --libs dirty) -pthread -o thumbs
 *     ./thumbs 4 photos/a.jpg photos/b.jpg …      # 4 threads; writes photos/a.jpg.small
 *
 * The runtime serves apps.image: dirty serve --app apps.image */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <dirty.h>

#define OPTIONS "{\"width\":200,\"format\":\"jpeg\"}"
#define THREADS_MAX 64

/* What all threads share. */
static char **files;
static int file_count;
static atomic_int next_file;
static atomic_int failed;

/* The whole file, NULL if it can't be read. The caller frees it. */
static char *read_file(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    long size;
    if (f == NULL)
        return NULL;
    if (fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) >= 0) {
        rewind(f);
        data = malloc((size_t)size + 1);
        *len = data == NULL ? 0 : fread(data, 1, (size_t)size, f);
    }
    fclose(f);
    return data;
}

/* Says what it has written. 0, or -1. */
static int write_beside(const char *path, const char *data, size_t len) {
    char name[4096];
    snprintf(name, sizeof name, "%s.small", path);
    FILE *f = fopen(name, "wb");
    if (f == NULL)
        return -1;
    size_t written = fwrite(data, 1, len, f);
    if (fclose(f) != 0 || written != len)
        return -1;
    printf("%s\n", name);
    return 0;
}

static int make_thumbnail(dirty_client *c, const char *path) {
    dirty_reply *reply = NULL;
    const char *picture;
    size_t len = 0;
    char *photo = read_file(path, &len);
    if (photo == NULL) {
        perror(path);
        return -1;
    }
    int rc =
        dirty_callf(c, &reply, "apps.image", "thumbnail", "%b %j", photo, len, OPTIONS);
    free(photo);
    if (rc < 0)
        fprintf(stderr, "%s: %s: %s\n", path, dirty_err_name(rc), dirty_errmsg(c));
    else if (dirty_reply_value(reply, 0, &picture, &len) == DIRTY_BYTES &&
             (rc = write_beside(path, picture, len)) < 0)
        perror(path);
    dirty_reply_free(reply);
    return rc;
}

static void *work(void *arg) {
    dirty_client *c;
    if (dirty_open(&c, arg) < 0) {
        fprintf(stderr, "%s\n", dirty_errmsg(c));
        atomic_fetch_add(&failed, 1);
    } else {
        for (int i; (i = atomic_fetch_add(&next_file, 1)) < file_count;)
            if (make_thumbnail(c, files[i]) < 0)
                atomic_fetch_add(&failed, 1);
    }
    dirty_free(c);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS_MAX];
    int count = argc < 2 ? 0 : atoi(argv[1]), started = 0;
    if (argc < 3 || count < 1 || count > THREADS_MAX) {
        fprintf(stderr, "usage: %s THREADS FILE…   (writes FILE.small)\n", argv[0]);
        return 2;
    }
    files = argv + 2;
    file_count = argc - 2;
    while (started < count && pthread_create(&threads[started], NULL, work, NULL) == 0)
        started++;
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return started == 0 || atomic_load(&failed) > 0;
}
