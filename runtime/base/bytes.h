/* bytes: read and write big-endian integers in byte buffers, as the wire has them.
 * GCC joins the reads of single bytes to one, but not the writes. */
#ifndef DIRTY_BYTES_H
#define DIRTY_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t dirty_get16(const uint8_t *p) {
    return (uint16_t)((uint16_t)p[0] << 8 | p[1]);
}

static inline uint32_t dirty_get32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t dirty_get64(const uint8_t *p) {
    return (uint64_t)dirty_get32(p) << 32 | dirty_get32(p + 4);
}

static inline void dirty_put16(uint8_t *p, uint16_t v) {
    v = htobe16(v);
    memcpy(p, &v, sizeof v);
}

static inline void dirty_put32(uint8_t *p, uint32_t v) {
    v = htobe32(v);
    memcpy(p, &v, sizeof v);
}

static inline void dirty_put64(uint8_t *p, uint64_t v) {
    v = htobe64(v);
    memcpy(p, &v, sizeof v);
}

#endif
