/* A resource limit of the job, and the words for one that cannot be. isolation/rlimits.py.
 *
 * Bounds and names of a request are checked in runnerd (runner/message_limits.py).
 */
#include "payload.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

/* In the order of their numbers, asm-generic/resource.h. */
static const char *const names[MAX_RLIMITS] = {
    "cpu",     "fsize", "data",  "stack",      "core",     "rss",  "nproc",  "nofile",
    "memlock", "as",    "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime",
};

#define SHOWN_BYTES 24
#define TOO_MANY_FILES \
    "it is above fs.nr_open, or above runnerd's own and runnerd lacks CAP_SYS_RESOURCE"
#define TOO_HIGH "it is above runnerd's own, and runnerd lacks CAP_SYS_RESOURCE"

static const char *shown(char text[SHOWN_BYTES], uint64_t value)
{
    if (value == NO_LIMIT)
        return "unlimited";
    snprintf(text, SHOWN_BYTES, "%" PRIu64, value);
    return text;
}

static int refused(const struct rlimit_entry *wanted, struct failure *failure)
{
    char soft[SHOWN_BYTES], hard[SHOWN_BYTES], now[SHOWN_BYTES];
    struct rlimit present = {RLIM_INFINITY, RLIM_INFINITY};
    const char *name = names[wanted->resource];
    const char *first = shown(soft, wanted->soft), *second = shown(hard, wanted->hard);
    getrlimit(wanted->resource, &present);
    if (wanted->soft > wanted->hard) /* unlimited is the largest number */
        return failure_said(failure, EINVAL,
                            "the limit %s cannot be %s:%s: the soft limit is above the hard one",
                            name, first, second);
    return failure_said(failure, EPERM, "the limit %s cannot be %s:%s: %s (%s)", name, first,
                        second, wanted->resource == RLIMIT_NOFILE ? TOO_MANY_FILES : TOO_HIGH,
                        shown(now, present.rlim_max));
}

int rlimit_set(const struct rlimit_entry *wanted, struct failure *failure)
{
    struct rlimit limit = {wanted->soft, wanted->hard};
    if (wanted->resource < 0 || wanted->resource >= MAX_RLIMITS)
        return failure_said(failure, EINVAL, "%d is not a resource limit", wanted->resource);
    return setrlimit(wanted->resource, &limit) < 0 ? refused(wanted, failure) : 0;
}
