/* Drops a child's privileges as a payload does, and after each of its system calls lets a process
 * of the same user try to look into it. Arguments: the uid, the capabilities that are kept as bits
 * of a number. Prints how many of the looks at a process of that user there were, and how many of
 * them saw anything. test_native_drop.py starts it, as root. */
#include "payload.h"

#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect(bool is_so, const char *what)
{
    if (is_so)
        return;
    fprintf(stderr, "%s: errno %d\n", what, errno);
    exit(3);
}

static _Noreturn void drop(const struct job *job, uint64_t kept)
{
    struct failure failure;
    /* As the launcher is. */
    expect(prctl(PR_SET_DUMPABLE, 0) == 0, "prctl");
    expect(ptrace(PTRACE_TRACEME) == 0 && raise(SIGSTOP) == 0, "ptrace");
    int result = credentials_drop(job, kept, &failure);
    /* Still there for a look at how it ends up. */
    getppid();
    _exit(result < 0);
}

static uid_t uid_of(pid_t pid)
{
    char path[64], line[256];
    unsigned uid = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    expect(file != NULL, path);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Uid: %u", &uid) == 1)
            break;
    fclose(file);
    return uid;
}

/* proc(5): reading this link takes PTRACE_MODE_READ. */
static bool is_seen(pid_t pid, uid_t uid)
{
    char path[64], found[256];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    pid_t looker = fork();
    if (looker == 0) {
        if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
            _exit(3);
        _exit(readlink(path, found, sizeof found) > 0);
    }
    int status;
    expect(waitpid(looker, &status, 0) == looker && WIFEXITED(status), "the looker");
    expect(WEXITSTATUS(status) != 3, "its ids");
    return WEXITSTATUS(status) == 1;
}

int main(int count, char **arguments)
{
    expect(count == 3, "arguments");
    uid_t uid = (uid_t)strtoul(arguments[1], NULL, 10);
    struct job job = {.uid = uid, .gid = uid, .umask = 022};
    pid_t pid = fork();
    if (pid == 0)
        drop(&job, strtoull(arguments[2], NULL, 10));
    int status, looks = 0, seen = 0;
    expect(waitpid(pid, &status, 0) == pid, "waitpid");
    while (WIFSTOPPED(status)) {
        if (uid_of(pid) == uid) {
            looks++;
            seen += is_seen(pid, uid);
        }
        expect(ptrace(PTRACE_SYSCALL, pid, 0, 0) == 0, "ptrace");
        expect(waitpid(pid, &status, 0) == pid, "waitpid");
    }
    printf("%d %d\n", looks, seen);
    return status != 0;
}
