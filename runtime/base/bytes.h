/* bytes: read and write big-endian integers in byte buffers, as the wire has them. */
#ifndef DIRTY_BYTES_H
#define DIRTY_BYTES_H

#include <stdint.h>

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
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void dirty_put32(uint8_t *p, uint32_t v) {
    dirty_put16(p, (uint16_t)(v >> 16));
    dirty_put16(p + 2, (uint16_t)v);
}

static inline void dirty_put64(uint8_t *p, uint64_t v) {
    dirty_put32(p, (uint32_t)(v >> 32));
    dirty_put32(p + 4, (uint32_t)v);
}

#endif
