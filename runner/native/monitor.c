/* The monitor: pid 1 of one job's PID namespace, from its clone to its exit record.
 *
 * The launcher clones it into the job's monitor cgroup. It is root, in the host's mount
 * namespace, not dumpable, and connected to nobody: it holds descriptors and reads what to run
 * from `spec`. It begins the log, runs the job (loop.c), writes `exit` (record.c), and ends.
 * Should it die instead, the kernel kills the whole PID namespace.
 *
 * runner/monitor.py is the original, and each change to one is a change to both.
 */

#include "native.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MOST_HANDLES 16
#define TEXT_BYTES 500

/* ---- letting go of the launcher ---- */

/* Into an ascending list; those that are not there (-1) are left out. */
static size_t insert(int sorted[], size_t count, int fd)
{
    if (fd < 0)
        return count;
    size_t at = count;
    for (; at > 0 && sorted[at - 1] > fd; at--)
        sorted[at] = sorted[at - 1];
    sorted[at] = fd;
    return count + 1;
}

static void close_all_except(const struct handles *handles)
{
    const int kept[] = {
        0, 1, 2,
        handles->job_dir, handles->log_dir, handles->control,
        handles->job_cgroup, handles->monitor_cgroup, handles->payload_cgroup,
        handles->network, handles->seccomp, handles->daemon,
    };
    int sorted[MOST_HANDLES];
    size_t count = 0;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        count = insert(sorted, count, kept[i]);
    unsigned first = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned fd = (unsigned)sorted[i];
        if (fd > first)
            close_range(first, fd - 1, 0);
        first = fd + 1;
    }
    close_range(first, UINT_MAX, 0);
}

/* Keep nothing of the launcher but the handles. */
static int detach(const struct handles *handles)
{
    close_all_except(handles);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return -errno;
    for (int fd = 0; fd <= 2; fd++)
        if (fd != null && dup3(null, fd, O_CLOEXEC) < 0)
            return -errno;
    if (null > 2)
        close(null);
    setsid();
    prctl(PR_SET_NAME, "runnerd-monitor");
    return 0;
}

/* ---- the job ---- */

/* Whatever this is, it must not look like a job that still runs, nor like a success. */
static struct outcome failed(const char *why, int error)
{
    char text[TEXT_BYTES + 1];
    snprintf(text, sizeof text, "its monitor failed: %.480s", *why ? why : strerror(-error));
    return outcome_lost(text);
}

static struct outcome no_log(int error)
{
    if (error == -EINVAL)
        return failed("the spec's log has a size that is too small", error);
    /* One that was begun already has no number in runner/logs/writer.py either. */
    return outcome_no_log(error == -EEXIST ? EIO : -error);
}

/* How the job ended, and what is to be said of it besides. */
static void run(const struct request *request, struct ending *ending)
{
    static struct job job;
    char why[TEXT_BYTES] = "";
    int error = job_read(&job, request, why, sizeof why);
    if (error) {
        ending->outcome = failed(why, error);
        return;
    }
    struct output_plan plan = plan_output(&job.limits, &job.logs);
    struct log *log = log_begin(request->handles.log_dir, plan.segment_bytes, plan.keep_bytes,
                                plan.keep_segments, &error);
    if (log == NULL) {
        ending->outcome = no_log(error);
        return;
    }
    loop_run(request, &job, log, ending);
    if (!ending->has_run)
        return;
    /* What cannot be synced is still in the page cache; the end of the job stays known. */
    log_close(log);
    ending->has_log = true;
    ending->log_bytes = log_total_bytes(log);
    ending->log_dropped_bytes = log_dropped_bytes(log);
}

_Noreturn void monitor_main(const struct request *request)
{
    static struct ending ending;
    /* Anywhere else kill(-1), by which it ends jobs, would reach the host's processes. */
    if (getpid() != 1 || detach(&request->handles) < 0)
        _exit(1);
    ending.started_unix_ns = nanoseconds_of(CLOCK_REALTIME);
    ending.started_ns = nanoseconds_of(CLOCK_MONOTONIC);
    run(request, &ending);
    _exit(record_write(request, &ending) ? 1 : 0);
}
