/* outcome.c beside runner/outcome.py. Question: a line and bytes behind it. `judge` and numbers,
 * then the set-up's report; or `lost`, `never` or `log` and an errno, then the detail. Answer: the
 * verdict on a line, - for nil, and its detail behind that. */
#include "native.h"

#include "frames.h"

#include <inttypes.h>
#include <string.h>

static struct outcome judge(const char *line, const char *rest, size_t length)
{
    struct facts facts = {0};
    int has_status, hit, cause, excess;
    long stopper;
    if (sscanf(line, "judge %d %d %" SCNu64 " %d %d %ld %d %d %" SCNu64, &has_status,
               &facts.wait_status, &facts.oom_kills, &hit, &cause, &stopper, &excess,
               &facts.log_errno, &facts.dropped_bytes) != 9)
        exit(4);
    facts.has_status = has_status;
    facts.hit_memory_limit = hit;
    facts.cause = (enum cause)cause;
    facts.has_stopper = stopper >= 0;
    facts.stopped_by = (uid_t)stopper;
    facts.excess = excess;
    char *report = malloc(length + 1);
    memcpy(report, rest, length);
    outcome_read_report(&facts, report, length);
    struct outcome outcome = outcome_judge(&facts);
    free(report);
    return outcome;
}

static struct outcome other(const char *line, const char *detail)
{
    int number = 0;
    if (strncmp(line, "lost", 4) == 0)
        return outcome_lost(detail);
    if (strncmp(line, "never", 5) == 0)
        return outcome_never_started(detail);
    if (sscanf(line, "log %d", &number) != 1)
        exit(4);
    return outcome_no_log(number);
}

static void say_number(FILE *to, bool is_known, unsigned number)
{
    if (is_known)
        fprintf(to, " %u", number);
    else
        fprintf(to, " -");
}

static void say(FILE *to, const struct outcome *outcome)
{
    fprintf(to, "%s %d", outcome->reason, outcome->exit_status);
    say_number(to, outcome->exit_code >= 0, (unsigned)outcome->exit_code);
    say_number(to, outcome->signal >= 0, (unsigned)outcome->signal);
    say_number(to, outcome->has_stopper, outcome->stopped_by);
    fprintf(to, "\n%s", outcome->detail);
}

int main(void)
{
    for (;;) {
        struct frame frame = frame_read();
        char *line = malloc(frame.length + 1), *rest;
        struct answer answer;
        memcpy(line, frame.data, frame.length);
        line[frame.length] = '\0';
        rest = strchr(line, '\n');
        *rest++ = '\0';
        struct outcome outcome = strncmp(line, "judge", 5) == 0
                                     ? judge(line, rest, frame.length - (size_t)(rest - line))
                                     : other(line, rest);
        answer_begin(&answer);
        say(answer.file, &outcome);
        answer_send(&answer);
        free(line);
        free(frame.data);
    }
}
