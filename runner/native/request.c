/* A launch request: the map that runner/launcher_client.py sends, and the descriptors with it.
 *
 * The texts are the daemon's own, and yet nothing is taken on trust: whatever is missing, twice
 * there, of another kind or not known refuses the whole request.
 */
#include "fields.h"

#include <string.h>
#include <sys/resource.h>

/* A request on its way; `request` is its first member, so that tables can name either's. */
struct incoming {
    struct request request;
    const int *fds;
    size_t fd_count;
};

struct handle { const char *name; size_t at; bool is_needed; };

/* runner/handles.py. What is not here (a user namespace) is of jobs that are not plain. */
static const struct handle HANDLES[] = {
    {"job_dir", offsetof(struct handles, job_dir), true},
    {"log_dir", offsetof(struct handles, log_dir), true},
    {"control", offsetof(struct handles, control), true},
    {"job_cgroup", offsetof(struct handles, job_cgroup), true},
    {"monitor_cgroup", offsetof(struct handles, monitor_cgroup), true},
    {"payload_cgroup", offsetof(struct handles, payload_cgroup), true},
    {"network", offsetof(struct handles, network), false},
    {"seccomp", offsetof(struct handles, seccomp), false},
};
enum { HANDLE_COUNT = sizeof HANDLES / sizeof HANDLES[0] };

static int *place_of(struct handles *handles, size_t index)
{
    return (int *)((uint8_t *)handles + HANDLES[index].at);
}

static int name_handle(struct handles *handles, const struct value *name, int fd)
{
    for (size_t each = 0; each < HANDLE_COUNT; each++) {
        int *place = place_of(handles, each);
        if (!value_is(name, HANDLES[each].name))
            continue;
        if (*place >= 0 || fd < 0)
            return -EBADMSG;
        *place = fd;
        return 0;
    }
    return -EBADMSG;
}

/* The names, in the order of the descriptors. */
static int read_handles(struct parse *parse, void *into)
{
    struct incoming *incoming = into;
    struct handles *handles = &incoming->request.handles;
    struct value value;
    int error = unpack_next(&parse->from, &value);
    if (error || value.kind != PACK_ARRAY || value.number != incoming->fd_count)
        return -EBADMSG;
    for (size_t each = 0; each < incoming->fd_count; each++) {
        error = unpack_next(&parse->from, &value);
        if (error || name_handle(handles, &value, incoming->fds[each]))
            return -EBADMSG;
    }
    for (size_t each = 0; each < HANDLE_COUNT; each++)
        if (HANDLES[each].is_needed && *place_of(handles, each) < 0)
            return fault(parse, HANDLES[each].name, "is missing");
    return 0;
}

static int read_kind(struct parse *parse, void *into)
{
    (void)into;
    struct value value;
    int error = unpack_next(&parse->from, &value);
    return error || !value_is(&value, "monitor") ? -EBADMSG : 0;
}

/* A text without a zero byte into `size` bytes, terminated. */
static int copy_text(struct parse *parse, char *into, size_t size)
{
    struct value value;
    int error = unpack_next(&parse->from, &value);
    if (error || value.kind != PACK_STR || value.length >= size)
        return -EBADMSG;
    if (memchr(value.data, '\0', value.length) != NULL)
        return -EBADMSG;
    memcpy(into, value.data, value.length);
    into[value.length] = '\0';
    return 0;
}

static int read_job(struct parse *parse, void *into)
{
    char *job = into;
    int error = copy_text(parse, job, JOB_ID_BYTES);
    return error || !job[0] ? -EBADMSG : 0;
}

static int read_terminals(struct parse *parse, void *into)
{
    return copy_text(parse, into, sizeof ((struct request *)0)->terminals);
}

/* [resource, soft, hard]; nil is unlimited. */
static int read_rlimit(struct parse *parse, struct rlimit_entry *entry)
{
    struct value value;
    uint64_t resource;
    int error = unpack_next(&parse->from, &value);
    if (error || value.kind != PACK_ARRAY || value.number != 3)
        return -EBADMSG;
    if (field_count(parse, &resource) || resource >= RLIM_NLIMITS)
        return -EBADMSG;
    entry->resource = (int)resource;
    if (field_count_or_none(parse, &entry->soft) || field_count_or_none(parse, &entry->hard))
        return -EBADMSG;
    return 0;
}

static int read_rlimits(struct parse *parse, void *into)
{
    struct request *request = into;
    struct value value;
    int error = unpack_next(&parse->from, &value);
    if (error || value.kind != PACK_ARRAY || value.number > MAX_RLIMITS)
        return -EBADMSG;
    request->rlimit_count = value.number;
    for (size_t each = 0; each < request->rlimit_count; each++)
        if (read_rlimit(parse, &request->rlimits[each]))
            return -EBADMSG;
    return 0;
}

static const struct field NATIVE[] = {
    {"capabilities", field_count, offsetof(struct request, capabilities)},
    {"terminals", read_terminals, offsetof(struct request, terminals)},
    {"rlimits", read_rlimits, 0},
    {"own_network", field_bool, offsetof(struct request, own_network)},
};

static int read_native(struct parse *parse, void *into)
{
    static const struct fields fields = {
        .map = "native", .field = NATIVE, .count = sizeof NATIVE / sizeof NATIVE[0]};
    return fields_read(parse, &fields, into);
}

static const struct field REQUEST[] = {
    {"version", field_version, 0},
    {"kind", read_kind, 0},
    {"seq", field_size, offsetof(struct request, seq)},
    {"job", read_job, offsetof(struct request, job)},
    {"handles", read_handles, 0},
    {"files", field_empty, 0},
    {"ids", field_nil, 0},
    {"native", read_native, 0},
    {"sync_begin", field_bool, offsetof(struct request, sync_begin)},
};

static const struct field ONLY_SEQ[] = {{"seq", field_size, offsetof(struct request, seq)}};

/* Which one it is, so that even a request that cannot be served has an answer. */
static void find_seq(struct request *into, const uint8_t *data, size_t length)
{
    static const struct fields fields = {
        .map = "", .field = ONLY_SEQ, .count = 1, .optional = 1, .is_open = true};
    struct parse parse = {.from = {data, data + length}, .map = ""};
    if (fields_read(&parse, &fields, into))
        into->seq = 0;
}

int request_parse(struct request *into, const uint8_t *data, size_t length, const int *fds,
                  size_t fd_count)
{
    static const struct fields fields = {
        .map = "", .field = REQUEST, .count = sizeof REQUEST / sizeof REQUEST[0]};
    struct incoming incoming = {.fds = fds, .fd_count = fd_count};
    for (size_t each = 0; each < HANDLE_COUNT; each++)
        *place_of(&incoming.request.handles, each) = -1;
    incoming.request.handles.daemon = -1;
    find_seq(&incoming.request, data, length);
    *into = incoming.request;
    struct parse parse = {.from = {data, data + length}, .map = ""};
    int error = fields_read(&parse, &fields, &incoming);
    if (error || parse.from.at != parse.from.end)
        return -EBADMSG;
    if (incoming.request.own_network && incoming.request.handles.network >= 0)
        return -EBADMSG;
    *into = incoming.request;
    return 0;
}
