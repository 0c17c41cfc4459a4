/* Network namespaces with nothing but a loopback interface that is up, made ahead and handed out.
 *
 * The launcher makes them itself, between requests: it enters a new one, brings lo up, keeps a
 * descriptor and goes back. It has one thread and clones nothing meanwhile. Were it to stay in
 * such a namespace, the next monitor, and a job with the host's network, would be in a stranger's:
 * so a way back that fails ends the launcher. The same for Python: isolation/network/loopback.py.
 */
#include "native.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_current(void)
{
    int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* By ioctl, netdevice(7). A socket belongs to the namespace that it is made in. */
static int loopback_up(void)
{
    int any = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any < 0)
        return -errno;
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int error = ioctl(any, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
    close(any);
    return error;
}

/* In the new namespace: a descriptor of it, with its loopback up. */
static int finish(struct network_pool *pool)
{
    pool->step = "bring lo up";
    int error = loopback_up();
    if (error)
        return error;
    pool->step = "open /proc/self/ns/net";
    return open_current();
}

/* There and back. CAP_SYS_ADMIN is used on the launcher itself alone. */
static int make(struct network_pool *pool)
{
    pool->step = "open /proc/self/ns/net";
    if (pool->host < 0)
        pool->host = open_current();
    if (pool->host < 0)
        return pool->host;
    pool->step = "unshare(CLONE_NEWNET)";
    if (unshare(CLONE_NEWNET) < 0)
        return -errno;
    int fd = finish(pool);
    if (setns(pool->host, CLONE_NEWNET) < 0)
        _exit(1);
    return fd;
}

int network_pool_init(struct network_pool *pool)
{
    *pool = (struct network_pool){.host = open_current(), .step = ""};
    return pool->host < 0 ? pool->host : 0;
}

int network_take(struct network_pool *pool)
{
    if (pool->count > 0)
        return pool->fds[--pool->count];
    int fd = make(pool);
    pool->has_failed = fd < 0;
    return fd;
}

bool network_fill(struct network_pool *pool)
{
    if (pool->has_failed || pool->count == NETWORKS_READY)
        return false;
    int fd = make(pool);
    pool->has_failed = fd < 0;
    if (fd >= 0)
        pool->fds[pool->count++] = fd;
    return fd >= 0;
}
