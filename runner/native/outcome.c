/* How a job ended: from the facts that the monitor saw to one reason. Pure.
 *
 * runner/outcome.py (and parse_report of isolation/payload.py) is the original, and each change
 * to one is a change to both: tests/unit/native/test_outcome.py compares them. A reason says
 * whose doing it was; the first cause wins. The table is in ARCHITECTURE.md.
 */

#include "native.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* What env(1), timeout(1) and a shell exit with; 125 says that it was not the command. */
#define STATUS_OURS 125
#define STATUS_TIMEOUT 124
#define STATUS_NOT_EXECUTABLE 126
#define STATUS_NOT_FOUND 127
#define STATUS_SIGNAL_BASE 128
/* As of a program that writes a file larger than it may. */
#define STATUS_OUTPUT_LIMIT (STATUS_SIGNAL_BASE + SIGXFSZ)

#define NOT_STORED "its output could not be stored"
#define EXECUTING '\x01'
#define EXEC_STEP "execute the command"
#define MOST_TEXT 4096

/* What ends a job from outside: the monitor on somebody's behalf (watchdog.c). */
static const struct {
    const char *reason;
    int status;
} CAUSES[] = {
    [CAUSE_STOPPED] = {"stopped", 0}, /* the status is the job's own */
    [CAUSE_TIMEOUT] = {"timeout", STATUS_TIMEOUT},
    [CAUSE_DEADLINE] = {"deadline", STATUS_TIMEOUT},
    [CAUSE_CPU_TIME] = {"cpu-time", STATUS_TIMEOUT},
    [CAUSE_OUTPUT_LIMIT] = {"output-limit", STATUS_OUTPUT_LIMIT},
    [CAUSE_LOG_ERROR] = {"log-error", STATUS_OURS},
};

/* ---- text ---- */

static bool is_within(uint8_t byte, uint8_t first, uint8_t last)
{
    return first <= byte && byte <= last;
}

/* How many bytes the character there has; 0 for what is not UTF-8 (RFC 3629, section 4). The
 * terminating 0 is no byte of any character, so nothing behind it is looked at. */
static size_t character_bytes(const uint8_t *at)
{
    uint8_t lead = at[0], first = 0x80, last = 0xBF;
    if (lead < 0x80)
        return 1;
    size_t count = is_within(lead, 0xC2, 0xDF)   ? 2
                   : is_within(lead, 0xE0, 0xEF) ? 3
                   : is_within(lead, 0xF0, 0xF4) ? 4
                                                 : 0;
    if (lead == 0xE0)
        first = 0xA0; /* shorter forms exist */
    else if (lead == 0xF0)
        first = 0x90;
    else if (lead == 0xED)
        last = 0x9F; /* surrogates */
    else if (lead == 0xF4)
        last = 0x8F; /* beyond Unicode */
    if (count == 0 || !is_within(at[1], first, last))
        return 0;
    for (size_t i = 2; i < count; i++)
        if (!is_within(at[i], 0x80, 0xBF))
            return 0;
    return count;
}

/* What is not UTF-8 becomes \xNN: a record's text is readable rather than exact. Whole characters
 * only, as many as there is room for. */
static void make_readable(char *into, size_t size, const char *text)
{
    const uint8_t *from = (const uint8_t *)text;
    char *end = into + size - 1;
    while (*from) {
        size_t count = character_bytes(from), needed = count ? count : 4;
        if ((size_t)(end - into) < needed)
            break;
        if (count)
            memcpy(into, from, count);
        else
            sprintf(into, "\\x%02x", *from);
        into += needed;
        from += count ? count : 1;
    }
    *into = '\0';
}

/* ---- the set-up's report ---- */

/* What the status descriptor gave until its end (isolation/payload.py, parse_report): the byte
 * that says that the command runs, and nothing of a failure, or step, errno and text with a 0
 * between them. `report` has room for a byte more than `length`, and lives as long as the facts. */
void outcome_read_report(struct facts *facts, char *report, size_t length)
{
    report[length] = '\0';
    if (length == 1 && report[0] == EXECUTING)
        return;
    char *end = report + length, *step = report + (length && report[0] == EXECUTING);
    if (step == end) {
        facts->failed_step = "start";
        facts->failed_text = "it was killed before it could start";
        return;
    }
    char *number = step + strlen(step) + (step + strlen(step) < end);
    char *text = number + strlen(number) + (number + strlen(number) < end);
    facts->failed_step = step;
    facts->failed_errno = (int)strtol(number, NULL, 10);
    facts->failed_text = text;
    facts->is_exec_step = strcmp(step, EXEC_STEP) == 0;
}

/* ---- the verdict ---- */

static struct outcome ended(const char *reason, int status)
{
    return (struct outcome){.reason = reason, .exit_code = -1, .signal = -1, .exit_status = status};
}

/* The same with how the command itself ended. */
static struct outcome ended_by(const char *reason, int status, const struct outcome *natural)
{
    struct outcome outcome = ended(reason, status);
    outcome.exit_code = natural->exit_code;
    outcome.signal = natural->signal;
    return outcome;
}

/* How the command ended by itself: as `exit` or `signal`. */
static struct outcome decode(const struct facts *facts)
{
    struct outcome outcome = ended("exit", STATUS_OURS);
    if (facts->has_status && WIFSIGNALED(facts->wait_status)) {
        outcome.reason = "signal";
        outcome.signal = WTERMSIG(facts->wait_status);
        outcome.exit_status = STATUS_SIGNAL_BASE + outcome.signal;
        return outcome;
    }
    if (facts->has_status)
        outcome.exit_status = WEXITSTATUS(facts->wait_status);
    outcome.exit_code = outcome.exit_status;
    return outcome;
}

static void say_unstored(struct outcome *outcome, const struct facts *facts)
{
    uint64_t count = facts->dropped_bytes;
    snprintf(outcome->detail, sizeof outcome->detail, NOT_STORED ": %s; %" PRIu64 " byte%s dropped",
             strerror(facts->log_errno), count, count == 1 ? " was" : "s were");
}

static struct outcome launch_error(const struct facts *facts)
{
    int number = facts->failed_errno, status = STATUS_OURS;
    if (facts->is_exec_step)
        status = number == ENOENT || number == ENOTDIR ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
    struct outcome outcome = ended("launch-error", status);
    char text[MOST_TEXT];
    if (facts->is_exec_step)
        snprintf(text, sizeof text, "%s", facts->failed_text);
    else
        snprintf(text, sizeof text, "%s: %s", facts->failed_step, facts->failed_text);
    make_readable(outcome.detail, sizeof outcome.detail, text);
    return outcome;
}

/* Ended from outside: for whom or for what is known. */
static struct outcome ended_for(const struct facts *facts, const struct outcome *natural)
{
    struct outcome outcome =
        ended_by(CAUSES[facts->cause].reason, CAUSES[facts->cause].status, natural);
    if (facts->cause == CAUSE_STOPPED) {
        outcome.exit_status = natural->exit_status;
        outcome.has_stopper = facts->has_stopper;
        outcome.stopped_by = facts->stopped_by;
    } else if (facts->cause == CAUSE_LOG_ERROR) {
        say_unstored(&outcome, facts);
    }
    return outcome;
}

/* The reason for an end, in the order of causes: what ended it first is named. */
struct outcome outcome_judge(const struct facts *facts)
{
    struct outcome natural = decode(facts), outcome;
    if (facts->cause != CAUSE_NONE)
        return ended_for(facts, &natural);
    /* It had ended before it could be: its last output is lost, which is no success. */
    if (facts->excess)
        return ended_by("output-limit", STATUS_OUTPUT_LIMIT, &natural);
    if (facts->log_errno) {
        outcome = ended_by("log-error", STATUS_OURS, &natural);
        say_unstored(&outcome, facts);
        return outcome;
    }
    if (facts->oom_kills && natural.signal == SIGKILL) {
        outcome = ended_by("oom", natural.exit_status, &natural);
        if (!facts->hit_memory_limit)
            strcpy(outcome.detail, "the host ran out of memory");
        return outcome;
    }
    return facts->failed_step ? launch_error(facts) : natural;
}

/* The launch itself failed: nothing of the job ever ran. */
struct outcome outcome_never_started(const char *detail)
{
    struct outcome outcome = ended("launch-error", STATUS_OURS);
    make_readable(outcome.detail, sizeof outcome.detail, detail);
    return outcome;
}

/* The log could not even be begun: nothing of the job ever ran. */
struct outcome outcome_no_log(int number)
{
    struct outcome outcome = ended("log-error", STATUS_OURS);
    snprintf(outcome.detail, sizeof outcome.detail, NOT_STORED ": %s", strerror(number));
    return outcome;
}

/* What happened to it cannot be known: never reported as a success. */
struct outcome outcome_lost(const char *detail)
{
    struct outcome outcome = ended("lost", STATUS_OURS);
    make_readable(outcome.detail, sizeof outcome.detail, detail);
    return outcome;
}
