/* Maps of a record by table: which fields there are, how each is read and where it goes.
 *
 * For request.c and job.c. Nothing that is not in a table gets through, so what a newer runnerd
 * adds is refused here rather than left out of a job.
 */
#ifndef RUNNERD_NATIVE_FIELDS_H
#define RUNNERD_NATIVE_FIELDS_H

#include "native.h"

struct arena { uint8_t *at, *end; };

struct parse {
    struct reader from;
    struct arena arena;   /* for texts and arrays */
    const char *map;      /* where it is, for people */
    char fault[192];      /* what cannot be used, for people; "": it is garbled */
};

/* Reads one value into a place of the kind that it knows. 0 or -EBADMSG. */
typedef int field_reader(struct parse *parse, void *into);

struct field { const char *name; field_reader *read; size_t at; };

struct fields {
    const char *map; /* its name, for people */
    const struct field *field;
    size_t count;    /* at most 64 */
    size_t optional; /* so many at the end of the table may be missing */
    bool is_open;    /* what is not in the table is skipped */
};

/* One map into the struct at `base`. No field twice. */
int fields_read(struct parse *parse, const struct fields *fields, void *base);

/* A field of that name cannot be used: -EBADMSG, and the first fault stays. */
int fault(struct parse *parse, const char *name, const char *what);

/* From the arena; NULL: no room. */
void *arena_take(struct arena *arena, size_t size, size_t alignment);

field_reader field_skip;
field_reader field_version;                       /* of a record: this program's or older */
field_reader field_nil, field_empty, field_false; /* the one value that is known */
field_reader field_bool;                          /* bool */
field_reader field_count, field_size;             /* uint64_t; a size is not 0 */
field_reader field_count_or_none;                 /* uint64_t; nil: NO_LIMIT */
field_reader field_seconds;                       /* double, neither negative nor endless */
field_reader field_seconds_or_none;               /* double; nil: NAN */
field_reader field_id;                            /* uint32_t: what the kernel takes for a user */
field_reader field_text, field_binary;            /* const char *, terminated, no zero within */

/* Whether the next value is nil, which is then read. */
bool skip_nil(struct parse *parse);

/* A str or bin of `kind` as a terminated text of the arena. NULL: it cannot be one. */
char *text_of(struct parse *parse, enum kind kind, const char *what);

#endif
