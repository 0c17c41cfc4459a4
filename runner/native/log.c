/* The log of one job: appends to the newest segment, begins new ones, removes the oldest.
 *
 * The format is runner/logs/format.py's and the behaviour runner/logs/writer.py's without
 * compression, to the byte: names, modes, the order in which files appear and go, and what a
 * failure leaves; readers (runner/logs/reader.py) rely on it. Files are segment.c's business,
 * and what becomes of output that finds no room is pump.c's.
 *
 * Durable: the sign that the job may have run, once log_sync_begin() has returned; and all of
 * the output, with its names, once log_close() has. Appends are not synced: a crash of the monitor
 * loses none, one of the machine may. Nothing is synced of a segment to which nothing was written
 * but its names, and of a log without output and gaps not even these.
 */
#include "native.h"
#include "segment.h"

#include <endian.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STDOUT 1
#define STDERR 2
#define INDEX_RECORD_BYTES 24
#ifndef MOST_SEGMENTS
#define MOST_SEGMENTS 4096
#endif
#define SEGMENTS_OF_A_SIZE (MOST_SEGMENTS / 8)
#define MOST_DOUBLINGS 7
#define FEWEST_SEGMENTS 2
/* One by one, thousands would each wait for the journal and the disk's cache. */
#define MANY_UNSYNCED 32
/* Each start is a write of its own, and a small log is written in no time at the end. */
#define EARLY_BYTES (4 * 1024 * 1024)
/* A start that takes longer has waited for the disk, which is slower than the output then. */
#define EARLY_PATIENCE_NS (NS_PER_S / 20)
/* Of a segment that is written no more: the sign that another may follow. */
#define FINAL_MODE 0400

struct segment {
    uint64_t start;
    uint64_t bytes; /* on disk, the index included; 0: one that a gap began, and nothing else */
};

struct log {
    int dir_fd;
    struct segment_files files;
    bool is_closed, has_unsynced_names, writes_early;
    uint64_t segment_bytes, keep_bytes, keep_segments;
    uint64_t start, log_bytes, index_bytes; /* of the segment that is written */
    uint64_t skipped; /* since the last append: the next one comes so many bytes later */
    uint64_t dropped;
    uint64_t finished_bytes;
    /* The finished segments that are still there: a ring, the oldest first. It comes last and
     * is written from its beginning on, so that a short log touches no page of it. */
    uint32_t oldest, count;
    struct segment finished[MOST_SEGMENTS];
};

static struct log the_log;

/* ---- the beginning ---- */

static bool are_sizes(uint64_t segment_bytes, uint64_t keep_bytes, uint64_t keep_segments)
{
    return segment_bytes >= 1 && keep_bytes >= 1 && keep_segments >= FEWEST_SEGMENTS;
}

/* NULL and *error = -errno: -EINVAL for a size below 1 or fewer segments than 2, -EEXIST when
 * the directory is not empty, else of openat(2); nothing is left behind then. The caller keeps
 * dir_fd (O_RDONLY) open as long as the log is and closes it itself. */
struct log *log_begin(int dir_fd, uint64_t segment_bytes, uint64_t keep_bytes,
                      uint64_t keep_segments, int *error)
{
    struct log *log = &the_log;

    *error = are_sizes(segment_bytes, keep_bytes, keep_segments) ? 0 : -EINVAL;
    if (*error)
        return NULL;
    memset(log, 0, offsetof(struct log, finished));
    log->dir_fd = dir_fd;
    log->writes_early = log->has_unsynced_names = true;
    log_retain(log, segment_bytes, keep_bytes, keep_segments);
    *error = segment_require_none(dir_fd);
    if (!*error)
        *error = segment_create(dir_fd, 0, &log->files);
    return *error ? NULL : log;
}

/* A later append fails (EBADF) and touches no file that has come to have the same number. */
static void close_files(struct log *log)
{
    segment_close(&log->files);
    log->files = (struct segment_files){-1, -1};
    log->is_closed = true;
}

/* When it fails, the log is closed and nothing of it is left. */
int log_sync_begin(struct log *log)
{
    int error = fsync(log->dir_fd) ? -errno : 0, worse;

    if (!error) {
        log->has_unsynced_names = false;
        return 0;
    }
    close_files(log);
    worse = segment_remove(log->dir_fd, log->start);
    return worse ? worse : error;
}

/* Other sizes from the next append on; what was removed before stays removed. Those that
 * writer.py refuses change nothing. */
void log_retain(struct log *log, uint64_t segment_bytes, uint64_t keep_bytes,
                uint64_t keep_segments)
{
    if (!are_sizes(segment_bytes, keep_bytes, keep_segments))
        return;
    log->segment_bytes = segment_bytes;
    log->keep_bytes = keep_bytes;
    log->keep_segments = keep_segments;
}

/* ---- rotation and retention ---- */

/* How long a segment becomes before the next one begins: where no number is asked for, twice as
 * long after each so many, and the last ones are for gaps alone. */
static uint64_t due_bytes(const struct log *log)
{
    unsigned doublings = log->count / SEGMENTS_OF_A_SIZE;

    if (log->keep_segments <= MOST_SEGMENTS)
        return log->segment_bytes;
    if (doublings >= MOST_DOUBLINGS || log->segment_bytes > (UINT64_MAX >> doublings))
        return UINT64_MAX;
    return log->segment_bytes << doublings;
}

static struct segment *finished(struct log *log, uint32_t number)
{
    return &log->finished[(log->oldest + number) % MOST_SEGMENTS];
}

static void remember(struct log *log, uint64_t start, uint64_t log_bytes, uint64_t index_bytes)
{
    uint64_t bytes = log_bytes + index_bytes;

    *finished(log, log->count++) = (struct segment){start, bytes};
    log->finished_bytes += bytes;
}

static void forget_oldest(struct log *log)
{
    log->finished_bytes -= finished(log, 0)->bytes;
    log->oldest = (log->oldest + 1) % MOST_SEGMENTS;
    log->count--;
    /* What comes from now on may be gone before anything waits for it. */
    log->writes_early = false;
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* So that log_close() finds most of a large log on the disk. Where the device's queue is full
 * this blocks, and the job with us: then no more is started. */
static void write_early(struct log *log, const struct segment_files *files, uint64_t log_bytes)
{
    uint64_t began;

    if (!log->writes_early || log_bytes < EARLY_BYTES)
        return;
    began = monotonic_ns();
    segment_start_writing(files);
    log->writes_early = monotonic_ns() - began < EARLY_PATIENCE_NS;
}

static int begin_segment(struct log *log)
{
    uint64_t start = log->start, log_bytes = log->log_bytes, index_bytes = log->index_bytes;
    uint64_t beginning = log_total_bytes(log);
    struct segment_files old = log->files;
    int error;

    /* First: readers who find neither the sign nor the next one at once look no further. */
    if (fchmod(old.log_fd, FINAL_MODE))
        return -errno;
    error = segment_create(log->dir_fd, beginning, &log->files);
    if (error)
        return error;
    log->start = beginning;
    log->log_bytes = log->index_bytes = log->skipped = 0;
    log->has_unsynced_names = true;
    write_early(log, &old, log_bytes);
    segment_close(&old);
    /* An empty one was begun on a full disk, which then had no room for the data. Were it kept,
     * a job that drops its output for long would push out all that it wrote before. */
    if (log_bytes || log->count == 0 || segment_remove(log->dir_fd, start))
        remember(log, start, log_bytes, index_bytes);
    return 0;
}

/* Before `more` bytes: what is too old goes, then a segment begins if it is time. In this
 * order, because on a full disk removing is what lets the rest succeed. */
static int make_room(struct log *log, uint64_t more)
{
    uint64_t held = log->log_bytes + log->index_bytes;
    bool is_due = held >= due_bytes(log) || log->skipped > 0;
    /* An empty one is not kept when the next one begins. */
    bool adds_one = is_due && (log->log_bytes || log->count == 0);
    uint64_t most = log->keep_segments < MOST_SEGMENTS ? log->keep_segments : MOST_SEGMENTS;
    uint64_t room_for = most - (adds_one ? 2 : 1);

    while (log->count > 0) {
        const struct segment *oldest = finished(log, 0);
        uint64_t kept = log->finished_bytes - oldest->bytes + held + more;
        int error;

        if (kept < log->keep_bytes && log->count <= room_for)
            break;
        error = segment_remove(log->dir_fd, oldest->start);
        if (error)
            return error;
        forget_oldest(log);
    }
    return is_due ? begin_segment(log) : 0;
}

/* ---- output ---- */

/* Drop what a failed append left, so that the raw file holds output and nothing else. Should
 * this fail too, no reader is misled: the index does not cover it, and it is written over. */
static int cut_back(const struct log *log)
{
    if (ftruncate(log->files.log_fd, (off_t)log->log_bytes))
        return -errno;
    return ftruncate(log->files.index_fd, (off_t)log->index_bytes) ? -errno : 0;
}

/* INDEX_RECORD of runner/logs/format.py. */
static void encode_record(uint8_t *into, uint64_t time_ns, uint64_t offset, uint32_t length,
                          int stream)
{
    uint64_t wide[2] = {htole64(time_ns), htole64(offset)};
    uint32_t narrow = htole32(length);

    memset(into, 0, INDEX_RECORD_BYTES);
    memcpy(into, wide, sizeof wide);
    memcpy(into + sizeof wide, &narrow, sizeof narrow);
    into[sizeof wide + sizeof narrow] = (uint8_t)stream;
}

/* What one read gave: readers see all of it or nothing. -errno (ENOSPC, EDQUOT, EFBIG, EIO …):
 * the log is as it was, and the same call again loses and repeats no byte. */
int log_append(struct log *log, int stream, const void *data, size_t length, uint64_t time_ns)
{
    uint8_t record[INDEX_RECORD_BYTES];
    int error, worse;

    if ((stream != STDOUT && stream != STDERR) || length > UINT32_MAX)
        return -EINVAL;
    if (length == 0)
        return 0;
    error = make_room(log, length + sizeof record);
    if (error)
        return error;
    encode_record(record, time_ns, log_total_bytes(log), (uint32_t)length, stream);
    /* The data first: a record must never point at bytes that are not there. */
    error = segment_write(log->files.log_fd, data, length, log->log_bytes);
    if (!error)
        error = segment_write(log->files.index_fd, record, sizeof record, log->index_bytes);
    if (error) {
        worse = cut_back(log);
        return worse ? worse : error;
    }
    log->log_bytes += length;
    log->index_bytes += sizeof record;
    return 0;
}

/* Output that was dropped takes up offsets and nothing else: the next append begins a segment
 * that many bytes later, which shows readers the gap. */
void log_skip(struct log *log, uint64_t count)
{
    log->skipped += count;
    log->dropped += count;
}

/* The offset of the next byte: all output so far, removed or dropped or not. */
uint64_t log_total_bytes(const struct log *log)
{
    return log->start + log->log_bytes + log->skipped;
}

uint64_t log_dropped_bytes(const struct log *log)
{
    return log->dropped;
}

/* ---- the end ---- */

static void note(int *failed, int error)
{
    if (error)
        *failed = error;
}

static uint32_t unsynced(struct log *log)
{
    uint32_t count = 0;

    for (uint32_t number = 0; number < log->count; number++)
        count += finished(log, number)->bytes > 0;
    return count;
}

/* Each file, whatever became of the others; the last error. */
static int sync_all(struct log *log)
{
    int failed = 0;

    if (unsynced(log) > MANY_UNSYNCED)
        return syncfs(log->dir_fd) ? -errno : 0;
    if (log->log_bytes)
        note(&failed, segment_sync(&log->files));
    if (log->has_unsynced_names && log_total_bytes(log))
        note(&failed, fsync(log->dir_fd) ? -errno : 0);
    for (uint32_t number = 0; number < log->count; number++)
        if (finished(log, number)->bytes > 0)
            note(&failed, segment_sync_finished(log->dir_fd, finished(log, number)->start));
    return failed;
}

/* Put everything on disk and close the files, also when the first fails. Again is harmless. */
int log_close(struct log *log)
{
    int error;

    if (log->is_closed)
        return 0;
    error = sync_all(log);
    close_files(log);
    return error;
}
