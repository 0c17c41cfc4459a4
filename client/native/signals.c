/* Signals of the native runctl: noted where it waits, passed on to the Python runctl. */
#include "runctl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

static const int SIGNALS[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static volatile sig_atomic_t signalled[NSIG];

static void note_signal(int number)
{
    signalled[number]++;
}

int signals_noted(void)
{
    int sum = 0;
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++)
        sum += signalled[SIGNALS[i]];
    return sum;
}

int wait_for(const struct run *run, int fd, short events, int milliseconds)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    struct timespec patience = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    int before = signals_noted(), count;
    do
        count = ppoll(&wanted, 1, milliseconds < 0 ? NULL : &patience, &run->waiting);
    while (count < 0 && errno == EINTR && signals_noted() == before);
    return count;
}

/* Those that end the job are taken only where this waits. An ignored one stays ignored (nohup). */
void block_signals(struct run *run)
{
    sigset_t blocked;
    sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++) {
        struct sigaction action;
        if (sigaction(SIGNALS[i], NULL, &action) < 0 || action.sa_handler == SIG_IGN)
            continue;
        sigaddset(&blocked, SIGNALS[i]);
        action = (struct sigaction){.sa_handler = note_signal};
        sigaction(SIGNALS[i], &action, NULL);
    }
    sigprocmask(SIG_BLOCK, &blocked, &run->waiting);
    /* Its status is the job's: a reader that goes away is met in write(2). */
    signal(SIGPIPE, SIG_IGN);
}

/* They are blocked, so they are pending until they are not: over execve(2) too. */
static void raise_noted(void)
{
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++)
        if (signalled[SIGNALS[i]])
            raise(SIGNALS[i]);
}

void restore_signals(const struct run *run)
{
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++) {
        struct sigaction action;
        if (sigaction(SIGNALS[i], NULL, &action) == 0 && action.sa_handler == note_signal)
            signal(SIGNALS[i], SIG_DFL);
    }
    signal(SIGPIPE, SIG_DFL);
    /* What came meanwhile does now what it would have done without this program. */
    raise_noted();
    sigprocmask(SIG_SETMASK, &run->waiting, NULL);
}

void pass_signals_on(void)
{
    raise_noted();
    signal(SIGPIPE, SIG_DFL);
}
