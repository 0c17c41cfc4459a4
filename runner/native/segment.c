/* One segment of a log as files: an index and the data beside it.
 *
 * A segment is there for readers when its data is. So the index is created before it and removed
 * after it, and data without an index is never seen, even after a crash between. When a segment
 * begins or goes is log.c's business. The original: runner/logs/segment_files.py.
 */
#include "native.h"
#include "segment.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME_BYTES 32
#define MODE 0600
#define CREATE_FLAGS (O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC)
/* Never through a link, and never waiting for the reader of a FIFO. */
#define AGAIN_FLAGS (O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
#define SYNC_FLAGS (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

static void log_name(char *into, uint64_t start)
{
    snprintf(into, NAME_BYTES, "%020llu.log", (unsigned long long)start);
}

static void index_name(char *into, uint64_t start)
{
    snprintf(into, NAME_BYTES, "%020llu.idx", (unsigned long long)start);
}

/* ---- made ---- */

static bool is_self_or_parent(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* By the system call: readdir(3) would allocate. */
int segment_require_none(int dir_fd)
{
    char entries[1024] __attribute__((aligned(8)));
    long got;

    if (lseek(dir_fd, 0, SEEK_SET) < 0)
        return -errno;
    while ((got = syscall(SYS_getdents64, dir_fd, entries, sizeof entries)) > 0)
        for (long at = 0; at < got;) {
            struct dirent64 *entry = (struct dirent64 *)(entries + at);

            if (!is_self_or_parent(entry->d_name))
                return -EEXIST;
            at += entry->d_reclen;
        }
    return got < 0 || lseek(dir_fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

/* What a try that failed half-way left is taken up by the next one, when it is empty. */
static int take_up(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, AGAIN_FLAGS);
    struct stat found;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && found.st_size == 0)
        return fd;
    close(fd);
    return -EEXIST;
}

static int create_file(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, CREATE_FLAGS, MODE);

    if (fd >= 0)
        return fd;
    return errno == EEXIST ? take_up(dir_fd, name) : -errno;
}

int segment_create(int dir_fd, uint64_t start, struct segment_files *into)
{
    char index[NAME_BYTES], log[NAME_BYTES];
    int index_fd, log_fd;

    index_name(index, start);
    log_name(log, start);
    index_fd = create_file(dir_fd, index);
    if (index_fd < 0)
        return index_fd;
    log_fd = create_file(dir_fd, log);
    if (log_fd < 0) {
        close(index_fd);
        /* Should it stay, the next try takes it up. */
        unlinkat(dir_fd, index, 0);
        return log_fd;
    }
    *into = (struct segment_files){log_fd, index_fd};
    return 0;
}

/* ---- written ---- */

int segment_write(int fd, const void *data, size_t length, uint64_t position)
{
    const char *at = data;

    while (length > 0) {
        ssize_t done = pwrite(fd, at, length, (off_t)position);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        /* It stops short where a disk or a limit is full: the next one says so. */
        at += done;
        length -= (size_t)done;
        position += (uint64_t)done;
    }
    return 0;
}

void segment_close(const struct segment_files *files)
{
    close(files->log_fd);
    close(files->index_fd);
}

/* ---- removed ---- */

/* Absent is well: an earlier try may have removed the one file and failed at the other. */
static int remove_file(int dir_fd, const char *name)
{
    return unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT ? 0 : -errno;
}

int segment_remove(int dir_fd, uint64_t start)
{
    char name[NAME_BYTES];
    int error;

    log_name(name, start);
    error = remove_file(dir_fd, name);
    if (error)
        return error;
    index_name(name, start);
    return remove_file(dir_fd, name);
}

/* ---- on the disk ---- */

void segment_start_writing(const struct segment_files *files)
{
    sync_file_range(files->log_fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    sync_file_range(files->index_fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

int segment_sync(const struct segment_files *files)
{
    int first, second;

    /* Once the index has its place on the disk too, one commit of the journal takes both. */
    sync_file_range(files->index_fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    first = fdatasync(files->log_fd) ? -errno : 0;
    second = fdatasync(files->index_fd) ? -errno : 0;
    return second ? second : first;
}

static int sync_file(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, SYNC_FLAGS), error;

    if (fd < 0)
        return -errno;
    error = fdatasync(fd) ? -errno : 0;
    close(fd);
    return error;
}

int segment_sync_finished(int dir_fd, uint64_t start)
{
    char name[NAME_BYTES];
    int first, second;

    log_name(name, start);
    first = sync_file(dir_fd, name);
    index_name(name, start);
    second = sync_file(dir_fd, name);
    return second ? second : first;
}
