/* A place in the job's own tree, found with the job's rights, made where the tree is its own.
 * isolation/files/places.py as far as a working directory that is put back needs it; and the
 * calls on paths and mounts that not every C library has.
 *
 * As root, when the tree stands. A place is walked name by name without a single link, and known
 * by its descriptor from then on, so no name that is changed meanwhile moves a mount.
 */
#include "payload.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MUST_EXIST "it must exist: only overlay and root trees get missing targets made"
#define HAS_LINK "a link is on the way: name the place that it leads to"
#define NO_PLACE "a place below / without .. is needed"

/* ---- calls: their numbers from 424 on are the same everywhere (asm-generic/unistd.h) ---- */

int call_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
    return (int)syscall(437, directory, path, &how, sizeof how);
}

int call_copy_mounts(int fd)
{
    unsigned clone = 1, empty_path = 0x1000, recursive = 0x8000;
    return (int)syscall(428, fd, "", clone | empty_path | recursive | O_CLOEXEC);
}

int call_move_mount(int mount_fd, int place)
{
    unsigned from_empty_path = 0x4, to_empty_path = 0x40;
    return (int)syscall(429, mount_fd, "", place, "", from_empty_path | to_empty_path);
}

int call_close_range(unsigned first, unsigned last, unsigned flags)
{
    return (int)syscall(436, first, last, flags);
}

/* ---- the walk ---- */

struct walk {
    int fd;           /* O_PATH: how far it came */
    const char *rest; /* what is left of the path */
    const char *path; /* all of it, for texts */
};

/* The next name, without slashes; false at the end. */
static bool next_name(struct walk *walk, char name[NAME_MAX + 1], size_t *length)
{
    do {
        walk->rest += strspn(walk->rest, "/");
        *length = strcspn(walk->rest, "/");
        const char *found = walk->rest;
        walk->rest += *length;
        memcpy(name, found, *length < NAME_MAX ? *length : NAME_MAX);
        name[*length < NAME_MAX ? *length : NAME_MAX] = '\0';
    } while (strcmp(name, ".") == 0);
    return *length > 0;
}

static int require_name(const struct walk *walk, const char *name, size_t length,
                        struct failure *failure)
{
    if (strcmp(name, "..") == 0)
        return failure_at(failure, EINVAL, walk->path, NO_PLACE);
    if (length > NAME_MAX)
        return failure_at(failure, ENAMETOOLONG, walk->path, strerror(ENAMETOOLONG));
    return 0;
}

static int step_to(struct walk *walk, const char *name, struct failure *failure)
{
    int below = call_openat2(walk->fd, name, O_PATH, RESOLVE_STRICT);
    if (below < 0) {
        int number = errno;
        return failure_at(failure, number, walk->path,
                          number == ELOOP ? HAS_LINK : strerror(number));
    }
    close(walk->fd);
    walk->fd = below;
    return 0;
}

static int make_directory(const struct walk *walk, const char *name, const dev_t *own,
                          size_t own_count, struct failure *failure)
{
    struct stat around;
    bool is_own = false;
    if (fstat(walk->fd, &around) < 0)
        return failure_of(failure, errno);
    for (size_t at = 0; at < own_count; at++)
        is_own = is_own || own[at] == around.st_dev;
    /* What is thrown away with the job; on a file system of the host nothing is made. */
    if (!is_own)
        return failure_at(failure, ENOENT, walk->path, MUST_EXIST);
    if (mkdirat(walk->fd, name, 0755) < 0)
        return failure_of_call(failure, name);
    /* By descriptor: what somebody put in its place meanwhile must not be given away. */
    int made = openat(walk->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (made < 0)
        return failure_of_call(failure, name);
    /* The owner of the directory around it could have made it. */
    if (fchown(made, around.st_uid, around.st_gid) < 0)
        return failure_of(failure, errno);
    close(made);
    return 0;
}

/* As far as there is something, with the job's rights; then what is missing, as root, in
 * directories that are new and hence empty, and in one that is the job's alone. */
static int find_or_make(struct walk *walk, const dev_t *own, size_t own_count,
                        const struct job *job, struct failure *failure)
{
    char name[NAME_MAX + 1];
    size_t length = 0;
    bool is_there = true;
    if (credentials_as_user(job, failure) < 0)
        return -1;
    while (next_name(walk, name, &length)) {
        if (require_name(walk, name, length, failure) < 0)
            return -1;
        if (is_there && step_to(walk, name, failure) == 0)
            continue;
        if (is_there && failure->number != ENOENT)
            return -1;
        if (is_there && credentials_as_root(failure) < 0)
            return -1;
        is_there = false;
        if (make_directory(walk, name, own, own_count, failure) < 0 ||
            step_to(walk, name, failure) < 0)
            return -1;
    }
    return is_there ? credentials_as_root(failure) : 0;
}

int places_attach(int mount_fd, const char *path, const dev_t *own, size_t own_count,
                  const struct job *job, struct failure *failure)
{
    struct walk walk = {-1, path, path};
    struct stat status;
    walk.fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (walk.fd < 0)
        return failure_of_call(failure, "/");
    if (find_or_make(&walk, own, own_count, job, failure) < 0)
        return -1;
    if (fstat(walk.fd, &status) < 0)
        return failure_of(failure, errno);
    if (!S_ISDIR(status.st_mode))
        return failure_at(failure, ENOTDIR, path, "a directory can only cover a directory");
    if (call_move_mount(mount_fd, walk.fd) < 0)
        return failure_of_call(failure, path);
    close(walk.fd);
    close(mount_fd);
    return 0;
}
