/* record.c and daemon.c, with syncs counted instead of made. Arguments: a job's directory and a
 * directory in the place of its cgroups. Question: a process in the place of runnerd; 0: none is
 * known. Answer: an error; how often was synced before the record had its name, and how often
 * after. */
#include "native.h" /* first: it says which functions the headers show */

#include "frames.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int syncs[2];
static bool is_named;

static int counted_fsync(int fd)
{
    syncs[is_named]++;
    return fcntl(fd, F_GETFD) < 0 ? -1 : 0;
}

static int seen_renameat(int from, const char *old, int to, const char *new)
{
    is_named = true;
    return renameat(from, old, to, new);
}

#define fsync counted_fsync
#define renameat seen_renameat

#include "record.c"

static int held(int pid)
{
    return pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 4;
    int job_dir = open(arguments[1], O_RDONLY | O_DIRECTORY);
    int cgroup = open(arguments[2], O_RDONLY | O_DIRECTORY);
    for (;;) {
        struct frame frame = frame_read();
        struct answer answer;
        char *pid = strndup((const char *)frame.data, frame.length);
        struct request request = {
            .job = "job",
            .handles = {.job_dir = job_dir, .job_cgroup = cgroup, .payload_cgroup = cgroup},
        };
        struct ending ending = {.outcome = outcome_lost("it is a test")};
        answer_begin(&answer);
        request.handles.daemon = held(atoi(pid));
        syncs[0] = syncs[1] = is_named = 0;
        int error = record_write(&request, &ending);
        fprintf(answer.file, "%d %d %d", error, syncs[0], syncs[1]);
        close(request.handles.daemon);
        answer_send(&answer);
        free(frame.data);
        free(pid);
    }
}
