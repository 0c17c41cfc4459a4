#include "sums.h"

static uint32_t table[256];

static void fill_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
        table[byte] = crc;
    }
}

uint32_t crc32_add(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    if (table[1] == 0)
        fill_table();
    crc = ~crc;
    while (size-- > 0)
        crc = crc >> 8 ^ table[(crc ^ *bytes++) & 0xFF];
    return ~crc;
}
