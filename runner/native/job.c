/* The spec and the limits of a job, from their files in its directory.
 *
 * A spec is read into an arena that stays for the monitor's life: as large as the file can need at
 * most, and only what is written of it takes memory. The file's bytes are given back at once. That
 * the spec is this launch's, and that the launch carries what the spec asks for, is looked at here.
 */
#include "spec.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LIMITS_BYTES = 1024 * 1024 };

/* ---- Files ---- */

static void *map_memory(size_t size)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int open_regular(int dir_fd, const char *name, size_t most, size_t *size)
{
    /* O_NONBLOCK: opening a FIFO that lies in its place would wait for a writer. */
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    struct stat status;
    int error = fstat(fd, &status) < 0 ? -errno : 0;
    if (!error && (!S_ISREG(status.st_mode) || status.st_size < 1))
        error = -EBADMSG;
    if (!error && (uint64_t)status.st_size > most)
        error = -EBADMSG;
    if (error)
        close(fd);
    *size = error ? 0 : (size_t)status.st_size;
    return error ? error : fd;
}

/* All of a file, in memory of its own: were it mapped itself, whoever cut it short would kill this
 * process. What was cut meanwhile reads as zeros, which no record ends with. */
static int map_file(int dir_fd, const char *name, size_t most, struct reader *into)
{
    size_t size;
    int fd = open_regular(dir_fd, name, most, &size);
    if (fd < 0)
        return fd;
    uint8_t *data = map_memory(size);
    int error = data == MAP_FAILED ? -errno : 0;
    if (!error && pread(fd, data, size, 0) < 0) {
        error = -errno;
        munmap(data, size);
    }
    close(fd);
    if (!error)
        *into = (struct reader){data, data + size};
    return error;
}

static void unmap(struct reader file)
{
    munmap((void *)file.at, (size_t)(file.end - file.at));
}

/* ---- Words for people: what runner/monitor.py would say of the same failure ---- */

static int cannot_read(int error, const char *name, char *why, size_t size)
{
    const char *class = error == -ENOENT                      ? "FileNotFoundError"
                        : error == -EACCES || error == -EPERM ? "PermissionError"
                                                              : "OSError";
    if (error == -EBADMSG)
        snprintf(why, size, "RecordError: not a record: %s", name);
    else
        snprintf(why, size, "%s: [Errno %d] %s: '%s'", class, -error, strerror(-error), name);
    return error;
}

static int cannot_use(const char *fault, char *why, size_t size)
{
    if (fault[0])
        snprintf(why, size, "RecordError: the native launcher cannot use its spec: %s", fault);
    else
        snprintf(why, size, "RecordError: not a record: torn or garbled");
    return -EBADMSG;
}

/* ---- A spec ---- */

/* What the spec of another job asks for, or what the launch brought along or left out, must not
 * become this job's surroundings. */
static int check(const struct spec *spec, const struct request *request, char *why, size_t size)
{
    if (strcmp(spec->id, request->job) != 0) {
        snprintf(why, size, "RecordError: the spec is that of job %s", spec->id);
        return -EBADMSG;
    }
    if (spec->job.own_sys != (request->handles.network >= 0))
        return cannot_use("network does not fit its launch", why, size);
    bool is_filtered = spec->has_program || strcmp(spec->seccomp, "none") != 0;
    if (is_filtered != (request->handles.seccomp >= 0))
        return cannot_use("sandbox.seccomp does not fit its launch", why, size);
    return 0;
}

/* What all of a file's texts and lists can take at most. A text needs its length and one byte, as
 * it does in the file; an entry of a list, which is at least a byte there, a pointer besides; and
 * each of the three lists one more at its end, aligned. */
static size_t arena_size(size_t file_size)
{
    return file_size * (1 + sizeof(char *)) + 3 * 2 * sizeof(char *);
}

static const struct job NOTHING_SAID = {
    .scratch_max_bytes = NO_LIMIT,
    .limits = {.timeout_seconds = NAN,
               .warning_seconds = NAN,
               .cpu_time_seconds = NAN,
               .output_max_bytes = NO_LIMIT},
};

static int parse_spec(struct spec *spec, struct reader file, char *why, size_t size)
{
    size_t room = arena_size((size_t)(file.end - file.at));
    uint8_t *memory = map_memory(room);
    if (memory == MAP_FAILED) {
        snprintf(why, size, "MemoryError: no room for its spec");
        return -ENOMEM;
    }
    struct parse parse = {.from = file, .arena = {memory, memory + room}, .map = ""};
    int error = spec_parse(&parse, spec);
    if (!error && parse.from.at != parse.from.end)
        error = -EBADMSG;
    if (error) {
        munmap(memory, room);
        return cannot_use(parse.fault, why, size);
    }
    return 0;
}

int job_read(struct job *into, const struct request *request, char *why, size_t size)
{
    struct reader file;
    int error = map_file(request->handles.job_dir, "spec", MAX_SPEC_BYTES, &file);
    if (error)
        return cannot_read(error, "spec", why, size);
    struct spec spec = {.job = NOTHING_SAID};
    error = parse_spec(&spec, file, why, size);
    unmap(file);
    if (!error)
        error = check(&spec, request, why, size);
    if (!error)
        *into = spec.job;
    return error;
}

int limits_read(struct limits *into, int job_dir)
{
    struct reader file;
    int error = map_file(job_dir, "limits", MAX_LIMITS_BYTES, &file);
    if (error)
        return error;
    struct spec spec = {.job = NOTHING_SAID};
    struct parse parse = {.from = file, .map = ""};
    error = spec_parse_limits(&parse, &spec);
    if (!error && parse.from.at != parse.from.end)
        error = -EBADMSG;
    unmap(file);
    if (!error)
        *into = spec.job.limits;
    return error;
}
