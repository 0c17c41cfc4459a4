/* What signals do in this program, and that none of it reaches a job.
 *
 * Ignored signals stay ignored over an execve(2), and so does the mask; handlers do not stay
 * (signal(7)). Whoever started runnerd may have ignored some (nohup(1)): the launcher sets all of
 * them once, when it starts, instead of each payload. From then on the only ones that are ignored
 * are those named here, by signals_begin, and signals_end gives the defaults back to exactly
 * those. Nowhere else in this directory may a signal be ignored; a test looks for it.
 */
#include "native.h"

#include <signal.h>

/* SIGCHLD: the kernel reaps monitors by itself. SIGINT: the one signal that a job of root could
 * otherwise send to pid 1 of its namespace (pid_namespaces(7)) if it had a handler. SIGPIPE and
 * SIGXFSZ: a write says what is wrong by its errno. */
static const int ignored[] = {SIGCHLD, SIGINT, SIGPIPE, SIGXFSZ};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int unblock_all(void)
{
    sigset_t none;
    sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? -errno : 0;
}

int signals_begin(void)
{
    for (int number = 1; number <= SIGRTMAX; number++)
        /* Refused: SIGKILL, SIGSTOP, and what the C library keeps for its threads. */
        (void)signal(number, SIG_DFL);
    for (size_t at = 0; at < COUNT(ignored); at++)
        if (signal(ignored[at], SIG_IGN) == SIG_ERR)
            return -errno;
    return unblock_all();
}

int signals_end(void)
{
    for (size_t at = 0; at < COUNT(ignored); at++)
        if (signal(ignored[at], SIG_DFL) == SIG_ERR)
            return -errno;
    return unblock_all();
}
