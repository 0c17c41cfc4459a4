/* runctl: `runctl run [--socket PATH] [--name NAME] [--mem SIZE] [--] COMMAND...` in a
 * millisecond; everything else is left to the Python runctl (client/cli), which is complete.
 *
 * Theory of operation. Starting an interpreter takes longer than most short jobs run. So this
 * does what nearly every `run` is: submit, copy the output, exit with the job's status. It says
 * nothing and decides nothing: as soon as anything is other than usual it becomes the Python
 * runctl by execve(2), which says what is to be said.
 * - Before the submission was sent: the Python runctl with the same arguments, as if this had
 *   never been.
 * - After the daemon accepted the job: `take-over JOB ATTEMPT CURSOR`, which goes on from the
 *   byte after the last one that was written here. Signals are blocked but where this waits, and
 *   stay blocked and pending over the exec, so that none is lost or counted twice.
 * - Where a gateway may be meant (RUNCTL_CONTEXT, --context, a default context): the same. That
 *   costs one look whether there is a file.
 * - In between nobody can know whether there is a job: that ends here, with the words of
 *   client/api.py.
 *
 * Messages: docs/PROTOCOL.md. The requests are those that client/submission.py and
 * client/logstream.py make; tests/unit/client/test_native_runctl.py compares them.
 */
#include "runctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PYTHON_RUNCTL "runctl-python"
#define DEFAULT_SOCKET "/run/runnerd/runnerd.sock"

/* client/connection.py, client/cli/guard.py */
enum { ANSWER_MS = 60000, OUR_FAILURE = 125 };

static uint8_t request_buffer[MAX_TOTAL + 256 * 1024];

/* Beside this program, whatever it was called as. */
static _Noreturn void become_python(char *const arguments[])
{
    char path[PATH_MAX + sizeof PYTHON_RUNCTL];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    char *slash = length > 0 ? memrchr(path, '/', (size_t)length) : NULL;
    if (slash != NULL) {
        strcpy(slash + 1, PYTHON_RUNCTL);
        execv(path, arguments);
    }
    dprintf(2, "runctl: cannot execute " PYTHON_RUNCTL " beside it: %s; install runnerd again\n",
            strerror(errno));
    _exit(OUR_FAILURE);
}

/* Whoever reads the job's output from here on says what has to be said. */
static _Noreturn void hand_over(const struct run *run, const char *socket)
{
    char attempt[24], cursor[24];
    snprintf(attempt, sizeof attempt, "%llu", (unsigned long long)run->attempt);
    snprintf(cursor, sizeof cursor, "%llu", (unsigned long long)run->cursor);
    char *job = (char *)run->job;
    char *arguments[] = {"runctl", "--socket", (char *)socket, "take-over",
                         job, attempt, cursor, NULL};
    pass_signals_on();
    become_python(arguments);
}

/* Whether `runctl context use` was said once. As client/contexts.py has it. */
static bool has_default_context(void)
{
    char path[PATH_MAX];
    const char *base = getenv("XDG_CONFIG_HOME"), *below = "";
    if (base == NULL || *base != '/') {
        base = getenv("HOME");
        below = "/.config";
    }
    if (base == NULL || *base != '/')
        return false;
    int length = snprintf(path, sizeof path, "%s%s/runnerd/default-context", base, below);
    /* A path that is too long is the Python runctl's to look at. */
    return length >= (int)sizeof path || faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Whom to speak to; false: perhaps to a gateway. */
static bool find_socket(struct asked *asked)
{
    const char *context = getenv("RUNCTL_CONTEXT"), *named = getenv("RUNNERD_SOCKET");
    if (context != NULL && *context != '\0')
        return false;
    if (asked->socket == NULL && named != NULL && *named != '\0')
        asked->socket = named;
    if (asked->socket != NULL)
        return *asked->socket != '\0';
    asked->socket = DEFAULT_SOCKET;
    return !has_default_context();
}

static bool has_descriptors(void)
{
    /* A closed one would become the socket. */
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            return false;
    return true;
}

static _Noreturn void leave_it(const struct run *run, char **argv)
{
    restore_signals(run);
    become_python(argv);
}

/* Sent, and no answer: nobody can know. As client/api.py and client/cli/foreground.py say it. */
static _Noreturn void give_up(const char *text)
{
    dprintf(2, "runctl: %s\n", text);
    _exit(OUR_FAILURE);
}

static const char BROKE[] = "the connection broke before runnerd answered; the job may have been "
                            "accepted: `runctl ps --all` shows it";
static const char SILENT[] = "runnerd did not answer within 60 s; the job may have been accepted: "
                             "`runctl ps --all` shows it";
static const char LEFT[] = "the job may have been accepted: see `runctl ps`";

/* A first signal is kept for the job that there will be; who insists is let go. */
static void await_answer(const struct run *run)
{
    for (;;) {
        int ready = wait_for(run, run->fd, POLLIN, ANSWER_MS);
        if (ready > 0)
            return;
        if (ready == 0)
            give_up(SILENT);
        if (signals_noted() > 1)
            give_up(LEFT);
    }
}

/* The answer to a request of the start. A refusal means that there is no job. */
static struct reader answer_or_leave(struct run *run, unsigned id, char **argv)
{
    struct reader body, ok;
    uint64_t answered;
    await_answer(run);
    if (!receive_frame(run->fd, &body) || !find_number(body, "id", &answered))
        give_up(BROKE);
    if (find(body, "error", &ok)) {
        close(run->fd);
        leave_it(run, argv);
    }
    if (answered != id || !find(body, "ok", &ok))
        give_up(BROKE);
    return ok;
}

static void submit(struct run *run, const struct asked *asked, char **argv)
{
    struct value job;
    struct writer to = {request_buffer, request_buffer + sizeof request_buffer, false};
    pack_hello(&to);
    if (!pack_submission(&to, asked) || (run->fd = connect_to(asked->socket)) < 0)
        leave_it(run, argv);
    /* What was not sent to its end is no request: there is no job, and there may be a reason. */
    if (!send_packed(run->fd, &to, request_buffer))
        leave_it(run, argv);
    answer_or_leave(run, HELLO_ID, argv);
    struct reader ok = answer_or_leave(run, SUBMIT_ID, argv);
    if (!find_value(ok, "job", &job) || job.kind != PACK_STR || job.length >= sizeof run->job)
        give_up(BROKE);
    memcpy(run->job, job.data, job.length);
}

static bool begin_following(struct run *run)
{
    struct writer to = {request_buffer, request_buffer + sizeof request_buffer, false};
    pack_logs(&to, run->job);
    return send_packed(run->fd, &to, request_buffer);
}

int main(int argc, char **argv)
{
    struct asked asked = {.socket = NULL};
    struct run run = {.attempt = 1};
    (void)argc;
    if (!has_descriptors() || !parse(argv, &asked) || !find_socket(&asked))
        become_python(argv);
    block_signals(&run);
    submit(&run, &asked, argv);
    int status = begin_following(&run) ? follow(&run) : -1;
    if (status < 0)
        hand_over(&run, asked.socket);
    return status;
}
