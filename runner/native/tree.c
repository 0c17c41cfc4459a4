/* The file tree of a job whose file system is the host's. isolation/files/tree.py, mounts.py.
 *
 * Theory of operation. tree_open runs with the user's file identity: the working directory is
 * all that such a job names on the host, it is opened then, and from there on known by its
 * descriptor. tree_build runs as root in the job's mount namespace, which nobody else uses, and
 * mounts what each job has to itself on names fixed here: /dev, /tmp, /dev/shm, /run/user, /proc,
 * /sys. tree_enter runs as the job. Nothing here may be called in the host's mount namespace.
 */
#include "payload.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAFE (MS_NOSUID | MS_NODEV)
#define INERT (SAFE | MS_NOEXEC)
#define PAGE 4096

/* World-writable places and the per-user sockets: what a job leaves in them, or finds there, must
 * not cross its border. /run/user holds the user's D-Bus, over which a job could ask the user's
 * own systemd to start a process outside of every limit. */
static const char *const private_directories[] = {"/tmp", "/dev/shm", "/run/user"};

/* Writing them takes uid 0 and no capability: core_pattern alone would let a job of root run a
 * program outside of every limit, and sysrq-trigger would end the host. */
static const char *const kernel_settings[] = {
    "/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs",
};

/* What the kernel tells of the machine and of other processes' work: those that container engines
 * hide, and the keys of whoever started runnerd. */
static const char *const telltale_files[] = {
    "/proc/kcore",       "/proc/keys",          "/proc/key-users", "/proc/timer_list",
    "/proc/sched_debug", "/proc/latency_stats", "/proc/kmsg",
};
static const char *const telltale_directories[] = {
    "/proc/acpi", "/proc/scsi", "/proc/asound", "/sys/firmware", "/sys/devices/virtual/powercap",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- mounts ---- */

int tree_mount(const char *source, const char *target, const char *type, unsigned long flags,
               const char *data, struct failure *failure)
{
    if (mount(source, target, type, flags, data) < 0)
        return failure_of_call(failure, target);
    return 0;
}

int tree_mount_memory(const char *target, const char *mode, uint64_t bytes,
                      struct failure *failure)
{
    char options[64];
    if (bytes == NO_LIMIT)
        snprintf(options, sizeof options, "mode=%s", mode);
    else /* 0 bytes would mean no bound. tmpfs(5) */
        snprintf(options, sizeof options, "mode=%s,size=%llu", mode,
                 (unsigned long long)(bytes < PAGE ? PAGE : bytes));
    return tree_mount("tmpfs", target, "tmpfs", SAFE, options, failure);
}

/* The mount there becomes read-only and inert, whatever the file system behind it is. As a
 * property of this mount: asked for when mounting it would be one of the superblock, which
 * cgroup2 and the host's sysfs share with the host. */
static int make_read_only(const char *target, struct failure *failure)
{
    return tree_mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | INERT | MS_RDONLY, NULL, failure);
}

/* 1, 0, or -1. Not so for a link: a mount would land wherever it points. */
static int is_directory(const char *path, struct failure *failure)
{
    struct stat status;
    if (lstat(path, &status) == 0)
        return S_ISDIR(status.st_mode);
    return errno == ENOENT ? 0 : failure_of_call(failure, path);
}

/* ---- as the user ---- */

static bool begins_with(const char *path, const char *prefix)
{
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

static int open_directory(struct tree *tree, const struct job *job, struct failure *failure)
{
    char link[32];
    /* No link of /proc is followed: they lead where the permissions of a path don't count. */
    tree->cwd_fd = call_openat2(AT_FDCWD, job->cwd, O_PATH | O_DIRECTORY, RESOLVE_PLAIN);
    if (tree->cwd_fd < 0)
        return failure_of_call(failure, job->cwd);
    snprintf(link, sizeof link, "/proc/self/fd/%d", tree->cwd_fd);
    ssize_t length = readlink(link, tree->cwd, sizeof tree->cwd - 1);
    if (length < 0)
        return failure_of_call(failure, link);
    tree->cwd[length] = '\0';
    /* Not below /run/user: what lies there is what a job must not reach. */
    tree->is_put_back = begins_with(tree->cwd, "/tmp/") || begins_with(tree->cwd, "/dev/shm/");
    return 0;
}

/* The caller has the user's file identity; for an ordinary user all capabilities are laid aside
 * as well, since one such as CAP_SYS_PTRACE counts in /proc whatever the file identity is. */
int tree_open(struct tree *tree, const struct job *job, struct failure *failure)
{
    uint64_t effective = 0;
    if (job->uid == 0)
        return open_directory(tree, job, failure);
    if (credentials_lay_aside(&effective, failure) < 0)
        return -1;
    if (open_directory(tree, job, failure) < 0)
        return -1;
    return credentials_take_up(effective, failure);
}

/* ---- as root, in the job's mount namespace ---- */

/* /run/user/UID, which nobody but the job's user may enter. */
static int make_runtime_directory(const struct job *job, struct failure *failure)
{
    char own[32];
    snprintf(own, sizeof own, "/run/user/%u", job->uid);
    if (mkdir(own, 0700) < 0 || chown(own, job->uid, job->gid) < 0)
        return failure_of_call(failure, own);
    return 0;
}

/* They are mounted on names that this mount namespace alone has, and are never a link. */
static int mount_own(const struct request *request, const struct job *job, struct failure *failure)
{
    uint64_t bytes = job->scratch_max_bytes;
    if (devices_mount(request->terminals, bytes, failure) < 0)
        return -1;
    int there = is_directory("/tmp", failure);
    if (there < 0 || (there && tree_mount_memory("/tmp", "1777", bytes, failure) < 0))
        return -1;
    there = is_directory("/run/user", failure);
    if (there <= 0)
        return there;
    if (tree_mount_memory("/run/user", "0755", bytes, failure) < 0)
        return -1;
    return make_runtime_directory(job, failure);
}

/* What a private directory covers, back at its own path. */
static int restore(const struct tree *tree, int copy, const struct job *job,
                   struct failure *failure)
{
    dev_t own[COUNT(private_directories)];
    size_t count = 0;
    for (size_t at = 0; at < COUNT(private_directories); at++) {
        struct stat status;
        int there = is_directory(private_directories[at], failure);
        if (there < 0)
            return -1;
        if (!there)
            continue;
        if (stat(private_directories[at], &status) < 0)
            return failure_of_call(failure, private_directories[at]);
        own[count++] = status.st_dev;
    }
    return places_attach(copy, tree->cwd, own, count, job, failure);
}

/* Of those that there are. Their targets are names of the kernel's own file systems, in which no
 * user makes any. */
static int cover_settings(struct failure *failure)
{
    for (size_t at = 0; at < COUNT(kernel_settings); at++) {
        const char *path = kernel_settings[at];
        if (mount(path, path, NULL, MS_BIND, NULL) < 0) {
            if (errno == ENOENT)
                continue;
            return failure_of_call(failure, path);
        }
        if (make_read_only(path, failure) < 0)
            return -1;
    }
    return 0;
}

/* By one empty directory for all: a bind mount costs a fourth of a file system, and has the flags of
 * the first mount. */
static int mask_directories(struct failure *failure)
{
    const char *empty = NULL;
    for (size_t at = 0; at < COUNT(telltale_directories); at++) {
        const char *path = telltale_directories[at];
        int there = is_directory(path, failure);
        if (there < 0)
            return -1;
        if (!there)
            continue;
        int error = empty == NULL ? tree_mount("tmpfs", path, "tmpfs", INERT | MS_RDONLY,
                                               "size=4k,mode=555", failure)
                                  : tree_mount(empty, path, NULL, MS_BIND, NULL, failure);
        if (error)
            return -1;
        empty = empty == NULL ? path : empty;
    }
    return 0;
}

/* Cover what tells of the machine, in /proc and /sys; the job's /dev/null is there by now. */
static int mask(struct failure *failure)
{
    for (size_t at = 0; at < COUNT(telltale_files); at++)
        if (mount("/dev/null", telltale_files[at], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
            return failure_of_call(failure, telltale_files[at]);
    return mask_directories(failure);
}

/* A /proc that shows the PID namespace of the caller; `masked` covers its sensitive parts. An
 * ordinary user cannot write the settings anyway, nor read the worst of the rest, and covering
 * anything would keep the user from mounting a /proc in a user namespace of their own
 * (fs/namespace.c, mnt_already_visible): bwrap, bazel. So for such a user it stays whole. */
static int mount_proc(bool masked, struct failure *failure)
{
    if (tree_mount("proc", "/proc", "proc", INERT, NULL, failure) < 0)
        return -1;
    return masked ? cover_settings(failure) : 0;
}

/* A read-only /sys of the job's network, and its own cgroup as the whole cgroup tree. On a hybrid
 * host this also covers the v1 hierarchies. The file systems below the host's /sys (debugfs,
 * tracefs, bpf, efivars) are not put back. */
static int mount_sys(bool is_fresh, struct failure *failure)
{
    struct stat status;
    /* There is one sysfs for each network namespace, and mounting it over itself is EBUSY; a bind
     * without what is mounted below comes to the same. */
    int result = is_fresh ? tree_mount("sysfs", "/sys", "sysfs", INERT, NULL, failure)
                          : tree_mount("/sys", "/sys", NULL, MS_BIND, NULL, failure);
    if (result < 0 || make_read_only("/sys", failure) < 0)
        return -1;
    if (stat("/sys/fs/cgroup", &status) < 0 || !S_ISDIR(status.st_mode))
        return 0;
    if (tree_mount("cgroup2", "/sys/fs/cgroup", "cgroup2", INERT, NULL, failure) < 0)
        return -1;
    return make_read_only("/sys/fs/cgroup", failure);
}

/* All mounts. The network and the other namespaces of the job are entered already; /sys and the
 * queues are those of the namespaces that they are mounted in. */
int tree_build(const struct tree *tree, const struct request *request, const struct job *job,
               struct failure *failure)
{
    bool is_masked = job->uid == 0;
    int copy = -1;
    /* The job's own one is set when privileges are dropped. */
    umask(0);
    /* While the host's tree is still there; a copy shows no more than the descriptor, which was
     * opened as the user. */
    if (tree->is_put_back && (copy = call_copy_mounts(tree->cwd_fd)) < 0)
        return failure_of(failure, errno);
    if (mount_own(request, job, failure) < 0)
        return -1;
    if (tree->is_put_back && restore(tree, copy, job, failure) < 0)
        return -1;
    if (mount_proc(is_masked, failure) < 0 || mount_sys(job->own_sys, failure) < 0)
        return -1;
    return is_masked ? mask(failure) : 0;
}

/* ---- as the job ---- */

/* By its path and not by the descriptor: the tree has other mounts now. */
int tree_enter(const struct tree *tree, struct failure *failure)
{
    if (chdir(tree->cwd) == 0)
        return 0;
    if (errno != ENOENT)
        return failure_of_call(failure, tree->cwd);
    return failure_at(failure, ENOENT, tree->cwd, "no such directory in the job's own tree");
}
