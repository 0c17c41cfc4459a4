/* When a job must be warned, told to end, and made to. Pure.
 *
 * Time, requests and figures in, actions out; monitor.c carries them out. runner/watchdog.py is
 * the original, and each change to one is a change to both: tests/unit/native/test_watchdog.py
 * gives both the same events and wants the same answers. Times are seconds of the monotonic
 * clock in double precision, as Python has them; NAN is Python's None, and because no comparison
 * with a NAN is true, what is not due needs no question of its own.
 */

#include "native.h"

#include <math.h>

/* The CPU time is not looked at more often than this, so it may be passed by as much. */
#define SHORTEST_LOOK_SECONDS 0.01
/* The wall clock is looked at so often where there is a deadline by it. */
#define LONGEST_WALL_SECONDS 1.0

static bool is_past(double now, double when)
{
    return !isnan(when) && now >= when;
}

/* The earlier of two times, either of which may be none. */
static double earlier(double one, double other)
{
    if (isnan(one))
        return other;
    return other < one ? other : one;
}

/* ---- times, as if the clock went on from now ---- */

static double timeout_at(const struct watchdog *dog)
{
    return isnan(dog->timeout) ? NAN : dog->started + dog->paused_before + dog->timeout;
}

static double before_timeout(const struct watchdog *dog)
{
    return timeout_at(dog) - dog->warning; /* NAN when either is */
}

static double warning_at(const struct watchdog *dog)
{
    return dog->warned ? NAN : before_timeout(dog);
}

static double soon(const struct watchdog *dog, double now)
{
    return isnan(dog->cpu_time) ? NAN : now;
}

/* When at the earliest the CPU time can be used up. */
static double next_look(const struct watchdog *dog, double now, double used)
{
    if (isnan(dog->cpu_time))
        return NAN;
    double left = (dog->cpu_time - used) / dog->cpus;
    return now + (left < SHORTEST_LOOK_SECONDS ? SHORTEST_LOOK_SECONDS : left);
}

static double not_after_timeout(const struct watchdog *dog, double kill_at)
{
    return earlier(kill_at, timeout_at(dog) + dog->grace);
}

/* ---- the end ---- */

static enum action kill_if_due(struct watchdog *dog, double now)
{
    if (dog->killed || !is_past(now, dog->kill_at))
        return ACT_NOTHING;
    dog->killed = true;
    return ACT_KILL;
}

/* Begin to end the job, or shorten the grace of an end that has begun. */
static enum action end(struct watchdog *dog, double now, double grace, enum cause cause)
{
    /* The timeout stays a promise: a stop with a long grace must not lift it. */
    double kill_at = not_after_timeout(dog, now + grace);
    if (!isnan(dog->kill_at)) {
        dog->kill_at = earlier(dog->kill_at, kill_at);
        return kill_if_due(dog, now);
    }
    dog->cause = cause;
    dog->kill_at = kill_at;
    return kill_if_due(dog, now) == ACT_KILL ? ACT_KILL : ACT_TERMINATE;
}

static enum action end_unless_paused(struct watchdog *dog, double now, enum cause cause)
{
    return isnan(dog->paused_at) ? end(dog, now, dog->grace, cause) : ACT_NOTHING;
}

/* ---- the clock ---- */

static void take_bounds(struct watchdog *dog, const struct limits *limits)
{
    dog->timeout = limits->timeout_seconds;
    dog->warning = limits->warning_seconds;
    dog->cpu_time = limits->cpu_time_seconds;
}

void watchdog_init(struct watchdog *dog, double started, const struct limits *limits, double grace,
                   unsigned cpus, bool has_deadline)
{
    *dog = (struct watchdog){
        .started = started,
        .grace = grace,
        .cpus = cpus,
        .paused_at = NAN,
        .wall_look_at = has_deadline ? started : NAN,
        .kill_at = NAN,
    };
    take_bounds(dog, limits);
    dog->look_at = next_look(dog, started, 0.0);
}

/* For how long the job has been paused, all times together. */
double watchdog_paused_seconds(const struct watchdog *dog, double now)
{
    return dog->paused_before + (isnan(dog->paused_at) ? 0.0 : now - dog->paused_at);
}

/* Stop the clock. False: it goes on, because the job is ending or about to. */
bool watchdog_on_pause(struct watchdog *dog, double now)
{
    if (!isnan(dog->kill_at) || is_past(now, timeout_at(dog)))
        return false;
    if (isnan(dog->paused_at))
        dog->paused_at = now;
    return true;
}

/* Let the clock go on; harmless when it does. */
void watchdog_on_resume(struct watchdog *dog, double now)
{
    if (isnan(dog->paused_at))
        return;
    dog->paused_before += now - dog->paused_at;
    dog->paused_at = NAN;
    dog->look_at = soon(dog, now);
}

/* Other bounds from now on. What the job has used so far counts. A warning is given again when
 * its time is still to come; an end that has begun is never put off. */
void watchdog_on_update(struct watchdog *dog, double now, const struct limits *limits)
{
    take_bounds(dog, limits);
    dog->look_at = soon(dog, now);
    double clock = isnan(dog->paused_at) ? now : dog->paused_at;
    dog->warned = dog->warned && is_past(clock, before_timeout(dog));
    if (!isnan(dog->kill_at))
        dog->kill_at = not_after_timeout(dog, dog->kill_at);
}

/* ---- what is due ---- */

double watchdog_deadline(const struct watchdog *dog)
{
    if (dog->killed)
        return NAN;
    if (!isnan(dog->paused_at))
        return dog->wall_look_at;
    double looks = earlier(dog->look_at, dog->wall_look_at);
    if (!isnan(dog->kill_at))
        return earlier(dog->kill_at, looks);
    return earlier(earlier(timeout_at(dog), warning_at(dog)), looks);
}

enum action watchdog_on_time(struct watchdog *dog, double now)
{
    if (dog->killed || !isnan(dog->paused_at))
        return ACT_NOTHING;
    if (!isnan(dog->kill_at))
        return kill_if_due(dog, now);
    if (is_past(now, timeout_at(dog)))
        return end(dog, now, dog->grace, CAUSE_TIMEOUT);
    if (!is_past(now, warning_at(dog)))
        return ACT_NOTHING;
    dog->warned = true;
    return ACT_WARN;
}

bool watchdog_wants_cpu(const struct watchdog *dog, double now)
{
    return !dog->killed && isnan(dog->paused_at) && is_past(now, dog->look_at);
}

/* All of the job's processes have used that much CPU time. */
enum action watchdog_on_cpu(struct watchdog *dog, double now, double used)
{
    dog->look_at = next_look(dog, now, used);
    if (isnan(dog->cpu_time) || used < dog->cpu_time)
        return ACT_NOTHING;
    dog->look_at = NAN;
    return end(dog, now, dog->grace, CAUSE_CPU_TIME);
}

bool watchdog_wants_wall_clock(const struct watchdog *dog, double now)
{
    return !dog->killed && is_past(now, dog->wall_look_at);
}

/* By the wall clock so many seconds remain until the deadline. When none do a paused job goes
 * on, into its grace. */
enum action watchdog_on_wall_clock(struct watchdog *dog, double now, double remaining)
{
    if (remaining > 0) {
        dog->wall_look_at =
            now + (remaining < LONGEST_WALL_SECONDS ? remaining : LONGEST_WALL_SECONDS);
        return ACT_NOTHING;
    }
    dog->wall_look_at = NAN;
    watchdog_on_resume(dog, now);
    return end(dog, now, dog->grace, CAUSE_DEADLINE);
}

/* There is more output than may be kept: the job is to end, a paused one once it goes on. May be
 * said again and again. */
enum action watchdog_on_excess(struct watchdog *dog, double now)
{
    return end_unless_paused(dog, now, CAUSE_OUTPUT_LIMIT);
}

/* Output was dropped that should not have been; else as watchdog_on_excess. */
enum action watchdog_on_log_error(struct watchdog *dog, double now)
{
    return end_unless_paused(dog, now, CAUSE_LOG_ERROR);
}

/* Somebody asks for the end. Repeating it can only shorten the grace. */
enum action watchdog_on_stop(struct watchdog *dog, double now, uid_t uid, double grace)
{
    watchdog_on_resume(dog, now);
    if (isnan(dog->kill_at)) {
        dog->has_stopper = true;
        dog->stopped_by = uid;
    }
    return end(dog, now, grace, CAUSE_STOPPED);
}
