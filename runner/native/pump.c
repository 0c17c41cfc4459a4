/* Moves a job's output from its pipes into its log. The behaviour is runner/pump.py's.
 *
 * When the log has no room (a full disk), nothing more is read, so the job blocks in its write as
 * on any full pipe, and the same bytes are tried again until there is room; only the end of the
 * job bounds that patience. Or, where its `on_full` says so, what finds no room is dropped and
 * counted. A job may have a limit on all of its output: what is beyond it stays in the pipe, or
 * is thrown away and told (pump_excess). Who waits, and who ends the job, is monitor.c.
 */
#include "native.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define STREAMS 2
#define PIPE_BYTES (1024 * 1024)
#define READ_BYTES (256 * 1024)
#ifndef RETRY_NS
#define RETRY_NS (NS_PER_S / 4)
#endif
#define SEGMENTS_KEPT 4
/* Half of log.c's MOST_SEGMENTS: `segment_bytes` counts indexes too, which are not output. */
#define SEGMENTS_FILLED 2048
/* More than any output, or any number of segments: nothing is removed. */
#define ALL (1ULL << 62)

struct source { int fd, stream; };

struct pump {
    struct log *log;
    struct output_plan plan;
    struct source sources[STREAMS];
    int count;
    bool has_excess;     /* there was more output than the plan lets be stored */
    int lost_errno;      /* why output was lost that should not have been */
    int full_errno;
    uint64_t retry_at;   /* NO_LIMIT: nothing waits for room */
    uint64_t drop_until; /* 0: what comes is tried */
    int pending_stream;  /* what the buffer holds */
    size_t pending;
    uint64_t pending_time;
};

static struct pump the_pump;
/* Not in the struct, and in no page with it: a job touches as many pages of it as its longest
 * read, and one that is silent none. */
static uint8_t buffer[READ_BYTES] __attribute__((aligned(4096)));

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t least(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

/* ---- the plan ---- */

static struct output_plan plan_all(uint64_t most, bool discards, uint64_t wanted_segment)
{
    /* All of it is promised, so nothing is removed; larger segments bound their number. */
    uint64_t segment = most / SEGMENTS_FILLED + (most % SEGMENTS_FILLED != 0);

    return (struct output_plan){
        .most = most,
        .discards = discards,
        .segment_bytes = segment > wanted_segment ? segment : wanted_segment,
        .keep_bytes = ALL,
        .keep_segments = ALL,
    };
}

static struct output_plan plan_newest(uint64_t keep, uint64_t segment, uint64_t segments)
{
    return (struct output_plan){
        .most = NO_LIMIT,
        .segment_bytes = segment,
        .keep_bytes = keep,
        .keep_segments = segments,
    };
}

struct output_plan plan_output(const struct limits *limits, const struct log_options *logs)
{
    uint64_t most = limits->output_max_bytes, quarter = most / SEGMENTS_KEPT;
    uint64_t segment = least(logs->segment_bytes, logs->keep_bytes);
    struct output_plan plan;

    if (most == NO_LIMIT)
        plan = plan_newest(logs->keep_bytes, segment, logs->keep_segments);
    else if (limits->output_policy != OUTPUT_KEEP)
        plan = plan_all(most, limits->output_policy == OUTPUT_END, segment);
    else /* The oldest go a segment at a time: at most half as much again is on the disk. */
        plan = plan_newest(most, least(logs->segment_bytes, quarter ? quarter : 1),
                           logs->keep_segments);
    plan.on_full = logs->on_full;
    return plan;
}

/* How many bytes may still be stored; those that were dropped count as stored. */
static uint64_t room(const struct pump *pump)
{
    uint64_t most = pump->plan.most, total = log_total_bytes(pump->log);

    if (most == NO_LIMIT)
        return ALL;
    return most > total ? most - total : 0;
}

/* ---- what it is made of ---- */

struct pump *pump_new(struct log *log, const struct job *job)
{
    struct pump *pump = &the_pump;

    *pump = (struct pump){.log = log, .retry_at = NO_LIMIT};
    pump_follow(pump, &job->limits, &job->logs);
    return pump;
}

void pump_follow(struct pump *pump, const struct limits *limits, const struct log_options *logs)
{
    pump->plan = plan_output(limits, logs);
    log_retain(pump->log, pump->plan.segment_bytes, pump->plan.keep_bytes,
               pump->plan.keep_segments);
}

void pump_add(struct pump *pump, int fd, int stream)
{
    if (pump->count == STREAMS) {
        close(fd);
        return;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    /* Best effort: the kernel grants less to a user who holds many pipes (pipe(7)). */
    fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES);
    pump->sources[pump->count++] = (struct source){fd, stream};
}

static struct source *find(struct pump *pump, int fd)
{
    for (int number = 0; number < pump->count; number++)
        if (pump->sources[number].fd == fd)
            return &pump->sources[number];
    return NULL;
}

static void forget(struct pump *pump, int fd)
{
    struct source *source = find(pump, fd);

    if (!source)
        return;
    close(fd);
    pump->count--;
    if (source == &pump->sources[0])
        pump->sources[0] = pump->sources[1];
}

/* A pipe that is not to be read now must not wake the loop either. */
static bool is_watching(const struct pump *pump)
{
    return pump->retry_at == NO_LIMIT && (pump->plan.discards || room(pump) > 0);
}

int pump_wanted(const struct pump *pump, int fds[2])
{
    int count = is_watching(pump) ? pump->count : 0;

    for (int number = 0; number < count; number++)
        fds[number] = pump->sources[number].fd;
    return count;
}

/* ---- into the log ---- */

static void on_no_room(struct pump *pump, int why)
{
    uint64_t again = clock_ns(CLOCK_MONOTONIC) + RETRY_NS;

    if (pump->plan.on_full == FULL_WAIT) {
        pump->full_errno = why;
        pump->retry_at = again;
        return;
    }
    /* Not at every read: a disk that is full would be asked as fast as the job can write. */
    pump->drop_until = again;
    log_skip(pump->log, pump->pending);
    if (pump->plan.on_full == FULL_END && !pump->lost_errno)
        pump->lost_errno = why;
}

/* Append what the buffer holds; when that fails, the same again later, or never. */
static void store(struct pump *pump)
{
    int error = log_append(pump->log, pump->pending_stream, buffer, pump->pending,
                           pump->pending_time);

    if (error) {
        on_no_room(pump, -error);
        return;
    }
    pump->retry_at = NO_LIMIT;
    pump->drop_until = 0;
}

static void keep(struct pump *pump, int stream, size_t count)
{
    if (pump->drop_until && clock_ns(CLOCK_MONOTONIC) < pump->drop_until) {
        log_skip(pump->log, count);
        return;
    }
    pump->pending_stream = stream;
    pump->pending = count;
    pump->pending_time = clock_ns(CLOCK_REALTIME);
    store(pump);
}

static ssize_t read_pipe(int fd, size_t most)
{
    ssize_t count;

    do
        count = read(fd, buffer, most);
    while (count < 0 && errno == EINTR);
    return count;
}

/* Move one buffer of at most `most` bytes. The bytes moved: 0 when the pipe is empty or at its
 * end, and then it is closed. */
static size_t move(struct pump *pump, int fd, uint64_t most)
{
    const struct source *source = find(pump, fd);
    uint64_t free_bytes = room(pump);
    /* An append is never split, so a read is no longer than a segment. */
    uint64_t longest = least(most, pump->plan.segment_bytes);
    int stream = source->stream;
    uint64_t wanted = free_bytes ? least(longest, free_bytes) : most;
    ssize_t count = read_pipe(fd, least(wanted, READ_BYTES));

    if (count < 0 && errno == EAGAIN)
        return 0;
    if (count <= 0) {
        forget(pump, fd);
        return 0;
    }
    if (free_bytes == 0)
        pump->has_excess = true;
    else
        keep(pump, stream, (size_t)count);
    return (size_t)count;
}

void pump_readable(struct pump *pump, int fd)
{
    /* Both pipes may be ready in one round, and the first may have found no more room. */
    if (is_watching(pump) && find(pump, fd))
        move(pump, fd, READ_BYTES);
}

void pump_on_time(struct pump *pump, uint64_t now_ns)
{
    if (pump->retry_at != NO_LIMIT && now_ns >= pump->retry_at)
        store(pump);
}

/* ---- the end ---- */

/* Count as dropped what the plan would have had room for. */
static void skip(struct pump *pump, uint64_t count)
{
    log_skip(pump->log, least(count, room(pump)));
}

/* Drop what has waited for room until the end. */
static void give_up(struct pump *pump)
{
    pump->lost_errno = pump->full_errno;
    pump->retry_at = NO_LIMIT;
    skip(pump, pump->pending);
}

static void sleep_until(uint64_t at_ns)
{
    struct timespec at = {(time_t)(at_ns / NS_PER_S), (long)(at_ns % NS_PER_S)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static bool wait_for_room(struct pump *pump, uint64_t deadline_ns)
{
    while (pump->retry_at != NO_LIMIT) {
        if (clock_ns(CLOCK_MONOTONIC) >= deadline_ns) {
            give_up(pump);
            return false;
        }
        sleep_until(least(pump->retry_at, deadline_ns));
        store(pump);
    }
    return true;
}

static void empty(struct pump *pump, int fd, uint64_t deadline_ns)
{
    int left = 0;

    ioctl(fd, FIONREAD, &left);
    while (left > 0) {
        size_t count;

        if (!wait_for_room(pump, deadline_ns)) {
            skip(pump, (uint64_t)left);
            return;
        }
        count = move(pump, fd, (uint64_t)left);
        if (count == 0)
            return;
        left -= (int)count;
    }
}

/* The job is gone: store what is left in the pipes, then close them. No more is read than they
 * hold now: a process outside that got hold of the other end could go on writing for ever. */
void pump_drain(struct pump *pump, uint64_t deadline_ns)
{
    while (pump->count > 0) {
        int fd = pump->sources[0].fd;

        empty(pump, fd, deadline_ns);
        forget(pump, fd);
    }
    wait_for_room(pump, deadline_ns);
}

/* ---- what the loop asks ---- */

uint64_t pump_retry_at(const struct pump *pump)
{
    return pump->retry_at;
}

bool pump_excess(const struct pump *pump)
{
    return pump->has_excess;
}

int pump_lost_errno(const struct pump *pump)
{
    return pump->lost_errno;
}
