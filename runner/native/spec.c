/* The tables of a spec: its fields, and how each becomes a member of `struct job`.
 *
 * The fields are those of runner/spec.py, with what runner/launching.py adds. One that asks for
 * anything that this program does not do is refused, and its job is lost rather than run with less
 * than was promised: runner/native_jobs.py sends no such one. Files are job.c's.
 */
#include "spec.h"

#include <string.h>

enum { MAX_UMASK = 0777 };

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

/* ---- Words ---- */

struct word { const char *word; int number; };

static int read_word(struct parse *parse, const struct word *words, size_t count, int *into)
{
    struct value value;
    if (unpack_next(&parse->from, &value))
        return -EBADMSG;
    for (size_t each = 0; each < count; each++) {
        if (value_is(&value, words[each].word)) {
            *into = words[each].number;
            return 0;
        }
    }
    return -EBADMSG;
}

static int read_policy(struct parse *parse, void *into)
{
    static const struct word words[] = {
        {"drop-oldest", OUTPUT_KEEP}, {"end", OUTPUT_END}, {"block", OUTPUT_BLOCK}};
    int number = OUTPUT_KEEP;
    if (!skip_nil(parse) && read_word(parse, words, COUNT(words), &number))
        return -EBADMSG;
    *(enum output_policy *)into = (enum output_policy)number;
    return 0;
}

static int read_on_full(struct parse *parse, void *into)
{
    static const struct word words[] = {
        {"wait", FULL_WAIT}, {"drop", FULL_DROP}, {"end", FULL_END}};
    int number;
    if (read_word(parse, words, COUNT(words), &number))
        return -EBADMSG;
    *(enum on_full *)into = (enum on_full)number;
    return 0;
}

static int read_compression(struct parse *parse, void *into)
{
    static const struct word words[] = {{"none", 0}};
    (void)into;
    int number;
    return read_word(parse, words, COUNT(words), &number);
}

static int read_filesystem(struct parse *parse, void *into)
{
    static const struct word words[] = {{"host", 0}};
    (void)into;
    int number;
    return read_word(parse, words, COUNT(words), &number);
}

static int read_network(struct parse *parse, void *into)
{
    static const struct word words[] = {{"host", false}, {"none", true}, {"private", true}};
    int number;
    if (read_word(parse, words, COUNT(words), &number))
        return -EBADMSG;
    *(bool *)into = number;
    return 0;
}

/* ---- Numbers ---- */

static int read_umask(struct parse *parse, void *into)
{
    uint64_t mask;
    if (field_count(parse, &mask) || mask > MAX_UMASK)
        return -EBADMSG;
    *(unsigned *)into = (unsigned)mask;
    return 0;
}

static int read_signal(struct parse *parse, void *into)
{
    uint64_t number = 0;
    if (!skip_nil(parse) && (field_count(parse, &number) || number > 64))
        return -EBADMSG;
    *(int *)into = (int)number;
    return 0;
}

static int read_deadline(struct parse *parse, void *into)
{
    struct job *job = into;
    uint64_t deadline;
    if (field_count_or_none(parse, &deadline))
        return -EBADMSG;
    job->has_deadline = deadline != NO_LIMIT;
    job->deadline_ns = job->has_deadline ? (int64_t)deadline : 0;
    return 0;
}

static int read_program(struct parse *parse, void *into)
{
    bool *has_program = into;
    *has_program = !skip_nil(parse);
    struct value value;
    if (*has_program && (unpack_next(&parse->from, &value) || value.kind != PACK_BIN))
        return -EBADMSG;
    return 0;
}

/* ---- Lists ---- */

/* The head of a list of pointers or numbers, and room for them and a last one. */
static void *list_of(struct parse *parse, enum kind kind, size_t each, size_t *count)
{
    struct value value;
    if (unpack_next(&parse->from, &value) || value.kind != kind)
        return NULL;
    *count = value.number;
    /* No overflow: it is below the bytes that are left (pack.c). */
    return arena_take(&parse->arena, (*count + 1) * each, each);
}

static int read_argv(struct parse *parse, void *into)
{
    size_t count;
    char **argv = list_of(parse, PACK_ARRAY, sizeof *argv, &count);
    if (argv == NULL || count == 0)
        return -EBADMSG;
    for (size_t each = 0; each < count; each++) {
        argv[each] = text_of(parse, PACK_BIN, "argv");
        if (argv[each] == NULL)
            return -EBADMSG;
    }
    argv[count] = NULL;
    *(char ***)into = argv;
    return 0;
}

/* "NAME=value": the two texts lie one after the other in the arena. */
static char *variable(struct parse *parse)
{
    char *name = text_of(parse, PACK_BIN, "env");
    if (name == NULL || !name[0] || strchr(name, '=') != NULL)
        return NULL;
    char *equals = name + strlen(name);
    char *value = text_of(parse, PACK_BIN, "env");
    if (value == NULL || value != equals + 1)
        return NULL;
    *equals = '=';
    return name;
}

static int read_env(struct parse *parse, void *into)
{
    struct job *job = into;
    size_t count;
    job->envp = list_of(parse, PACK_MAP, sizeof *job->envp, &count);
    if (job->envp == NULL)
        return -EBADMSG;
    for (size_t each = 0; each < count; each++) {
        job->envp[each] = variable(parse);
        if (job->envp[each] == NULL)
            return -EBADMSG;
        if (strncmp(job->envp[each], "PATH=", 5) == 0)
            job->path_variable = job->envp[each] + 5;
    }
    job->envp[count] = NULL;
    return 0;
}

static int read_groups(struct parse *parse, void *into)
{
    struct job *job = into;
    job->groups = list_of(parse, PACK_ARRAY, sizeof *job->groups, &job->group_count);
    if (job->groups == NULL || job->group_count > MAX_GROUPS)
        return -EBADMSG;
    for (size_t each = 0; each < job->group_count; each++)
        if (field_id(parse, &job->groups[each]))
            return -EBADMSG;
    return 0;
}

/* ---- The tables ---- */

/* runner/stored.py, `_Limits`: what the cgroups hold is skipped, the monitor holds the rest. */
static const struct field LIMITS[] = {
    {"version", field_version, 0}, /* of the file; the rest is of both */
    {"cpu_time_seconds", field_seconds_or_none, offsetof(struct job, limits.cpu_time_seconds)},
    {"timeout_seconds", field_seconds_or_none, offsetof(struct job, limits.timeout_seconds)},
    {"warning_seconds", field_seconds_or_none, offsetof(struct job, limits.warning_seconds)},
    {"warning_signal", read_signal, offsetof(struct job, limits.warning_signal)},
    {"output_max_bytes", field_count_or_none, offsetof(struct job, limits.output_max_bytes)},
    {"output_policy", read_policy, offsetof(struct job, limits.output_policy)},
    {"scratch_max_bytes", field_count_or_none, offsetof(struct job, scratch_max_bytes)},
    {"rlimits", field_skip, 0}, /* the request has them as numbers */
    {"memory_max_bytes", field_skip, 0},
    {"memory_high_bytes", field_skip, 0},
    {"memory_swap_max_bytes", field_skip, 0},
    {"oom_policy", field_skip, 0},
    {"cpu_max_millicpus", field_skip, 0},
    {"cpu_weight", field_skip, 0},
    {"cpu_set", field_skip, 0},
    {"cpu_idle", field_skip, 0},
    {"pids_max", field_skip, 0},
    {"io", field_skip, 0},
    {"io_weight", field_skip, 0},
    {"net_egress_bits_per_second", field_skip, 0},
    {"net_ingress_bits_per_second", field_skip, 0},
};

static int read_limits(struct parse *parse, void *into)
{
    static const struct fields fields = {
        .map = "limits", .field = LIMITS + 1, .count = COUNT(LIMITS) - 1,
        .optional = COUNT(LIMITS) - 1};
    return fields_read(parse, &fields, into);
}

/* runner/spec.py, `logs`. */
static const struct field LOGS[] = {
    {"segment_bytes", field_size, offsetof(struct log_options, segment_bytes)},
    {"keep_bytes", field_size, offsetof(struct log_options, keep_bytes)},
    {"keep_segments", field_size, offsetof(struct log_options, keep_segments)},
    {"compression", read_compression, 0},
    {"on_full", read_on_full, offsetof(struct log_options, on_full)},
};

static int read_logs(struct parse *parse, void *into)
{
    static const struct fields fields = {.map = "logs", .field = LOGS, .count = COUNT(LOGS)};
    return fields_read(parse, &fields, into);
}

/* runner/spec.py, `sandbox`: each of a plain job is its default, or is the request's. */
static const struct field SANDBOX[] = {
    {"preset", field_nil, 0},
    {"filesystem", read_filesystem, 0},
    {"root", field_nil, 0},
    {"keep_changes", field_nil, 0},
    {"readable", field_empty, 0},
    {"writable", field_empty, 0},
    {"binds", field_empty, 0},
    {"tmpfs", field_empty, 0},
    {"hide", field_empty, 0},
    {"hostname", field_text, offsetof(struct spec, job.hostname)},
    {"userns", field_false, 0},
    {"capabilities", field_skip, 0}, /* the request has them as bits */
    {"seccomp", field_binary, offsetof(struct spec, seccomp)},
    {"seccomp_program", read_program, offsetof(struct spec, has_program)},
    {"report_denied", field_false, 0},
    {"devices", field_empty, 0},
    {"secrets", field_empty, 0},
};

static int read_sandbox(struct parse *parse, void *into)
{
    static const struct fields fields = {
        .map = "sandbox", .field = SANDBOX, .count = COUNT(SANDBOX)};
    return fields_read(parse, &fields, into);
}

static const struct field SPEC[] = {
    {"version", field_version, 0},
    {"job", field_text, offsetof(struct spec, id)},
    {"argv", read_argv, offsetof(struct spec, job.argv)},
    {"env", read_env, 0},
    {"cwd", field_binary, offsetof(struct spec, job.cwd)},
    {"umask", read_umask, offsetof(struct spec, job.umask)},
    {"network", read_network, offsetof(struct spec, job.own_sys)},
    {"uid", field_id, offsetof(struct spec, job.uid)},
    {"gid", field_id, offsetof(struct spec, job.gid)},
    {"groups", read_groups, 0},
    {"limits", read_limits, 0},
    {"logs", read_logs, offsetof(struct spec, job.logs)},
    {"sandbox", read_sandbox, 0},
    {"stop_grace_seconds", field_seconds, offsetof(struct spec, job.stop_grace_seconds)},
    {"deadline_ns", read_deadline, 0},
    {"base", field_nil, 0}, /* of a user namespace */
    {"user", field_skip, 0},
    {"net", field_skip, 0}, /* its network is a descriptor */
    {"retry", field_skip, 0},
    {"row", field_skip, 0},
};
enum { OPTIONAL_IN_SPEC = 6 };

int spec_parse(struct parse *parse, struct spec *into)
{
    static const struct fields fields = {
        .map = "", .field = SPEC, .count = COUNT(SPEC), .optional = OPTIONAL_IN_SPEC};
    return fields_read(parse, &fields, into);
}

int spec_parse_limits(struct parse *parse, struct spec *into)
{
    static const struct fields fields = {
        .map = "", .field = LIMITS, .count = COUNT(LIMITS), .optional = COUNT(LIMITS) - 1,
        .is_open = true};
    return fields_read(parse, &fields, into);
}
