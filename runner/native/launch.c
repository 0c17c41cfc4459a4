/* The launcher: clones monitors, and does nothing else.
 *
 * runnerd starts it with one end of a SEQPACKET pair, as it starts the Python launcher
 * (runner/launcher.py), whose protocol, texts and habits these are: each message asks for the
 * monitor of one job and carries its descriptors; the answer carries its pid and a pidfd, or says
 * what failed. Who may run what was decided before: nobody but runnerd holds the other end.
 * End-of-file means that runnerd is gone: the launcher ends, and the monitors go on.
 *
 * Between requests it makes network namespaces ahead of time (network.c). SIGCHLD is ignored: the
 * kernel reaps monitors by itself, and runnerd watches them by pidfd.
 */
#include "native.h"

#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_DESCRIPTORS = 16, USUAL_DESCRIPTORS = 1024, MAX_ANSWER_BYTES = 1024, MAX_TEXT = 512 };
/* A burst of requests comes in shorter steps: none of them waits for a namespace to be made. */
enum { QUIET_MS = 2 };

struct launcher {
    int channel;
    int daemon; /* daemon.c */
    struct network_pool networks;
};

struct message {
    uint8_t data[MAX_REQUEST_BYTES];
    size_t length;
    int fds[MAX_DESCRIPTORS];
    size_t fd_count;
    bool is_cut; /* there was more of it than fits, or not all descriptors came along */
};

struct launched { pid_t pid; int pidfd; };

/* ---- What the process is ---- */

/* Jobs inherit the usual soft limit, not runnerd's: some programs close all below it. */
static int limit_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    rlim_t wanted = limit.rlim_max < USUAL_DESCRIPTORS ? limit.rlim_max : USUAL_DESCRIPTORS;
    limit.rlim_cur = wanted;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

static int settle(void)
{
    /* A monitor inherits it: with a handler SIGINT would be a signal that a job of root can send
     * to pid 1 of its namespace, pid_namespaces(7); as it is, nothing it sends has an effect. What
     * whoever started runnerd ignored must not reach a job. */
    int error = signals_begin();
    if (error)
        return error;
    prctl(PR_SET_NAME, "runnerd-launch");
    /* Whoever runs as a job's user must find no way into what this process and its monitors hold:
     * /proc/PID is root's then, and ptrace(2) takes CAP_SYS_PTRACE. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        return -errno;
    return limit_descriptors();
}

/* ---- A request ---- */

static void take_descriptors(struct message *message, struct msghdr *header)
{
    struct cmsghdr *each = CMSG_FIRSTHDR(header);
    for (; each != NULL; each = CMSG_NXTHDR(header, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        /* The buffer has room for MAX_DESCRIPTORS, and the kernel gives them in one piece. */
        for (size_t fd = 0; fd < count && message->fd_count < MAX_DESCRIPTORS; fd++)
            memcpy(&message->fds[message->fd_count++], CMSG_DATA(each) + fd * sizeof(int),
                   sizeof(int));
    }
}

/* Bytes of the next request; 0: there will be none any more. */
static int receive(int channel, struct message *message)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
    } rights;
    struct iovec data = {message->data, sizeof message->data};
    struct msghdr header = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &rights,
                            .msg_controllen = sizeof rights};
    message->fd_count = 0;
    ssize_t length = recvmsg(channel, &header, MSG_CMSG_CLOEXEC);
    if (length < 0)
        /* End-of-file, when runnerd died with an answer unread. */
        return errno == ECONNRESET ? 0 : -errno;
    message->length = (size_t)length;
    message->is_cut = header.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
    take_descriptors(message, &header);
    return (int)length;
}

static void close_all(const int *fds, size_t count)
{
    for (size_t each = 0; each < count; each++)
        close(fds[each]);
}

/* ---- What is done for it ---- */

static int cannot_make_network(int error, const char *step, char *text)
{
    snprintf(text, MAX_TEXT, "cannot make a network namespace: %s: %s (%s)", step,
             strerror(-error), strerrorname_np(-error));
    return error;
}

/* As fork(2), but the child is pid 1 of a namespace and starts in the monitor's cgroup, so that no
 * moment exists in which it is charged elsewhere. */
static int clone_monitor(int cgroup, struct launched *into, char *text)
{
    int pidfd = -1;
    struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_INTO_CGROUP | CLONE_PIDFD,
        .pidfd = (uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = (uint64_t)cgroup,
    };
    into->pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    int error = into->pid < 0 ? -errno : 0;
    /* The kernel writes a number there even where it fails, which is nobody's then. */
    into->pidfd = error ? -1 : pidfd;
    if (!error)
        return 0;
    snprintf(text, MAX_TEXT, "%s (clone3(flags=%#llx))", strerror(-error),
             (unsigned long long)args.flags);
    return error;
}

/* The namespace is the monitor's from its clone on; ours is closed in any case. */
static int launch(struct launcher *launcher, struct request *request, struct launched *into,
                  char *text)
{
    int network = -1;
    request->handles.daemon = launcher->daemon;
    if (request->own_network) {
        network = network_take(&launcher->networks);
        if (network < 0)
            return cannot_make_network(network, launcher->networks.step, text);
        request->handles.network = network;
    }
    int error = clone_monitor(request->handles.monitor_cgroup, into, text);
    /* Never back into the loop: it closes what is not the request's, and ends by itself. */
    if (!error && into->pid == 0)
        monitor_main(request);
    if (network >= 0)
        close(network);
    return error;
}

/* ---- The answer ---- */

static size_t pack_answer(uint8_t *data, const struct request *request, int error,
                          const struct launched *launched, const char *text)
{
    struct writer to = {data, data + MAX_ANSWER_BYTES, false};
    pack_map(&to, error ? 5 : 4);
    pack_word(&to, "version");
    pack_uint(&to, RECORD_VERSION);
    pack_word(&to, "seq");
    pack_uint(&to, request->seq);
    pack_word(&to, "kind");
    pack_word(&to, "monitor");
    if (error) {
        pack_word(&to, "text");
        pack_word(&to, text);
        pack_word(&to, "errno");
        pack_uint(&to, (uint64_t)-error);
    } else {
        pack_word(&to, "pid");
        pack_uint(&to, (uint64_t)launched->pid);
    }
    return (size_t)(to.at - data);
}

/* 0, also where runnerd went away meanwhile: the next receive says so, and the monitor, which the
 * next runnerd finds by its cgroup, goes on. */
static int send_answer(int channel, uint8_t *data, size_t length, int pidfd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } rights = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
                           .cmsg_len = CMSG_LEN(sizeof(int))}};
    memcpy(CMSG_DATA(&rights.header), &pidfd, sizeof pidfd);
    struct iovec part = {data, length};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (pidfd >= 0) {
        header.msg_control = &rights;
        header.msg_controllen = sizeof rights;
    }
    for (;;) {
        if (sendmsg(channel, &header, MSG_NOSIGNAL) >= 0 || errno == EPIPE || errno == ECONNRESET)
            return 0;
        struct pollfd room = {.fd = channel, .events = POLLOUT};
        if (errno != EINTR && (errno != EAGAIN || poll(&room, 1, -1) < 0))
            return -errno;
    }
}

static int serve(struct launcher *launcher, const struct message *message)
{
    struct request request;
    struct launched launched = {.pidfd = -1};
    char text[MAX_TEXT] = "it is no request that this launcher knows: runnerd and the native "
                          "launcher are not of one version; install runnerd again";
    int error = request_parse(&request, message->data, message->length, message->fds,
                              message->fd_count);
    if (message->is_cut)
        error = -EBADMSG;
    /* Nobody could tell whose the answer is. runnerd hears of the end, and starts another. */
    if (error && request.seq == 0)
        return error;
    if (!error)
        error = launch(launcher, &request, &launched, text);
    uint8_t answer[MAX_ANSWER_BYTES];
    size_t length = pack_answer(answer, &request, error, &launched, text);
    error = send_answer(launcher->channel, answer, length, launched.pidfd);
    if (launched.pidfd >= 0)
        close(launched.pidfd);
    return error;
}

/* ---- The loop ---- */

/* Until a request waits, or runnerd is gone. The pool is filled while it is quiet. */
static int wait_for_request(struct launcher *launcher)
{
    bool is_filling = true;
    for (;;) {
        struct pollfd channel = {.fd = launcher->channel, .events = POLLIN};
        int patience = launcher->networks.count == 0 ? 0 : QUIET_MS;
        int ready = poll(&channel, 1, is_filling ? patience : -1);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready == 0)
            is_filling = network_fill(&launcher->networks);
    }
}

static int run(struct launcher *launcher)
{
    struct message message;
    for (;;) {
        int error = wait_for_request(launcher);
        if (error)
            return error;
        int length = receive(launcher->channel, &message);
        if (length == -EINTR || length == -EAGAIN)
            continue;
        if (length <= 0)
            return length;
        error = serve(launcher, &message);
        close_all(message.fds, message.fd_count);
        if (error)
            return error;
    }
}

static int print_version(void)
{
    static const char version[] = NATIVE_VERSION "\n";
    return write(1, version, sizeof version - 1) < 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return print_version();
    char *end = NULL;
    long fd = argc == 2 ? strtol(argv[1], &end, 10) : -1;
    if (fd < 0 || fd > INT32_MAX || end == argv[1] || *end)
        return 2;
    struct launcher launcher = {.channel = (int)fd};
    if (settle() < 0)
        return 1;
    launcher.daemon = daemon_watch(launcher.channel);
    /* Without it (no /proc) jobs with the host's network can run; others hear why not. */
    network_pool_init(&launcher.networks);
    return run(&launcher) < 0;
}
