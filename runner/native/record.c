/* The exit record: what a monitor leaves behind of its job. runner/monitor.py is the original;
 * the fields, their order and their kinds are the same (runner/stored.py reads both).
 *
 * While runnerd lives it waits for no disk: runnerd's commit of the end, which is synced, does. A
 * record that is blank or torn after a power cut is none (runner/reconcile.py). When runnerd is
 * gone nobody knows how long the next one is away: then it is synced here.
 */

#include "native.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME "exit"
#define TEMPORARY "exit.tmp"
/* More than the longest detail and all numbers together. Also what the blank file takes up. */
#define MOST_BYTES 4096

/* version, job; the log; the verdict; the times; the figures; and of what has run two more. */
#define FIXED_PAIRS (2 + 2 + 6 + 3 + USAGE_PAIRS)

static void pack_number(struct writer *to, const char *name, bool is_known, uint64_t number)
{
    pack_word(to, name);
    if (is_known)
        pack_uint(to, number);
    else
        pack_nil(to);
}

static void pack_outcome(struct writer *to, const struct outcome *outcome)
{
    pack_word(to, "reason");
    pack_word(to, outcome->reason);
    pack_number(to, "exit_code", outcome->exit_code >= 0, (uint64_t)outcome->exit_code);
    pack_number(to, "signal", outcome->signal >= 0, (uint64_t)outcome->signal);
    pack_number(to, "exit_status", true, (uint64_t)outcome->exit_status);
    pack_word(to, "detail");
    if (outcome->detail[0])
        pack_word(to, outcome->detail);
    else
        pack_nil(to);
    pack_number(to, "stopped_by_uid", outcome->has_stopper, outcome->stopped_by);
}

static void pack_record(struct writer *to, const struct request *request,
                        const struct ending *ending)
{
    const struct handles *handles = &request->handles;
    pack_map(to, FIXED_PAIRS + (ending->has_run ? 2 : 0));
    pack_number(to, "version", true, RECORD_VERSION);
    pack_word(to, "job");
    pack_word(to, request->job);
    pack_number(to, "log_bytes", ending->has_log, ending->log_bytes);
    pack_number(to, "log_dropped_bytes", ending->has_log, ending->log_dropped_bytes);
    pack_outcome(to, &ending->outcome);
    pack_number(to, "started_ns", true, ending->started_unix_ns);
    pack_number(to, "ended_ns", true, nanoseconds_of(CLOCK_REALTIME));
    pack_number(to, "wall_ns", true, nanoseconds_of(CLOCK_MONOTONIC) - ending->started_ns);
    usage_pack(to, handles->job_cgroup, handles->payload_cgroup);
    if (ending->has_run) {
        pack_number(to, "paused_ns", true, ending->paused_ns);
        pack_number(to, "denied", false, 0); /* a plain job's filter does not report */
    }
}

/* Over the blank that was made with the directory: a full disk must not hide an end. */
static int write_whole(int dir, const uint8_t *data, size_t length, bool is_synced)
{
    int fd = openat(dir, TEMPORARY, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    ssize_t written = pwrite(fd, data, length, 0);
    int result = 0;
    if (written < 0 || ftruncate(fd, (off_t)length) < 0 || (is_synced && fsync(fd) < 0))
        result = -errno;
    else if ((size_t)written != length)
        result = -ENOSPC;
    close(fd);
    return result;
}

int record_write(const struct request *request, const struct ending *ending)
{
    uint8_t data[MOST_BYTES];
    struct writer to = {.at = data, .end = data + sizeof data};
    int dir = request->handles.job_dir;
    pack_record(&to, request, ending);
    if (to.is_full)
        return -EMSGSIZE;
    bool is_synced = !daemon_lives(request->handles.daemon);
    int error = write_whole(dir, data, (size_t)(to.at - data), is_synced);
    if (error)
        return error;
    if (renameat(dir, TEMPORARY, dir, NAME) < 0 || (is_synced && fsync(dir) < 0))
        return -errno;
    return 0;
}
