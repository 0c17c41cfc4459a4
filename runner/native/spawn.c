/* The payload's fork: the pipes that it gets, and the cgroup that it begins in. What the child
 * does then is payload.c's.
 */

#include "native.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

struct pipes { int out[2], err[2], report[2], null; };

/* A pipe whose write end the job's user may open again as /dev/stdout. */
static int make_output(const struct job *job, int ends[2])
{
    if (pipe2(ends, O_CLOEXEC) < 0 || fchown(ends[1], job->uid, job->gid) < 0)
        return -errno;
    return 0;
}

static int make_pipes(const struct job *job, struct pipes *pipes)
{
    int error = make_output(job, pipes->out);
    if (!error)
        error = make_output(job, pipes->err);
    if (error)
        return error;
    if (pipe2(pipes->report, O_CLOEXEC) < 0)
        return -errno;
    pipes->null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return pipes->null < 0 ? -errno : 0;
}

/* As fork(2), but the child begins in the cgroup: no moment exists in which it is charged
 * elsewhere. clone3(2). */
static pid_t fork_into(int cgroup)
{
    struct clone_args args = {
        .flags = CLONE_INTO_CGROUP,
        .exit_signal = SIGCHLD,
        .cgroup = (uint64_t)cgroup,
    };
    long pid = syscall(SYS_clone3, &args, sizeof args);
    return pid < 0 ? -errno : (pid_t)pid;
}

/* Of what the payload enters ours is the last reference but the job's own: it goes with the job. */
static void close_childs(const struct handles *handles, const struct pipes *pipes)
{
    const int fds[] = {
        pipes->out[1], pipes->err[1], pipes->report[1], pipes->null,
        handles->network, handles->seccomp,
    };
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

int spawn_payload(const struct request *request, const struct job *job, struct spawned *into)
{
    struct pipes pipes;
    int error = make_pipes(job, &pipes);
    if (error)
        return error;
    into->go[0] = into->go[1] = -1;
    if (request->sync_begin && pipe2(into->go, O_CLOEXEC) < 0)
        return -errno;
    into->pid = fork_into(request->handles.payload_cgroup);
    if (into->pid == 0) {
        struct streams streams = {
            .stdin_fd = pipes.null,
            .stdout_fd = pipes.out[1],
            .stderr_fd = pipes.err[1],
            .status = pipes.report[1],
            .go = into->go[0],
        };
        payload_execute(request, job, &streams);
    }
    if (into->pid < 0)
        return into->pid;
    close_childs(&request->handles, &pipes);
    into->stdout_fd = pipes.out[0];
    into->stderr_fd = pipes.err[0];
    into->report = pipes.report[0];
    return 0;
}
