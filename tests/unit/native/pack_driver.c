/* pack.c beside msgpack. Question: a letter and data. 'r' reads one value and writes it again;
 * 's' skips one; 'v' asks whether it is the word "version" and which real number it is. */
#include "frames.h"
#include "native.h"

#include <string.h>

static int copy(struct reader *from, struct writer *to);

static int copy_items(struct reader *from, struct writer *to, uint64_t count)
{
    int error = 0;
    while (count-- > 0 && !error)
        error = copy(from, to);
    return error;
}

static int copy(struct reader *from, struct writer *to)
{
    struct value value;
    int error = unpack_next(from, &value);
    if (error)
        return error;
    switch (value.kind) {
    case PACK_NIL:
        pack_nil(to);
        return 0;
    case PACK_BOOL:
        pack_bool(to, value.number != 0);
        return 0;
    case PACK_UINT:
        pack_uint(to, value.number);
        return 0;
    case PACK_INT:
        pack_int(to, value.negative);
        return 0;
    case PACK_STR:
        pack_str(to, (const char *)value.data, value.length);
        return 0;
    case PACK_ARRAY:
        pack_array(to, (uint32_t)value.number);
        return copy_items(from, to, value.number);
    case PACK_MAP:
        pack_map(to, (uint32_t)value.number);
        return copy_items(from, to, 2 * value.number);
    default: /* what has no writer: the bytes of its answer are said */
        pack_array(to, 1);
        if (value.kind == PACK_BIN)
            pack_str(to, "binary", 6);
        else
            pack_int(to, (int64_t)(value.real * 1024));
        return 0;
    }
}

static void say_copy(struct reader *from, FILE *to, size_t room)
{
    uint8_t *data = malloc(room);
    struct writer writer = {data, data + room, false};
    int error = copy(from, &writer);
    fprintf(to, "%d %d %d ", error, writer.is_full, from->at == from->end);
    say_hex(to, data, (size_t)(writer.at - data));
    free(data);
}

static void say_skipped(struct reader *from, FILE *to)
{
    int error = unpack_skip(from);
    fprintf(to, "%d %td", error, from->end - from->at);
}

static void say_value(struct reader *from, FILE *to)
{
    struct value value;
    int error = unpack_next(from, &value);
    double real = 0;
    int unreal = error ? error : value_real(&value, &real);
    fprintf(to, "%d %d %d %.17g", error, !error && value_is(&value, "version"), unreal, real);
}

int main(void)
{
    for (;;) {
        struct frame frame = frame_read();
        struct answer answer;
        answer_begin(&answer);
        struct reader from = {frame.data + 1, frame.data + frame.length};
        if (frame.data[0] == 'r')
            say_copy(&from, answer.file, 65536);
        else if (frame.data[0] == 't')
            say_copy(&from, answer.file, 16);
        else if (frame.data[0] == 's')
            say_skipped(&from, answer.file);
        else
            say_value(&from, answer.file);
        answer_send(&answer);
        free(frame.data);
    }
}
