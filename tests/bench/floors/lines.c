/*
 * What every log is measured with: lines of 100 bytes, 64 KiB a write.
 *
 *     lines BYTES
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    enum { LINE = 100, BLOCK = 65536 };
    static char text[BLOCK + LINE];
    long long left = argc == 2 ? atoll(argv[1]) : 0;
    size_t at = 0;

    memset(text, 'x', sizeof text);
    for (size_t end = LINE - 1; end < sizeof text; end += LINE)
        text[end] = '\n';
    while (left > 0) {
        size_t size = left < BLOCK ? (size_t)left : BLOCK;
        ssize_t done = write(1, text + at, size);

        if (done < 0) {
            perror("lines");
            return 1;
        }
        left -= done;
        at = (at + (size_t)done) % LINE;
    }
    return 0;
}
