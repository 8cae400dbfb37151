/* write_all: writes all bytes to a blocking descriptor, whatever signals come. */
#ifndef DIRTY_BASE_WRITE_ALL_H
#define DIRTY_BASE_WRITE_ALL_H

#include <stddef.h>

/* 0 or -errno; some bytes may have been written then. */
int dirty_write_all(int fd, const void *bytes, size_t len);

#endif
