/* log.c and segment.c, with system calls that can be made to fail. A question is one call:
 * `struct question`; the answer "error total dropped", or for 'n' how many descriptors are open. */
#include "native.h" /* first: it says which functions the headers show */

#include "frames.h"
#include "segment.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct __attribute__((packed)) question {
    char call;
    uint64_t first, count; /* which of the system calls fail, counted from 1; first 0: none */
    uint64_t error;        /* 0: a write is cut short instead */
    uint64_t room;         /* RLIMIT_FSIZE */
    uint64_t a, b, c;
};

static struct question asked;
static uint64_t calls;

static bool is_due(void)
{
    calls++;
    return asked.first && calls >= asked.first && calls - asked.first < asked.count;
}

static bool fails(void)
{
    if (!is_due() || !asked.error)
        return false;
    errno = (int)asked.error;
    return true;
}

static ssize_t failing_pwrite(int fd, const void *data, size_t length, off_t position)
{
    bool due = is_due();

    if (due && asked.error) {
        errno = (int)asked.error;
        return -1;
    }
    return pwrite(fd, data, due ? (length + 1) / 2 : length, position);
}

#define pwrite failing_pwrite
#define openat(...) (fails() ? -1 : openat(__VA_ARGS__))
#define unlinkat(...) (fails() ? -1 : unlinkat(__VA_ARGS__))
#define fchmod(...) (fails() ? -1 : fchmod(__VA_ARGS__))
#define ftruncate(...) (fails() ? -1 : ftruncate(__VA_ARGS__))
/* Nothing here waits for a disk. */
#define fsync(fd) (fails() ? -1 : 0 * (fd))
#define fdatasync(fd) (fails() ? -1 : 0 * (fd))
#define syncfs(fd) (fails() ? -1 : 0 * (fd))

#include "segment.c"

#include "log.c"

static int begin(int dir_fd, struct log **log)
{
    int error;

    *log = log_begin(dir_fd, asked.a, asked.b, asked.c, &error);
    return *log && asked.call == 'b' ? log_sync_begin(*log) : error;
}

static int append(struct log *log)
{
    uint8_t *data = malloc(asked.b);
    int error;

    for (size_t each = 0; each < asked.b; each++)
        data[each] = (uint8_t)(each * 7 + asked.c);
    error = log_append(log, (int)asked.a, data, asked.b, asked.c);
    free(data);
    return error;
}

static int call(int *dir_fd, const char *path, struct log **log)
{
    switch (asked.call) {
    case 'd':
        close(*dir_fd);
        *dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return *dir_fd < 0 ? -errno : 0;
    case 'b':
    case 'u':
        return begin(*dir_fd, log);
    case 'a':
        return append(*log);
    case 's':
        log_skip(*log, asked.a);
        return 0;
    case 'r':
        log_retain(*log, asked.a, asked.b, asked.c);
        return 0;
    default:
        return log_close(*log);
    }
}

static void set_room(uint64_t bytes)
{
    struct rlimit limit;

    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
}

static int open_descriptors(void)
{
    DIR *list = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(list))
        count++;
    closedir(list);
    return count;
}

int main(void)
{
    struct log *log = NULL;
    int dir_fd = -1;

    signal(SIGXFSZ, SIG_IGN);
    for (;;) {
        struct frame frame = frame_read();
        struct answer answer;
        char path[4096] = "";
        int error;

        memcpy(&asked, frame.data, sizeof asked);
        memcpy(path, frame.data + sizeof asked, frame.length - sizeof asked);
        free(frame.data);
        answer_begin(&answer);
        if (asked.call == 'n') {
            fprintf(answer.file, "%d", open_descriptors());
        } else {
            calls = 0;
            set_room(asked.room);
            error = call(&dir_fd, path, &log);
            set_room(RLIM_INFINITY);
            fprintf(answer.file, "%d %llu %llu", -error,
                    log ? (unsigned long long)log_total_bytes(log) : 0,
                    log ? (unsigned long long)log_dropped_bytes(log) : 0);
        }
        answer_send(&answer);
    }
}
