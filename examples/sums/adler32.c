#include "sums.h"

/* The largest prime below 65536, and how many bytes may be added before a sum overflows. */
#define PRIME 65521u
#define RUN 5552u

uint32_t adler32_add(uint32_t adler, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint32_t low = adler & 0xFFFF, high = adler >> 16;

    while (size > 0) {
        size_t run = size < RUN ? size : RUN;
        size -= run;
        while (run-- > 0) {
            low += *bytes++;
            high += low;
        }
        low %= PRIME;
        high %= PRIME;
    }
    return high << 16 | low;
}
