/* What a job used, read from its cgroups by descriptor, and writing to them.
 *
 * runner/usage.py and isolation/cgroups/files.py are the originals, and each change to one is a
 * change to both: tests/unit/native/test_usage.py compares them. UNKNOWN (nil in the record)
 * means that this kernel or this cgroup does not say. Formats: the kernel's cgroup-v2.rst.
 */

#include "native.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Interface files are at most a page, but io.stat has a line for each device. */
#define MOST_BYTES 65536

/* A part of a file's text. Never terminated, because it is found where it lies. */
struct text {
    const char *at, *end;
};

/* One file at a time; only the pages that a file fills are ever touched. */
static char file_bytes[MOST_BYTES];

/* ---- words and numbers ---- */

static bool is_space(char letter)
{
    return letter == ' ' || ('\t' <= letter && letter <= '\r');
}

/* Up to the next `separator` or the end; what comes behind it is left in `from`. */
static struct text take_until(struct text *from, char separator)
{
    struct text part = {from->at, from->at};
    while (part.end < from->end && *part.end != separator)
        part.end++;
    from->at = part.end < from->end ? part.end + 1 : part.end;
    return part;
}

/* The next word between spaces: empty when there is none. */
static struct text take_word(struct text *from)
{
    while (from->at < from->end && is_space(*from->at))
        from->at++;
    struct text word = {from->at, from->at};
    while (word.end < from->end && !is_space(*word.end))
        word.end++;
    from->at = word.end;
    return word;
}

static bool is_empty(struct text text)
{
    return text.at == text.end;
}

static bool is_word(struct text text, const char *word)
{
    size_t length = strlen(word);
    return (size_t)(text.end - text.at) == length && memcmp(text.at, word, length) == 0;
}

/* A number of digits alone; UNKNOWN for anything else, `max` above all. */
static uint64_t number_of(struct text text)
{
    uint64_t number = 0;
    if (is_empty(text))
        return UNKNOWN;
    for (const char *at = text.at; at < text.end; at++) {
        if (*at < '0' || *at > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return UNKNOWN;
    }
    return number;
}

/* ---- files ---- */

/* The file's text without the space around it. False when this kernel or this cgroup does not
 * have it: EOPNOTSUPP says that it is there but its feature is switched off (psi=0). */
static bool read_file(int cgroup, const char *name, struct text *into)
{
    int fd = openat(cgroup, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t count = read(fd, file_bytes, sizeof file_bytes);
    close(fd);
    if (count < 0)
        return false;
    *into = (struct text){file_bytes, file_bytes + count};
    while (!is_empty(*into) && is_space(*into->at))
        into->at++;
    while (!is_empty(*into) && is_space(into->end[-1]))
        into->end--;
    return true;
}

static uint64_t read_number(int cgroup, const char *name)
{
    struct text text;
    return read_file(cgroup, name, &text) ? number_of(text) : UNKNOWN;
}

/* Of a flat-keyed file's lines `key number`, those with the keys: into `numbers`. */
static void read_keyed(int cgroup, const char *name, size_t count, const char *const keys[],
                       uint64_t numbers[])
{
    struct text text = {0};
    for (size_t i = 0; i < count; i++)
        numbers[i] = UNKNOWN;
    if (!read_file(cgroup, name, &text))
        return;
    while (!is_empty(text)) {
        struct text value = take_until(&text, '\n');
        struct text key = take_until(&value, ' ');
        uint64_t number = number_of(value);
        for (size_t i = 0; i < count && number != UNKNOWN; i++)
            if (is_word(key, keys[i]))
                numbers[i] = number;
    }
}

/* The bytes that io.stat says were read and written, over all devices: `8:0 rbytes=1 wbytes=2`. */
static void read_io(int cgroup, uint64_t *read_bytes, uint64_t *written_bytes)
{
    struct text text;
    *read_bytes = *written_bytes = UNKNOWN;
    if (!read_file(cgroup, "io.stat", &text))
        return;
    *read_bytes = *written_bytes = 0;
    while (!is_empty(text)) {
        struct text line = take_until(&text, '\n');
        take_word(&line); /* the device */
        for (struct text word; !is_empty(word = take_word(&line));) {
            struct text key = take_until(&word, '=');
            uint64_t number = number_of(word);
            if (number == UNKNOWN)
                continue;
            if (is_word(key, "rbytes"))
                *read_bytes += number;
            else if (is_word(key, "wbytes"))
                *written_bytes += number;
        }
    }
}

/* For how long some process waited: `some ... total=N`, Documentation/accounting/psi.rst. */
static uint64_t read_waited(int cgroup, const char *name)
{
    struct text text;
    if (!read_file(cgroup, name, &text))
        return UNKNOWN;
    while (!is_empty(text)) {
        struct text line = take_until(&text, '\n');
        if (!is_word(take_word(&line), "some"))
            continue;
        uint64_t total = UNKNOWN;
        for (struct text word; !is_empty(word = take_word(&line));)
            if (is_word(take_until(&word, '='), "total"))
                total = number_of(word);
        return total;
    }
    return UNKNOWN;
}

/* ---- what others ask for ---- */

/* In a group kill the kernel counts its first victim twice (mm/oom_kill.c: the victim itself, and
 * again as a member of the group), as long as that still had its memory the second time. */
static uint64_t processes_killed(uint64_t kills, uint64_t group_kills)
{
    if (kills == UNKNOWN || kills == 0 || group_kills == UNKNOWN)
        return kills;
    return group_kills < kills ? kills - group_kills : 1;
}

static void pack_figure(struct writer *to, const char *name, uint64_t number)
{
    pack_word(to, name);
    if (number == UNKNOWN)
        pack_nil(to);
    else
        pack_uint(to, number);
}

void usage_pack(struct writer *to, int job_cgroup, int payload_cgroup)
{
    static const char *const cpu_keys[] = {"usage_usec", "user_usec", "system_usec",
                                           "throttled_usec"};
    static const char *const memory_keys[] = {"high", "oom_kill", "oom_group_kill"};
    static const char *const pids_keys[] = {"max"};
    uint64_t cpu[4], memory[3], pids[1], read_bytes, written_bytes;
    read_keyed(job_cgroup, "cpu.stat", 4, cpu_keys, cpu);
    read_keyed(payload_cgroup, "memory.events", 3, memory_keys, memory);
    read_keyed(payload_cgroup, "pids.events", 1, pids_keys, pids);
    read_io(job_cgroup, &read_bytes, &written_bytes);
    pack_figure(to, "cpu_usec", cpu[0]);
    pack_figure(to, "cpu_user_usec", cpu[1]);
    pack_figure(to, "cpu_system_usec", cpu[2]);
    pack_figure(to, "throttled_usec", cpu[3]);
    pack_figure(to, "memory_peak_bytes", read_number(payload_cgroup, "memory.peak"));
    pack_figure(to, "memory_high_hits", memory[0]);
    pack_figure(to, "oom_kills", processes_killed(memory[1], memory[2]));
    pack_figure(to, "pids_peak", read_number(payload_cgroup, "pids.peak"));
    pack_figure(to, "pids_max_hits", pids[0]);
    pack_figure(to, "io_read_bytes", read_bytes);
    pack_figure(to, "io_write_bytes", written_bytes);
    pack_figure(to, "cpu_pressure_usec", read_waited(job_cgroup, "cpu.pressure"));
    pack_figure(to, "memory_pressure_usec", read_waited(payload_cgroup, "memory.pressure"));
    pack_figure(to, "io_pressure_usec", read_waited(job_cgroup, "io.pressure"));
}

/* The CPU time of all of a job's processes so far, its monitor not counted. cpu.stat has this
 * line in every cgroup, with or without the controller. */
double usage_cpu_seconds(int payload_cgroup)
{
    static const char *const keys[] = {"usage_usec"};
    uint64_t used;
    read_keyed(payload_cgroup, "cpu.stat", 1, keys, &used);
    return used == UNKNOWN ? 0.0 : (double)used / 1e6;
}

/* What the out-of-memory killer did to a job so far: `oom` counts this cgroup's own limit only. */
void usage_out_of_memory(int payload_cgroup, uint64_t *kills, bool *hit_own_limit)
{
    static const char *const keys[] = {"oom_kill", "oom"};
    uint64_t found[2];
    read_keyed(payload_cgroup, "memory.events", 2, keys, found);
    *kills = found[0] == UNKNOWN ? 0 : found[0];
    *hit_own_limit = found[1] != UNKNOWN && found[1] > 0;
}

/* Write one value. -ENOENT when this kernel lacks the file. */
int cgroup_write(int cgroup, const char *name, const char *text)
{
    int fd = openat(cgroup, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return result;
}
