/* What drivers have in common: frames over stdin and stdout, each a length (4 bytes, of this
 * machine's order) and as many bytes. So one process answers many questions (frames.py). */
#ifndef RUNNERD_TEST_FRAMES_H
#define RUNNERD_TEST_FRAMES_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct frame { uint8_t *data; size_t length; };

/* The next question, in memory of just its size, so that one byte too far is seen; ends the
 * program where there is none. The caller frees it. */
static inline struct frame frame_read(void)
{
    uint32_t length;
    if (fread(&length, sizeof length, 1, stdin) != 1)
        exit(0);
    struct frame frame = {malloc(length), length};
    if (fread(frame.data, 1, length, stdin) != length)
        exit(3);
    return frame;
}

static inline void frame_write(const void *data, size_t length)
{
    uint32_t size = (uint32_t)length;
    if (fwrite(&size, sizeof size, 1, stdout) != 1 || fwrite(data, 1, length, stdout) != length)
        exit(3);
    fflush(stdout);
}

/* An answer that grows. */
struct answer { char *data; size_t length; FILE *file; };

static inline void answer_begin(struct answer *answer)
{
    answer->file = open_memstream(&answer->data, &answer->length);
}

static inline void answer_send(struct answer *answer)
{
    fclose(answer->file);
    frame_write(answer->data, answer->length);
    free(answer->data);
}

static inline void say_hex(FILE *to, const uint8_t *data, size_t length)
{
    for (size_t each = 0; each < length; each++)
        fprintf(to, "%02x", data[each]);
}

#endif
