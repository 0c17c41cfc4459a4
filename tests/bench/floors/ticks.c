/*
 * A line from time to time, each the moment at which it was written.
 *
 *     ticks COUNT MICROSECONDS
 *
 * CLOCK_MONOTONIC in nanoseconds, which means the same to whoever reads it on this machine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int left = argc == 3 ? atoi(argv[1]) : 0;
    int pause = argc == 3 ? atoi(argv[2]) : 0;

    while (left-- > 0) {
        struct timespec now;
        char line[32];
        int size;

        usleep(pause);
        clock_gettime(CLOCK_MONOTONIC, &now);
        size = snprintf(line, sizeof line, "%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
        if (write(1, line, size) != size)
            return 1;
    }
    return 0;
}
