/* The payload: from the monitor's fork to the exec of the command. isolation/payload.py for a
 * job whose file tree is the host's, without a user namespace and without Landlock.
 *
 * Theory of operation. The monitor forks; the child runs payload_execute and never returns. Its
 * set-up is a table of named steps, run in order. A step that fails is reported through `status`
 * as step, errno and text, and the child ends: nothing is executed with half a set-up. Before the
 * last steps one byte, EXECUTING, is written, and the descriptor is close-on-exec: so the byte and
 * then end-of-file mean that the command runs; end-of-file alone means that the child was killed
 * during its set-up.
 *
 * Privileged steps, each with its reason to be safe, run in namespaces of the job alone. What a
 * user named is opened with the user's own identity, and from then on known by its descriptor.
 * The command and its arguments are first looked at after the drop.
 */
#include "payload.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXECUTING "\x01"
#define EXEC_STEP "execute the command"
#define STATUS_OURS 125 /* of env(1) and others: it was not the command */

struct setup {
    const struct request *request;
    const struct job *job;
    const struct streams *streams;
    struct tree tree;
    const char *found; /* where in PATH the command is; see command_search */
};

struct step { const char *name; int (*run)(struct setup *setup, struct failure *failure); };

/* ---- descriptors ---- */

/* Each of the streams is above 2: the monitor keeps 0 to 2 occupied. */
static int arrange_descriptors(struct setup *setup, struct failure *failure)
{
    const struct streams *streams = setup->streams;
    const int from[] = {streams->stdin_fd, streams->stdout_fd, streams->stderr_fd};
    for (int target = 0; target < 3; target++)
        if (dup2(from[target], target) < 0)
            return failure_of(failure, errno);
    return 0;
}

static void sort(int *numbers, size_t count)
{
    for (size_t at = 1; at < count; at++)
        for (size_t to = at; to > 0 && numbers[to - 1] > numbers[to]; to--) {
            int larger = numbers[to - 1];
            numbers[to - 1] = numbers[to];
            numbers[to] = larger;
        }
}

/* Whoever came to look into this process as its user must find no way into the job's state. The
 * write end of `go` is among what is closed: without it this would never see the end of that. */
static int close_others(struct setup *setup, struct failure *failure)
{
    const struct handles *handles = &setup->request->handles;
    int kept[] = {setup->streams->status, setup->streams->go, handles->network, handles->seccomp};
    unsigned first = 3;
    sort(kept, sizeof kept / sizeof *kept);
    for (size_t at = 0; at < sizeof kept / sizeof *kept; at++) {
        if (kept[at] < 3)
            continue;
        unsigned fd = (unsigned)kept[at];
        if (fd > first && call_close_range(first, fd - 1, 0) < 0)
            return failure_of(failure, errno);
        first = fd + 1;
    }
    return call_close_range(first, UINT32_MAX, 0) < 0 ? failure_of(failure, errno) : 0;
}

static int mark_descriptors(struct setup *setup, struct failure *failure)
{
    (void)setup;
    return call_close_range(3, UINT32_MAX, CLOSE_ON_EXEC) < 0 ? failure_of(failure, errno) : 0;
}

/* ---- this process alone ---- */

static int leave_session(struct setup *setup, struct failure *failure)
{
    (void)setup;
    return setsid() < 0 ? failure_of(failure, errno) : 0;
}

/* The kernel's out-of-memory killer treats the job like any process again. */
static int become_killable(struct setup *setup, struct failure *failure)
{
    static const char path[] = "/proc/self/oom_score_adj";
    (void)setup;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return failure_of_call(failure, path);
    if (write(fd, "0", 1) < 0)
        return failure_of(failure, errno);
    close(fd);
    return 0;
}

static int leave_keyring(struct setup *setup, struct failure *failure)
{
    (void)setup;
    return credentials_leave_keyring(failure);
}

/* ---- namespaces: made for this job and entered by nobody else ---- */

static int enter_network(struct setup *setup, struct failure *failure)
{
    int network = setup->request->handles.network;
    if (network >= 0)
        return setns(network, CLONE_NEWNET) < 0 ? failure_of(failure, errno) : 0;
    /* A job that is to have its own would be in the host's. */
    if (setup->job->own_sys)
        return failure_said(failure, EINVAL, "there is no network namespace for it");
    return 0;
}

/* The cgroup namespace is rooted where its maker is: hence here and not in the clone, whose
 * cgroup namespace would be rooted at the monitor's cgroup. */
static int enter_namespaces(struct setup *setup, struct failure *failure)
{
    (void)setup;
    int flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    return unshare(flags) < 0 ? failure_of(failure, errno) : 0;
}

/* Nothing mounted from here on appears on the host, nor the other way round. */
static int detach_mounts(struct setup *setup, struct failure *failure)
{
    (void)setup;
    return tree_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL, failure);
}

/* In a UTS namespace of the job alone. */
static int name_host(struct setup *setup, struct failure *failure)
{
    const char *name = setup->job->hostname;
    return sethostname(name, strlen(name)) < 0 ? failure_of(failure, errno) : 0;
}

/* ---- files ---- */

/* With the file permissions of the user: what is named is opened as the user alone may. */
static int open_named(struct setup *setup, struct failure *failure)
{
    if (credentials_as_user(setup->job, failure) < 0)
        return -1;
    if (tree_open(&setup->tree, setup->job, failure) < 0)
        return -1;
    return credentials_as_root(failure);
}

static int build_tree(struct setup *setup, struct failure *failure)
{
    return tree_build(&setup->tree, setup->request, setup->job, failure);
}

static int enter_directory(struct setup *setup, struct failure *failure)
{
    return tree_enter(&setup->tree, failure);
}

/* ---- limits and privileges ---- */

/* While CAP_SYS_RESOURCE is there; they bind this process and what it starts. */
static int set_limits(struct setup *setup, struct failure *failure)
{
    for (size_t at = 0; at < setup->request->rlimit_count; at++)
        if (rlimit_set(&setup->request->rlimits[at], failure) < 0)
            return -1;
    return 0;
}

/* From here on all is done as the job's user; see credentials_drop for the order. */
static int drop_privileges(struct setup *setup, struct failure *failure)
{
    return credentials_drop(setup->job, setup->request->capabilities, failure);
}

static int reset_signals(struct setup *setup, struct failure *failure)
{
    (void)setup;
    int result = signals_end();
    return result < 0 ? failure_of(failure, -result) : 0;
}

/* ---- the last moments ---- */

/* It asks for nothing but what the job's user may; and a filter might refuse it. */
static int find_command(struct setup *setup, struct failure *failure)
{
    (void)failure;
    setup->found = command_search(setup->job);
    return 0;
}

/* The log's begin is on disk before anything of the job runs: the monitor says when, if at all. */
static int await_word(struct setup *setup, struct failure *failure)
{
    char word;
    ssize_t got;
    (void)failure;
    if (setup->streams->go < 0)
        return 0;
    do
        got = read(setup->streams->go, &word, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1)
        /* The monitor gave up or is gone, and says itself why. */
        _exit(STATUS_OURS);
    return 0;
}

/* Before the filter: one of the user's own may refuse the write that says so. */
static int announce(struct setup *setup, struct failure *failure)
{
    return write(setup->streams->status, EXECUTING, 1) < 0 ? failure_of(failure, errno) : 0;
}

/* Last of all: nothing that is needed for the set-up has to be allowed to the job. It can only
 * take rights away, for good; no_new_privs is set. */
static int filter_calls(struct setup *setup, struct failure *failure)
{
    /* Room for one more than the kernel takes: a part of a program is another program. */
    struct sock_filter program[BPF_MAXINSNS + 1];
    int fd = setup->request->handles.seccomp;
    if (fd < 0)
        return 0;
    ssize_t length = pread(fd, program, sizeof program, 0);
    if (length < 0)
        return failure_of(failure, errno);
    if ((size_t)length % sizeof *program != 0)
        return failure_of(failure, EINVAL);
    struct sock_fprog whole = {(unsigned short)((size_t)length / sizeof *program), program};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &whole) < 0)
        return failure_of(failure, errno);
    return 0;
}

/* ---- the table of contents of a job's set-up; the order is the argument for its safety ---- */

static const struct step steps[] = {
    {"arrange the descriptors", arrange_descriptors},
    {"close what is the monitor's", close_others},
    {"leave the session", leave_session},
    {"allow the out-of-memory killer", become_killable},
    {"enter the network", enter_network},
    {"enter the namespaces", enter_namespaces},
    {"detach the mounts", detach_mounts},
    {"open what the job names", open_named},
    {"build the file tree", build_tree},
    {"name the host", name_host},
    {"set the resource limits", set_limits},
    {"leave the keyring", leave_keyring},
    {"drop privileges", drop_privileges},
    {"enter the working directory", enter_directory},
    {"reset the signals", reset_signals},
    {"mark the descriptors", mark_descriptors},
    {"find the command", find_command},
    {"await the log", await_word},
    {"announce the command", announce},
    {"filter the system calls", filter_calls},
};

static _Noreturn void give_up(const struct setup *setup, const char *step,
                              const struct failure *failure)
{
    char report[MAX_REPORT_BYTES];
    size_t length = failure_report(report, step, failure);
    /* Whoever would read of its failure is gone with the pipe. */
    if (write(setup->streams->status, report, length) < 0)
        _exit(STATUS_OURS);
    _exit(STATUS_OURS);
}

_Noreturn void payload_execute(const struct request *request, const struct job *job,
                               const struct streams *streams)
{
    struct setup setup = {.request = request, .job = job, .streams = streams};
    struct failure failure = {0};
    for (size_t at = 0; at < sizeof steps / sizeof *steps; at++)
        if (steps[at].run(&setup, &failure) < 0)
            give_up(&setup, steps[at].name, &failure);
    command_execute(job, setup.found, &failure);
    give_up(&setup, EXEC_STEP, &failure);
}
