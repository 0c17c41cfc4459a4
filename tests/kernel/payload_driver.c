/* Runs the native payload alone, as a monitor does, with a launch request as stdin. Its arguments
 * are numbers of descriptors: the job's directory, its cgroup, where the command's output goes,
 * the filter program and the network or -1. Prints the report of the set-up in hex, and the wait
 * status. payloads.py starts it. */
#include "native.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DIRECTORY, CGROUP, OUTPUT, SECCOMP, NETWORK, FD_COUNT };

static pid_t clone_into(uint64_t flags, int cgroup)
{
    struct clone_args args = {
        .flags = flags | CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup};
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static void expect(bool is_so, const char *what)
{
    if (is_so)
        return;
    fprintf(stderr, "%s: errno %d\n", what, errno);
    exit(3);
}

/* As pid 1: the payload is its child, gets its word at once, and is reaped. */
static void monitor(const struct request *request, const struct job *job, int output)
{
    int report[2], go[2], status;
    uint8_t data[MAX_REPORT_BYTES];
    expect(pipe2(report, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0, "pipe2");
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct streams streams = {null, output, output, report[1], go[0]};
    pid_t pid = clone_into(0, request->handles.payload_cgroup);
    if (pid == 0)
        payload_execute(request, job, &streams);
    expect(pid > 0, "clone3");
    close(report[1]);
    close(go[0]);
    expect(write(go[1], "x", 1) == 1 || errno == EPIPE, "write");
    for (ssize_t got; (got = read(report[0], data, sizeof data)) > 0;)
        for (ssize_t at = 0; at < got; at++)
            printf("%02x", data[at]);
    expect(waitpid(pid, &status, 0) == pid, "waitpid");
    printf(" %d\n", status);
    exit(fflush(stdout));
}

int main(int count, char **arguments)
{
    static struct request request;
    struct job job;
    uint8_t data[MAX_REQUEST_BYTES];
    char why[256] = "";
    int own[FD_COUNT];
    expect(count == 1 + FD_COUNT, "arguments");
    for (int at = 0; at < FD_COUNT; at++)
        own[at] = atoi(arguments[1 + at]);
    size_t length = fread(data, 1, sizeof data, stdin);
    int directory = own[DIRECTORY], cgroup = own[CGROUP];
    int fds[8] = {directory, directory, directory, cgroup, cgroup, cgroup};
    size_t fd_count = 6;
    for (int at = SECCOMP; at <= NETWORK; at++)
        if (own[at] >= 0)
            fds[fd_count++] = own[at];
    expect(request_parse(&request, data, length, fds, fd_count) == 0, "request_parse");
    expect(job_read(&job, &request, why, sizeof why) == 0, why);
    expect(signals_begin() == 0, "signals_begin");
    signal(SIGCHLD, SIG_DFL);
    pid_t pid = clone_into(CLONE_NEWPID, own[CGROUP]);
    if (pid == 0)
        monitor(&request, &job, own[OUTPUT]);
    int status;
    expect(pid > 0 && waitpid(pid, &status, 0) == pid, "the monitor");
    return status != 0;
}
