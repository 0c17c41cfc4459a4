/* usage.c beside runner/usage.py. Arguments: descriptors of a job's cgroup and of its payload's.
 * Question: nothing, or "name\ntext" to write to a file of the payload's. Answer: the error of
 * that; or the packed figures, in hexadecimal, the CPU time, and what ran out of memory. */
#include "native.h"

#include "frames.h"

#include <inttypes.h>
#include <string.h>

static void say_all(FILE *to, int job, int payload)
{
    uint8_t data[4096];
    struct writer writer = {data, data + sizeof data, false};
    uint64_t kills;
    bool hit;
    pack_map(&writer, USAGE_PAIRS);
    usage_pack(&writer, job, payload);
    usage_out_of_memory(payload, &kills, &hit);
    say_hex(to, data, (size_t)(writer.at - data));
    fprintf(to, " %a %" PRIu64 " %d", usage_cpu_seconds(payload), kills, hit);
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 4;
    int job = atoi(arguments[1]), payload = atoi(arguments[2]);
    for (;;) {
        struct frame frame = frame_read();
        struct answer answer;
        answer_begin(&answer);
        if (frame.length == 0) {
            say_all(answer.file, job, payload);
        } else {
            char *rest = strndup((const char *)frame.data, frame.length), *text = rest;
            char *name = strsep(&rest, "\n");
            fprintf(answer.file, "%d", cgroup_write(payload, name, rest));
            free(text);
        }
        answer_send(&answer);
        free(frame.data);
    }
}
