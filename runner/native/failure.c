/* Texts of a failed step of the payload: what the monitor puts into the exit record. Pure.
 *
 * Theory of operation. A report is step, errno and text, with a zero byte between them, cut at
 * MAX_REPORT_BYTES. Of a path at most MAX_NAME_BYTES are shown: the reason comes after it and
 * must not be cut off. To the letter what isolation/payload.py says (`report_of`, `_text_of`),
 * whose `parse_report` is the monitor's (outcome.c). Names stay bytes, as the kernel has them.
 */
#include "payload.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_NAME_BYTES 200

int failure_of(struct failure *failure, int number)
{
    return failure_said(failure, number, "%s", strerror(number));
}

int failure_at(struct failure *failure, int number, const char *path, const char *why)
{
    const char *more = strnlen(path, MAX_NAME_BYTES + 1) > MAX_NAME_BYTES ? "..." : "";
    return failure_said(failure, number, "%.*s%s: %s", MAX_NAME_BYTES, path, more, why);
}

int failure_of_call(struct failure *failure, const char *path)
{
    int number = errno;
    return failure_at(failure, number, path, strerror(number));
}

int failure_said(struct failure *failure, int number, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    /* Cut, if it must be: a report has no room for more. */
    if (vsnprintf(failure->text, sizeof failure->text, format, arguments) < 0)
        failure->text[0] = '\0';
    va_end(arguments);
    failure->number = number;
    return -1;
}

size_t failure_report(char *report, const char *step, const struct failure *failure)
{
    char whole[MAX_REPORT_BYTES + 256];
    int length = snprintf(whole, sizeof whole, "%s%c%d%c%s", step, '\0', failure->number, '\0',
                          failure->text);
    size_t used = length < 0 ? 0 : (size_t)length;
    if (used > MAX_REPORT_BYTES)
        used = MAX_REPORT_BYTES;
    memcpy(report, whole, used);
    return used;
}
