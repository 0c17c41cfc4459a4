/* msgpack, read and written in place: no allocation, and no byte beyond the bounds.
 *
 * The format is msgpack's spec.md. Extension types and the byte that means nothing are refused, and
 * so is text that is not UTF-8, as by client/protocol.py and runner/records.py. Numbers are written
 * in their shortest form, as msgpack for Python writes them. What a map has to say is others'
 * business: those of runctl's front, and of the native launcher.
 */
#include "pack.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum { MAX_DEPTH = 32 };

/* ---- Reading ---- */

static size_t left(const struct reader *from)
{
    return (size_t)(from->end - from->at);
}

/* A big-endian number of 1, 2, 4 or 8 bytes. */
static int take(struct reader *from, size_t size, uint64_t *into)
{
    if (left(from) < size)
        return -EBADMSG;
    uint64_t number = 0;
    for (size_t each = 0; each < size; each++)
        number = number << 8 | from->at[each];
    from->at += size;
    *into = number;
    return 0;
}

/* RFC 3629: how many bytes the first one begins, and the range of the second, which excludes
 * overlong forms, surrogates and what is beyond U+10FFFF. 0: no character begins so. */
static size_t character(const uint8_t *at, uint8_t *lowest, uint8_t *highest)
{
    uint8_t first = *at;
    *lowest = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    *highest = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (first < 0x80)
        return 1;
    if (first >= 0xC2 && first <= 0xDF)
        return 2;
    if (first >= 0xE0 && first <= 0xEF)
        return 3;
    return first >= 0xF0 && first <= 0xF4 ? 4 : 0;
}

static bool is_utf8(const uint8_t *at, size_t length)
{
    const uint8_t *end = at + length;
    while (at < end) {
        uint8_t lowest, highest;
        size_t size = character(at, &lowest, &highest);
        if (size == 0 || (size_t)(end - at) < size)
            return false;
        if (size > 1 && (at[1] < lowest || at[1] > highest))
            return false;
        for (size_t each = 2; each < size; each++)
            if ((at[each] & 0xC0) != 0x80)
                return false;
        at += size;
    }
    return true;
}

static int bytes(struct reader *from, enum kind kind, uint64_t length, struct value *into)
{
    if (left(from) < length)
        return -EBADMSG;
    if (kind == PACK_STR && !is_utf8(from->at, (size_t)length))
        return -EBADMSG;
    *into = (struct value){.kind = kind, .data = from->at, .length = (size_t)length};
    from->at += length;
    return 0;
}

static int sized_bytes(struct reader *from, enum kind kind, size_t size, struct value *into)
{
    uint64_t length;
    int error = take(from, size, &length);
    return error ? error : bytes(from, kind, length, into);
}

/* A count that the rest cannot hold is refused here, so that nobody makes room by it. */
static int items(struct reader *from, enum kind kind, uint64_t count, struct value *into)
{
    uint64_t values = kind == PACK_MAP ? 2 * count : count;
    if (left(from) < values)
        return -EBADMSG;
    *into = (struct value){.kind = kind, .number = count};
    return 0;
}

static int sized_items(struct reader *from, enum kind kind, size_t size, struct value *into)
{
    uint64_t count;
    int error = take(from, size, &count);
    return error ? error : items(from, kind, count, into);
}

static int natural(struct reader *from, size_t size, struct value *into)
{
    *into = (struct value){.kind = PACK_UINT};
    return take(from, size, &into->number);
}

static int64_t sign_extended(uint64_t number, size_t size)
{
    switch (size) {
    case 1:
        return (int8_t)number;
    case 2:
        return (int16_t)number;
    case 4:
        return (int32_t)number;
    default:
        return (int64_t)number;
    }
}

static int integer(struct reader *from, size_t size, struct value *into)
{
    uint64_t number;
    int error = take(from, size, &number);
    if (error)
        return error;
    int64_t whole = sign_extended(number, size);
    if (whole < 0)
        *into = (struct value){.kind = PACK_INT, .negative = whole};
    else
        *into = (struct value){.kind = PACK_UINT, .number = (uint64_t)whole};
    return 0;
}

static int single(struct reader *from, struct value *into)
{
    uint64_t number;
    int error = take(from, 4, &number);
    if (error)
        return error;
    uint32_t bits = (uint32_t)number;
    float real;
    memcpy(&real, &bits, sizeof real);
    *into = (struct value){.kind = PACK_FLOAT, .real = real};
    return 0;
}

static int doubled(struct reader *from, struct value *into)
{
    uint64_t bits;
    int error = take(from, 8, &bits);
    if (error)
        return error;
    *into = (struct value){.kind = PACK_FLOAT};
    memcpy(&into->real, &bits, sizeof into->real);
    return 0;
}

static int constant(enum kind kind, uint64_t number, struct value *into)
{
    *into = (struct value){.kind = kind, .number = number};
    return 0;
}

/* From 0xC0 to 0xDF; the sizes that follow are 1 << (head & 3) where there are four of a kind. */
static int by_head(struct reader *from, uint8_t head, struct value *into)
{
    switch (head) {
    case 0xC0:
        return constant(PACK_NIL, 0, into);
    case 0xC2:
    case 0xC3:
        return constant(PACK_BOOL, head & 1, into);
    case 0xC4:
    case 0xC5:
    case 0xC6:
        return sized_bytes(from, PACK_BIN, (size_t)1 << (head - 0xC4), into);
    case 0xCA:
        return single(from, into);
    case 0xCB:
        return doubled(from, into);
    case 0xCC:
    case 0xCD:
    case 0xCE:
    case 0xCF:
        return natural(from, (size_t)1 << (head - 0xCC), into);
    case 0xD0:
    case 0xD1:
    case 0xD2:
    case 0xD3:
        return integer(from, (size_t)1 << (head - 0xD0), into);
    case 0xD9:
    case 0xDA:
    case 0xDB:
        return sized_bytes(from, PACK_STR, (size_t)1 << (head - 0xD9), into);
    case 0xDC:
    case 0xDD:
        return sized_items(from, PACK_ARRAY, (size_t)2 << (head - 0xDC), into);
    case 0xDE:
    case 0xDF:
        return sized_items(from, PACK_MAP, (size_t)2 << (head - 0xDE), into);
    default:
        return -EBADMSG;
    }
}

int unpack_next(struct reader *from, struct value *into)
{
    uint64_t byte;
    int error = take(from, 1, &byte);
    if (error)
        return error;
    uint8_t head = (uint8_t)byte;
    if (head < 0x80)
        return constant(PACK_UINT, head, into);
    if (head < 0x90)
        return items(from, PACK_MAP, head & 0x0F, into);
    if (head < 0xA0)
        return items(from, PACK_ARRAY, head & 0x0F, into);
    if (head < 0xC0)
        return bytes(from, PACK_STR, head & 0x1F, into);
    if (head < 0xE0)
        return by_head(from, head, into);
    *into = (struct value){.kind = PACK_INT, .negative = (int8_t)head};
    return 0;
}

int unpack_skip(struct reader *from)
{
    uint64_t missing[MAX_DEPTH + 1] = {1};
    size_t depth = 0;
    for (;;) {
        while (missing[depth] == 0) {
            if (depth == 0)
                return 0;
            depth--;
        }
        missing[depth]--;
        struct value value;
        int error = unpack_next(from, &value);
        if (error)
            return error;
        if (value.kind != PACK_ARRAY && value.kind != PACK_MAP)
            continue;
        if (depth == MAX_DEPTH)
            return -EBADMSG;
        missing[++depth] = value.kind == PACK_MAP ? 2 * value.number : value.number;
    }
}

bool value_is(const struct value *value, const char *word)
{
    size_t length = strlen(word);
    return value->kind == PACK_STR && value->length == length &&
           memcmp(value->data, word, length) == 0;
}

int value_real(const struct value *value, double *into)
{
    if (value->kind == PACK_FLOAT)
        *into = value->real;
    else if (value->kind == PACK_UINT)
        *into = (double)value->number;
    else if (value->kind == PACK_INT)
        *into = (double)value->negative;
    else
        return -EBADMSG;
    return 0;
}

/* ---- Writing ---- */

/* All of it or, from then on, nothing: half a value would make the rest another record. */
static void put(struct writer *to, const void *data, size_t length)
{
    if (to->is_full || (size_t)(to->end - to->at) < length) {
        to->is_full = true;
        return;
    }
    if (length == 0)
        return;
    memcpy(to->at, data, length);
    to->at += length;
}

static void put_head(struct writer *to, uint8_t head, uint64_t number, size_t size)
{
    uint8_t data[9] = {head};
    uint64_t big = htobe64(number);
    memcpy(data + 1, (const uint8_t *)&big + sizeof big - size, size);
    put(to, data, size + 1);
}

static void put_sized(struct writer *to, uint8_t head_of_16, uint32_t count)
{
    if (count <= UINT16_MAX)
        put_head(to, head_of_16, count, 2);
    else
        put_head(to, head_of_16 + 1, count, 4);
}

void pack_map(struct writer *to, uint32_t pairs)
{
    if (pairs < 16)
        put_head(to, (uint8_t)(0x80 | pairs), 0, 0);
    else
        put_sized(to, 0xDE, pairs);
}

void pack_array(struct writer *to, uint32_t items_count)
{
    if (items_count < 16)
        put_head(to, (uint8_t)(0x90 | items_count), 0, 0);
    else
        put_sized(to, 0xDC, items_count);
}

void pack_str(struct writer *to, const char *text, size_t length)
{
    if (length > UINT32_MAX) {
        to->is_full = true;
        return;
    }
    if (length < 32)
        put_head(to, (uint8_t)(0xA0 | length), 0, 0);
    else if (length <= UINT8_MAX)
        put_head(to, 0xD9, length, 1);
    else
        put_sized(to, 0xDA, (uint32_t)length);
    put(to, text, length);
}

void pack_bin(struct writer *to, const void *data, size_t length)
{
    if (length > UINT32_MAX) {
        to->is_full = true;
        return;
    }
    if (length <= UINT8_MAX)
        put_head(to, 0xC4, length, 1);
    else
        put_sized(to, 0xC5, (uint32_t)length);
    put(to, data, length);
}

void pack_word(struct writer *to, const char *text)
{
    pack_str(to, text, strlen(text));
}

void pack_uint(struct writer *to, uint64_t number)
{
    if (number < 0x80)
        put_head(to, (uint8_t)number, 0, 0);
    else if (number <= UINT8_MAX)
        put_head(to, 0xCC, number, 1);
    else if (number <= UINT16_MAX)
        put_head(to, 0xCD, number, 2);
    else if (number <= UINT32_MAX)
        put_head(to, 0xCE, number, 4);
    else
        put_head(to, 0xCF, number, 8);
}

void pack_int(struct writer *to, int64_t number)
{
    if (number >= 0)
        pack_uint(to, (uint64_t)number);
    else if (number >= -32)
        put_head(to, (uint8_t)number, 0, 0);
    else if (number >= INT8_MIN)
        put_head(to, 0xD0, (uint64_t)number, 1);
    else if (number >= INT16_MIN)
        put_head(to, 0xD1, (uint64_t)number, 2);
    else if (number >= INT32_MIN)
        put_head(to, 0xD2, (uint64_t)number, 4);
    else
        put_head(to, 0xD3, (uint64_t)number, 8);
}

void pack_bool(struct writer *to, bool truth)
{
    put_head(to, truth ? 0xC3 : 0xC2, 0, 0);
}

void pack_nil(struct writer *to)
{
    put_head(to, 0xC0, 0, 0);
}
