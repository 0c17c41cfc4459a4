/* msgpack, read and written in place; see pack.c. Shared by runctl and the native launcher. */
#ifndef RUNNERD_PACK_H
#define RUNNERD_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kind { PACK_NIL, PACK_BOOL, PACK_UINT, PACK_INT, PACK_FLOAT, PACK_STR, PACK_BIN, PACK_ARRAY, PACK_MAP };

struct value {
    enum kind kind;
    uint64_t number;   /* PACK_BOOL, PACK_UINT; the count of PACK_ARRAY and PACK_MAP */
    int64_t negative;  /* PACK_INT: below 0 */
    double real;       /* PACK_FLOAT */
    const uint8_t *data; /* PACK_STR, PACK_BIN: not terminated */
    size_t length;
};

struct reader { const uint8_t *at, *end; };

/* The next token; of an array or a map only its head. -EBADMSG for anything torn or unknown. */
int unpack_next(struct reader *from, struct value *into);
/* Past one whole value, however nested (at most 32 deep). */
int unpack_skip(struct reader *from);
bool value_is(const struct value *value, const char *word); /* a str of exactly these bytes */
/* A number of either numeric kind as seconds or such; -EBADMSG for another kind. */
int value_real(const struct value *value, double *into);

struct writer { uint8_t *at, *end; bool is_full; };

void pack_map(struct writer *to, uint32_t pairs);
void pack_array(struct writer *to, uint32_t items);
void pack_str(struct writer *to, const char *text, size_t length); /* valid UTF-8 */
void pack_bin(struct writer *to, const void *data, size_t length);
void pack_word(struct writer *to, const char *text);               /* the same, terminated */
void pack_uint(struct writer *to, uint64_t number);
void pack_int(struct writer *to, int64_t number);
void pack_bool(struct writer *to, bool truth);
void pack_nil(struct writer *to);

#endif
