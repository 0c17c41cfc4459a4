/* watchdog.c beside runner/watchdog.py. Question: the beginning on a line, `started timeout
 * warning cpu_time grace cpus has_deadline` (nan: none), and an event on each one that follows,
 * `letter now …`. Answer: for each line what to do, and all that can be asked. */
#include "native.h"

#include "frames.h"

#include <math.h>
#include <string.h>

static int on_event(struct watchdog *dog, const char *line)
{
    char event;
    double now, number = NAN;
    struct limits limits = {0};
    unsigned uid = 0;
    sscanf(line, "%c %lf", &event, &now);
    switch (event) {
    case 'p':
        return watchdog_on_pause(dog, now);
    case 'r':
        watchdog_on_resume(dog, now);
        return 0;
    case 'u':
        sscanf(line, "u %*f %lf %lf %lf", &limits.timeout_seconds, &limits.warning_seconds,
               &limits.cpu_time_seconds);
        watchdog_on_update(dog, now, &limits);
        return 0;
    case 't':
        return watchdog_on_time(dog, now);
    case 'c':
        sscanf(line, "c %*f %lf", &number);
        return watchdog_on_cpu(dog, now, number);
    case 'w':
        sscanf(line, "w %*f %lf", &number);
        return watchdog_on_wall_clock(dog, now, number);
    case 'x':
        return watchdog_on_excess(dog, now);
    case 'l':
        return watchdog_on_log_error(dog, now);
    case 's':
        sscanf(line, "s %*f %u %lf", &uid, &number);
        return watchdog_on_stop(dog, now, uid, number);
    }
    exit(4);
}

static void say(FILE *to, const struct watchdog *dog, int action, double now)
{
    fprintf(to, "%d %d %a %a %d %d ", action, dog->cause, watchdog_deadline(dog),
            watchdog_paused_seconds(dog, now), watchdog_wants_cpu(dog, now),
            watchdog_wants_wall_clock(dog, now));
    if (dog->has_stopper)
        fprintf(to, "%u\n", dog->stopped_by);
    else
        fprintf(to, "-\n");
}

static void begin(struct watchdog *dog, const char *line, double *started)
{
    struct limits limits = {0};
    double grace;
    unsigned cpus, has_deadline;
    if (sscanf(line, "%lf %lf %lf %lf %lf %u %u", started, &limits.timeout_seconds,
               &limits.warning_seconds, &limits.cpu_time_seconds, &grace, &cpus,
               &has_deadline) != 7)
        exit(4);
    watchdog_init(dog, *started, &limits, grace, cpus, has_deadline);
}

int main(void)
{
    for (;;) {
        struct frame frame = frame_read();
        char *text = strndup((const char *)frame.data, frame.length), *rest = text;
        struct watchdog dog;
        struct answer answer;
        double now;
        answer_begin(&answer);
        begin(&dog, strsep(&rest, "\n"), &now);
        say(answer.file, &dog, 0, now);
        for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
            int action = on_event(&dog, line);
            sscanf(line, "%*c %lf", &now);
            say(answer.file, &dog, action, now);
        }
        answer_send(&answer);
        free(text);
        free(frame.data);
    }
}
