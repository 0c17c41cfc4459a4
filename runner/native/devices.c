/* The job's own /dev: the usual nodes, its own terminals, shared memory and queues.
 * isolation/files/dev_nodes.py.
 *
 * As root, in the job's mount namespace, on names fixed here: nothing of a user's is looked at.
 * Which devices a job may open at all is held by their permissions and by the filter on its
 * cgroup (isolation.device_filter); here is only what it finds by name.
 */
#include "payload.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* What may be opened by everybody anywhere: Documentation/admin-guide/devices.txt. */
static const struct { const char *path; unsigned major, minor; } nodes[] = {
    {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
    {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};

static const struct { const char *path, *target; } links[] = {
    {"/dev/ptmx", "pts/ptmx"},
    {"/dev/fd", "/proc/self/fd"},
    {"/dev/stdin", "/proc/self/fd/0"},
    {"/dev/stdout", "/proc/self/fd/1"},
    {"/dev/stderr", "/proc/self/fd/2"},
    {"/dev/core", "/proc/kcore"},
};

static const char *const directories[] = {"/dev/pts", "/dev/shm", "/dev/mqueue"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int make_names(struct failure *failure)
{
    for (size_t at = 0; at < COUNT(nodes); at++)
        if (mknod(nodes[at].path, S_IFCHR | 0666, makedev(nodes[at].major, nodes[at].minor)) < 0)
            return failure_of_call(failure, nodes[at].path);
    for (size_t at = 0; at < COUNT(links); at++)
        if (symlink(links[at].target, links[at].path) < 0)
            return failure_of_call(failure, links[at].target);
    for (size_t at = 0; at < COUNT(directories); at++)
        if (mkdir(directories[at], 0755) < 0)
            return failure_of_call(failure, directories[at]);
    return 0;
}

int devices_mount(const char *terminals, uint64_t shm_bytes, struct failure *failure)
{
    /* Nodes, links and directories need no more; it is root's, so that only a job of root could
     * fill it. Not NOEXEC: programs map /dev/zero for code. */
    if (tree_mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k", failure) < 0)
        return -1;
    /* Each of the names is new in this file system: none leads anywhere else. */
    if (make_names(failure) < 0)
        return -1;
    /* newinstance: terminals of other jobs and of the host are not there. */
    if (tree_mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, terminals, failure) < 0)
        return -1;
    if (tree_mount_memory("/dev/shm", "1777", shm_bytes, failure) < 0)
        return -1;
    /* A mount shows the queues of its maker's IPC namespace. */
    return tree_mount("mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL,
                      failure);
}
