/* pump.c on real pipes and a real log, with a clock and a full disk of the test's. A question is
 * one step: `struct question` and, for 'b', a directory. The answer is the whole state. */
#include "native.h" /* first: it says which functions the headers show */

#include "frames.h"
#include "segment.h"

#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Nothing here waits for a disk. */
static int test_sync(int fd)
{
    return fd < 0 ? -1 : 0;
}

#define fsync test_sync
#define fdatasync test_sync
#define syncfs test_sync

#include "segment.c"

#include "log.c"

struct __attribute__((packed)) question {
    char step;
    uint64_t a, b, c;
    uint64_t most, policy; /* the limits */
    uint64_t segment_bytes, keep_bytes, keep_segments, on_full; /* the options of the log */
};

static uint64_t now_ns;
static uint64_t refusals, refused;
static int refusal_errno;

static int test_clock(clockid_t clock, struct timespec *into)
{
    (void)clock;
    *into = (struct timespec){(time_t)(now_ns / NS_PER_S), (long)(now_ns % NS_PER_S)};
    return 0;
}

static int test_sleep(clockid_t clock, int flags, const struct timespec *until, void *left)
{
    (void)clock, (void)flags, (void)left;
    now_ns = (uint64_t)until->tv_sec * NS_PER_S + (uint64_t)until->tv_nsec;
    return 0;
}

static int test_append(struct log *log, int stream, const void *data, size_t length, uint64_t at)
{
    if (refusals == 0)
        return log_append(log, stream, data, length, at);
    refusals--;
    refused++;
    return -refusal_errno;
}

#define clock_gettime test_clock
#define clock_nanosleep test_sleep
#define log_append test_append

#include "pump.c"

static struct log *log_now;
static struct pump *pump_now;
static int dir_fd = -1, reads[3] = {-1, -1, -1}, writes[3] = {-1, -1, -1};

static struct limits limits_of(const struct question *asked)
{
    return (struct limits){
        .output_max_bytes = asked->most,
        .output_policy = (enum output_policy)asked->policy,
    };
}

static struct log_options options_of(const struct question *asked)
{
    return (struct log_options){
        asked->segment_bytes, asked->keep_bytes, asked->keep_segments,
        (enum on_full)asked->on_full,
    };
}

static void begin(const struct question *asked, const char *path)
{
    struct job job = {.limits = limits_of(asked), .logs = options_of(asked)};
    struct output_plan plan = plan_output(&job.limits, &job.logs);
    int error;

    refusals = refused = now_ns = 0;
    /* What a step that failed the test left. */
    if (pump_now)
        pump_drain(pump_now, 0);
    if (log_now)
        log_close(log_now);
    refused = 0;
    close(dir_fd);
    dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    log_now = log_begin(dir_fd, plan.segment_bytes, plan.keep_bytes, plan.keep_segments, &error);
    pump_now = pump_new(log_now, &job);
    for (int stream = 1; stream <= 2; stream++) {
        int both[2];

        if (pipe2(both, O_CLOEXEC))
            exit(4);
        close(writes[stream]);
        reads[stream] = both[0];
        writes[stream] = both[1];
        fcntl(writes[stream], F_SETFL, O_NONBLOCK | O_WRONLY);
        pump_add(pump_now, reads[stream], stream);
    }
}

static void put(int stream, size_t length, uint64_t seed)
{
    uint8_t *data;

    if (writes[stream] < 0)
        return;
    data = malloc(length);
    for (size_t each = 0; each < length; each++)
        data[each] = (uint8_t)(each * 7 + seed);
    if (write(writes[stream], data, length) < 0 && errno != EAGAIN && errno != EPIPE)
        exit(5);
    free(data);
}

static void turn(void)
{
    int fds[2], count = pump_wanted(pump_now, fds);
    struct pollfd polled[2] = {{.fd = -1}, {.fd = -1}};

    for (int each = 0; each < count; each++)
        polled[each] = (struct pollfd){fds[each], POLLIN, 0};
    poll(polled, 2, 0);
    for (int each = 0; each < count; each++)
        if (polled[each].revents)
            pump_readable(pump_now, fds[each]);
}

static void hang_up(int stream)
{
    close(writes[stream]);
    writes[stream] = -1;
}

static void step(const struct question *asked, const char *path)
{
    struct limits limits = limits_of(asked);
    struct log_options options = options_of(asked);

    switch (asked->step) {
    case 'b':
        begin(asked, path);
        break;
    case 'w':
        put((int)asked->a, asked->b, asked->c);
        break;
    case 't':
        turn();
        break;
    case 'o':
        now_ns = asked->a;
        pump_on_time(pump_now, now_ns);
        break;
    case 'f':
        pump_follow(pump_now, &limits, &options);
        break;
    case 'r':
        refusals += asked->a;
        refusal_errno = (int)asked->b;
        break;
    case 'h':
        hang_up((int)asked->a);
        break;
    case 'd':
        pump_drain(pump_now, asked->a);
        break;
    default:
        log_close(log_now);
    }
}

static void say_plan(const struct question *asked, FILE *to)
{
    struct limits limits = limits_of(asked);
    struct log_options options = options_of(asked);
    struct output_plan plan = plan_output(&limits, &options);

    fprintf(to, "%llu %d %llu %llu %llu %d", (unsigned long long)plan.most, plan.discards,
            (unsigned long long)plan.segment_bytes, (unsigned long long)plan.keep_bytes,
            (unsigned long long)plan.keep_segments, plan.on_full);
}

static int held(int stream)
{
    int count = -1;

    return writes[stream] < 0 || ioctl(writes[stream], FIONREAD, &count) ? -1 : count;
}

static void say_state(FILE *to)
{
    int fds[2], count = pump_wanted(pump_now, fds), wanted = 0;

    for (int each = 0; each < count; each++)
        wanted |= fds[each] == reads[1] ? 1 : 2;
    fprintf(to, "%d %llu %d %d %llu %llu %llu %d %d %llu", wanted,
            (unsigned long long)pump_retry_at(pump_now), pump_excess(pump_now),
            pump_lost_errno(pump_now), (unsigned long long)log_total_bytes(log_now),
            (unsigned long long)log_dropped_bytes(log_now), (unsigned long long)refused, held(1),
            held(2), (unsigned long long)now_ns);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        struct frame frame = frame_read();
        struct answer answer;
        struct question asked;
        char path[4096] = "";

        memcpy(&asked, frame.data, sizeof asked);
        memcpy(path, frame.data + sizeof asked, frame.length - sizeof asked);
        free(frame.data);
        answer_begin(&answer);
        if (asked.step == 'p') {
            say_plan(&asked, answer.file);
        } else {
            step(&asked, path);
            say_state(answer.file);
        }
        answer_send(&answer);
    }
}
