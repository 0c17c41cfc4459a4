/* Finding and executing the command: execvp(3) with the job's own PATH, without its fall-back to
 * a shell. `_exec` of isolation/payload.py. As the job's user, confined, in the job's tree.
 *
 * Theory of operation. Python executes its way through PATH; here what surely is in no directory
 * is passed over by a look at it, which is a tenth of an execve(2) that fails. That look comes
 * before the job's filter is installed: a filter of the user's own need not allow it. From the
 * first directory on in which there is something, or cannot be told, all is as in Python.
 */
#include "payload.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_INTERPRETER "the interpreter or loader that it names does not exist"
/* The words of Python's os.execve, which comes before the kernel's. */
#define NO_NAME "ValueError: execve: argv first element cannot be empty"
#define NOT_IN_PRIVATE "no such file in the job, which has this directory to itself"

static const char *const private_places[] = {"/tmp/", "/dev/shm/", "/run/user/"};

/* ---- entries of PATH ---- */

static bool names_a_path(const struct job *job)
{
    return strchr(job->argv[0], '/') != NULL;
}

static size_t append(char *path, size_t used, const char *text, size_t length)
{
    size_t room = PATH_MAX - used;
    memcpy(path + used, text, length < room ? length : room);
    return used + (length < room ? length : room);
}

/* The command in the directory that begins at `entry`, which may be empty: the working directory.
 * One that is too long stays too long for the kernel, which says so. The entry after it, or NULL
 * behind the last. */
static const char *candidate(char path[PATH_MAX + 1], const char *entry, const char *name)
{
    size_t length = strcspn(entry, ":");
    size_t used = length == 0 ? append(path, 0, ".", 1) : append(path, 0, entry, length);
    if (path[used - 1] != '/')
        used = append(path, used, "/", 1);
    used = append(path, used, name, strlen(name));
    path[used] = '\0';
    return entry[length] == ':' ? entry + length + 1 : NULL;
}

const char *command_search(const struct job *job)
{
    char path[PATH_MAX + 1];
    struct stat status;
    const char *entry = job->path_variable == NULL ? DEFAULT_PATH : job->path_variable;
    if (names_a_path(job))
        return NULL;
    while (entry != NULL) {
        const char *next = candidate(path, entry, job->argv[0]);
        /* Only these two answers mean that execve(2) would say the same and be passed over. */
        if (stat(path, &status) == 0 || (errno != ENOENT && errno != ENOTDIR))
            return entry;
        entry = next;
    }
    return NULL;
}

/* ---- execution ---- */

/* Found all the same: it is the interpreter of a script that is missing. */
static int explain_missing(const char *path, struct failure *failure, bool *is_found)
{
    struct stat status;
    *is_found = stat(path, &status) == 0;
    if (*is_found)
        return failure_at(failure, ENOENT, path, NO_INTERPRETER);
    for (size_t at = 0; at < sizeof private_places / sizeof *private_places; at++)
        if (strncmp(path, private_places[at], strlen(private_places[at])) == 0)
            return failure_at(failure, ENOENT, path, NOT_IN_PRIVATE);
    return failure_at(failure, ENOENT, path, strerror(ENOENT));
}

/* -1 with its failure. `is_final`: no other directory is to be tried. */
static int try_path(const char *path, const struct job *job, struct failure *failure,
                    bool *is_final)
{
    execve(path, job->argv, job->envp);
    int number = errno;
    if (number == ENOENT)
        return explain_missing(path, failure, is_final);
    *is_final = number != ENOTDIR && number != EACCES && number != EPERM;
    return failure_at(failure, number, path, strerror(number));
}

int command_execute(const struct job *job, const char *from, struct failure *failure)
{
    char path[PATH_MAX + 1];
    const char *name = job->argv[0];
    struct failure denied = {0};
    bool is_final = false;
    if (name[0] == '\0')
        return failure_said(failure, 0, NO_NAME);
    if (names_a_path(job))
        return try_path(name, job, failure, &is_final);
    for (const char *entry = from; entry != NULL;) {
        entry = candidate(path, entry, name);
        try_path(path, job, failure, &is_final);
        if (is_final)
            return -1;
        /* Something is there: that it may not be executed says more than that it is nowhere. */
        if (failure->number == EACCES || failure->number == EPERM)
            denied = *failure;
    }
    if (denied.number != 0) {
        *failure = denied;
        return -1;
    }
    return failure_at(failure, ENOENT, name, "not found in PATH");
}
