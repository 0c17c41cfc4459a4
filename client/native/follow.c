/* A job's output copied to ours, and its end, as far as nothing need be said of it. */
#include "runctl.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

/* client/cli/news.py: how long a start may take before it is worth a word. */
enum { MOMENT_MS = 500 };
/* Beside exit statuses: the stream goes on, or the Python runctl does. */
enum { GOES_ON = -2, HAND_OVER = -1 };

/* Whether a figure of a result is nothing to speak of: absent, nil or 0. */
static bool is_nothing(struct reader map, const char *key)
{
    struct value value;
    return !find_value(map, key, &value) || value.kind == PACK_NIL ||
           (value.kind == PACK_UINT && value.number == 0);
}

static bool is_nil(struct reader map, const char *key)
{
    struct value value;
    return !find_value(map, key, &value) || value.kind == PACK_NIL;
}

/* All of it, or as much as could be written before a signal or an error; the cursor says how much. */
static bool write_out(struct run *run, int fd, const uint8_t *data, size_t length)
{
    struct stat found;
    bool may_block = fstat(fd, &found) < 0 || !S_ISREG(found.st_mode);
    while (length > 0) {
        if (may_block && (wait_for(run, fd, POLLOUT, -1) < 0 || signals_noted() > 0))
            return false;
        /* So much fits into a pipe that poll(2) calls writable, so this does not block (pipe(7)). */
        size_t piece = may_block && length > PIPE_BUF ? PIPE_BUF : length;
        ssize_t count = write(fd, data, piece);
        if (count < 0 && (errno == EINTR || errno == EAGAIN) && signals_noted() == 0)
            continue;
        if (count < 0)
            return false;
        data += count;
        length -= (size_t)count;
        run->cursor += (uint64_t)count;
    }
    return true;
}

/* An event with output: runs of [stream, length, time] and their bytes. False: something else. */
static bool write_event(struct run *run, struct reader event)
{
    struct reader runs;
    struct value head, data, stream, length, skipped;
    uint64_t offset, done = 0;
    if (!find_number(event, "offset", &offset) || offset != run->cursor ||
        !find_value(event, "data", &data) || data.kind != PACK_BIN || !find(event, "runs", &runs) ||
        unpack_next(&runs, &head) < 0 || head.kind != PACK_ARRAY)
        return false;
    for (uint64_t i = 0; i < head.number; i++) {
        if (unpack_next(&runs, &skipped) < 0 || skipped.kind != PACK_ARRAY || skipped.number != 3 ||
            unpack_next(&runs, &stream) < 0 || stream.kind != PACK_UINT ||
            unpack_next(&runs, &length) < 0 || length.kind != PACK_UINT ||
            unpack_skip(&runs) < 0 || length.number > data.length - done)
            return false;
        if (!write_out(run, stream.number == 2 ? 2 : 1, data.data + done, length.number))
            return false;
        done += length.number;
    }
    return done == data.length;
}

/* Credit only for what is written: that is what holds the daemon back. */
static bool pay(struct run *run)
{
    uint8_t buffer[64];
    struct writer to = {buffer, buffer + sizeof buffer, false};
    if (++run->unpaid < WINDOW_EVENTS / 2)
        return true;
    pack_credit(&to, run->unpaid);
    run->unpaid = 0;
    return send_packed(run->fd, &to, buffer);
}

/* The exit status of a job that ended by itself and of which nothing need be said; else HAND_OVER. */
static int plain_status(const struct run *run, struct reader ok)
{
    struct reader status, result;
    struct value reason;
    uint64_t number, attempt;
    if (!find(ok, "status", &status) || !find(status, "result", &result) ||
        !find_value(result, "reason", &reason) || !value_is(&reason, "exit") ||
        !find_number(result, "exit_status", &number) || number > 255)
        return HAND_OVER;
    if (find_number(status, "attempt", &attempt) && attempt != run->attempt)
        return HAND_OVER;
    bool is_quiet = is_nothing(result, "oom_kills") && is_nothing(result, "pids_max_hits") &&
                    is_nothing(result, "log_dropped_bytes") && is_nil(result, "denied");
    return is_quiet ? (int)number : HAND_OVER;
}

static bool is_queued(struct reader ok)
{
    struct value state;
    return find_value(ok, "state", &state) && value_is(&state, "queued");
}

static bool ask_status(struct run *run)
{
    uint8_t buffer[256];
    struct writer to = {buffer, buffer + sizeof buffer, false};
    pack_status(&to, run->job);
    return send_packed(run->fd, &to, buffer);
}

/* One frame of the stream: GOES_ON, HAND_OVER, or the exit status. */
static int take_frame(struct run *run)
{
    struct reader body, part;
    uint64_t id, number;
    if (!receive_frame(run->fd, &body) || !find_number(body, "id", &id))
        return HAND_OVER;
    if (id == STATUS_ID)
        return find(body, "ok", &part) && !is_queued(part) ? GOES_ON : HAND_OVER;
    if (id != LOGS_ID)
        return HAND_OVER;
    if (find(body, "ok", &part))
        return plain_status(run, part);
    if (!find(body, "event", &part) || !find_number(body, "seq", &number) ||
        number != ++run->events)
        return HAND_OVER;
    run->has_begun = true;
    return write_event(run, part) && pay(run) ? GOES_ON : HAND_OVER;
}

int follow(struct run *run)
{
    bool has_asked = false;
    for (;;) {
        bool is_early = !run->has_begun && !has_asked;
        int ready = wait_for(run, run->fd, POLLIN, is_early ? MOMENT_MS : -1);
        if (ready < 0 || signals_noted() > 0)
            return HAND_OVER;
        if (ready == 0) {
            /* It may be queued: the Python runctl says for what. */
            has_asked = true;
            if (!ask_status(run))
                return HAND_OVER;
            continue;
        }
        int status = take_frame(run);
        if (status != GOES_ON)
            return status;
    }
}
