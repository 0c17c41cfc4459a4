/* Reads maps by table (fields.h), and the kinds of values that tables name. */
#include "fields.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_NAME_BYTES = 64 };

int fault(struct parse *parse, const char *name, const char *what)
{
    if (!parse->fault[0])
        snprintf(parse->fault, sizeof parse->fault, "%s%s%.*s %s", parse->map,
                 parse->map[0] ? "." : "", MAX_NAME_BYTES, name, what);
    return -EBADMSG;
}

void *arena_take(struct arena *arena, size_t size, size_t alignment)
{
    size_t padding = (size_t)(-(uintptr_t)arena->at & (alignment - 1));
    size_t room = (size_t)(arena->end - arena->at);
    if (room < padding || room - padding < size)
        return NULL;
    void *taken = arena->at + padding;
    arena->at += padding + size;
    return taken;
}

/* ---- Maps ---- */

static size_t find(const struct fields *fields, const struct value *name)
{
    for (size_t each = 0; each < fields->count; each++)
        if (value_is(name, fields->field[each].name))
            return each;
    return fields->count;
}

static int unknown(struct parse *parse, const struct fields *fields, const struct value *name)
{
    if (fields->is_open)
        return unpack_skip(&parse->from);
    char text[MAX_NAME_BYTES + 1] = "?";
    size_t length = name->length < MAX_NAME_BYTES ? name->length : MAX_NAME_BYTES;
    if (name->kind == PACK_STR)
        snprintf(text, sizeof text, "%.*s", (int)length, (const char *)name->data);
    return fault(parse, text, "is not known");
}

static int read_field(struct parse *parse, const struct fields *fields, uint8_t *base,
                      uint64_t *seen)
{
    struct value name;
    int error = unpack_next(&parse->from, &name);
    if (error)
        return error;
    if (name.kind == PACK_ARRAY || name.kind == PACK_MAP)
        return fault(parse, "a name", "is no text");
    size_t index = find(fields, &name);
    if (index == fields->count)
        return unknown(parse, fields, &name);
    const struct field *field = &fields->field[index];
    if (*seen & 1ULL << index)
        return fault(parse, field->name, "is there twice");
    *seen |= 1ULL << index;
    error = field->read(parse, base + field->at);
    return error ? fault(parse, field->name, "is not one that is known") : 0;
}

static int read_all(struct parse *parse, const struct fields *fields, uint8_t *base)
{
    struct value head;
    int error = unpack_next(&parse->from, &head);
    if (error || head.kind != PACK_MAP)
        return -EBADMSG;
    uint64_t seen = 0;
    while (head.number-- > 0) {
        error = read_field(parse, fields, base, &seen);
        if (error)
            return error;
    }
    for (size_t each = 0; each < fields->count - fields->optional; each++)
        if (!(seen & 1ULL << each))
            return fault(parse, fields->field[each].name, "is missing");
    return 0;
}

int fields_read(struct parse *parse, const struct fields *fields, void *base)
{
    const char *outer = parse->map;
    parse->map = fields->map;
    int error = read_all(parse, fields, base);
    parse->map = outer;
    return error;
}

/* ---- Values ---- */

int field_skip(struct parse *parse, void *into)
{
    (void)into;
    return unpack_skip(&parse->from);
}

int field_nil(struct parse *parse, void *into)
{
    (void)into;
    struct value value;
    int error = unpack_next(&parse->from, &value);
    return error || value.kind != PACK_NIL ? -EBADMSG : 0;
}

int field_version(struct parse *parse, void *into)
{
    (void)into;
    struct value value;
    int error = unpack_next(&parse->from, &value);
    bool is_known = value.number >= 1 && value.number <= RECORD_VERSION;
    return error || value.kind != PACK_UINT || !is_known ? -EBADMSG : 0;
}

/* An array or a map of nothing. */
int field_empty(struct parse *parse, void *into)
{
    (void)into;
    struct value value;
    int error = unpack_next(&parse->from, &value);
    bool is_several = value.kind == PACK_ARRAY || value.kind == PACK_MAP;
    return error || !is_several || value.number != 0 ? -EBADMSG : 0;
}

int field_bool(struct parse *parse, void *into)
{
    struct value value;
    int error = unpack_next(&parse->from, &value);
    if (error || value.kind != PACK_BOOL)
        return -EBADMSG;
    *(bool *)into = value.number != 0;
    return 0;
}

int field_false(struct parse *parse, void *into)
{
    (void)into;
    bool truth;
    int error = field_bool(parse, &truth);
    return error || truth ? -EBADMSG : 0;
}

int field_count(struct parse *parse, void *into)
{
    struct value value;
    int error = unpack_next(&parse->from, &value);
    /* As much as runner/stored.py takes; NO_LIMIT is never among it. */
    if (error || value.kind != PACK_UINT || value.number > INT64_MAX)
        return -EBADMSG;
    *(uint64_t *)into = value.number;
    return 0;
}

int field_size(struct parse *parse, void *into)
{
    int error = field_count(parse, into);
    return error || *(uint64_t *)into == 0 ? -EBADMSG : 0;
}

bool skip_nil(struct parse *parse)
{
    struct reader ahead = parse->from;
    struct value value;
    if (unpack_next(&ahead, &value) || value.kind != PACK_NIL)
        return false;
    parse->from = ahead;
    return true;
}

int field_count_or_none(struct parse *parse, void *into)
{
    if (!skip_nil(parse))
        return field_count(parse, into);
    *(uint64_t *)into = NO_LIMIT;
    return 0;
}

int field_seconds(struct parse *parse, void *into)
{
    struct value value;
    double seconds;
    int error = unpack_next(&parse->from, &value);
    if (error || value_real(&value, &seconds) || !isfinite(seconds) || seconds < 0)
        return -EBADMSG;
    *(double *)into = seconds;
    return 0;
}

int field_seconds_or_none(struct parse *parse, void *into)
{
    if (!skip_nil(parse))
        return field_seconds(parse, into);
    *(double *)into = NAN;
    return 0;
}

int field_id(struct parse *parse, void *into)
{
    uint64_t id;
    int error = field_count(parse, &id);
    /* UINT32_MAX means "leave it as it is" to setresuid(2): it would stay root's. */
    if (error || id >= UINT32_MAX)
        return -EBADMSG;
    *(uint32_t *)into = (uint32_t)id;
    return 0;
}

char *text_of(struct parse *parse, enum kind kind, const char *what)
{
    struct value value;
    if (unpack_next(&parse->from, &value) || value.kind != kind)
        return NULL;
    char *text = arena_take(&parse->arena, value.length + 1, 1);
    if (text == NULL)
        return NULL;
    memcpy(text, value.data, value.length);
    text[value.length] = '\0';
    /* What the kernel would cut off there is not what was asked for. */
    if (strlen(text) == value.length)
        return text;
    fault(parse, what, "holds a zero byte");
    return NULL;
}

int field_text(struct parse *parse, void *into)
{
    char *text = text_of(parse, PACK_STR, "a text");
    *(const char **)into = text;
    return text == NULL ? -EBADMSG : 0;
}

int field_binary(struct parse *parse, void *into)
{
    char *text = text_of(parse, PACK_BIN, "a text");
    *(const char **)into = text;
    return text == NULL ? -EBADMSG : 0;
}
