/* Whether the runnerd that started this launcher lives. runner/daemon_watch.py is the original.
 *
 * While it does, an exit record need not be on the disk: runnerd commits the end, on disk, before
 * anybody hears of it, and a kill of runnerd leaves the record where the next one reads it. Its
 * monitors inherit the pidfd; a job never does (payload.c closes all that is not its own).
 */
#include "native.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A number alone could be another process's by now. It is runnerd's as long as it is the parent's
 * and that of who made the channel: a parent that is gone is another number, or its child's. Both
 * are looked at again behind pidfd_open(2), in front of which the number may have been given on. */
static bool is_parent(pid_t pid, int channel)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    return getppid() == pid &&
           getsockopt(channel, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid == pid;
}

int daemon_watch(int channel)
{
    pid_t parent = getppid();
    if (!is_parent(parent, channel))
        return -1;
    int fd = (int)syscall(SYS_pidfd_open, parent, 0);
    if (fd < 0 || is_parent(parent, channel))
        return fd;
    close(fd);
    return -1;
}

/* pidfd_open(2): readable once the process has ended. */
bool daemon_lives(int pidfd)
{
    struct pollfd daemon = {.fd = pidfd, .events = POLLIN};
    return pidfd >= 0 && poll(&daemon, 1, 0) == 0;
}
