/* Checksums of byte streams. Each has a state that grows by `*_add` and is read by `*_value`. */
#ifndef SUMS_H
#define SUMS_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32 as in gzip and PNG (ISO 3309). Starts from 0. */
uint32_t crc32_add(uint32_t crc, const void *data, size_t size);

/* Adler-32 as in zlib (RFC 1950). Starts from 1. */
uint32_t adler32_add(uint32_t adler, const void *data, size_t size);

#define SHA256_BYTES 32

/* SHA-256 (FIPS 180-4). */
struct sha256 {
    uint32_t words[8];
    uint64_t total;
    unsigned char block[64];
};

void sha256_begin(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t size);
void sha256_end(struct sha256 *hash, unsigned char digest[SHA256_BYTES]);

#endif
