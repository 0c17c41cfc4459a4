/* One job from its payload's fork to its last byte of output. The monitor's working part.
 *
 * Waits in one poll for output, control records, ended children, the set-up's report and
 * deadlines. Decides nothing that watchdog.c or outcome.c decides; output is pump.c's.
 * runner/run_loop.py is the original, and each change to one is a change to both. In another order:
 * while the log's begin is written to the disk, where it has to be there before the command runs,
 * the payload sets itself up, and waits for a byte (`go`) before it announces the command.
 */

#include "native.h"

#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* After the end of a job whose log has no room: how long its last output waits for some. */
#define FULL_DISK_PATIENCE_NS (30 * NS_PER_S)
#define REAPED_AT_ONCE 256
/* What batch systems warn with; it ends a program that does not expect it. */
#define WARNING_SIGNAL SIGUSR1
/* The byte that announces the command, and the report of what failed after it. */
#define REPORT_BYTES (2 * MAX_REPORT_BYTES)
/* poll(2) counts on its own clock: one that wakes before the time would only have to wait again. */
#define MARGIN_SECONDS 1e-6
#define LONGEST_WAIT_SECONDS 1e6
enum { STDOUT = 1, STDERR };

enum control { CONTROL_STOP = 1, CONTROL_PAUSE, CONTROL_RESUME, CONTROL_UPDATE };

/* runner/records.py, CONTROL_RECORD. */
struct control_record {
    uint8_t kind, padding[3];
    uint32_t uid, grace_ms;
};

struct loop {
    const struct handles *handles;
    const struct job *job;
    struct limits limits; /* as they are now */
    struct log *log;
    struct pump *pump;
    struct watchdog dog;
    int children_fd, report_fd;
    bool has_more_children;
    pid_t payload;
    bool has_status;
    int wait_status;
    size_t report_length;
    char report[REPORT_BYTES + 1];
};

/* The monotonic clock, as watchdog.c counts. */
static double seconds_now(void)
{
    return (double)nanoseconds_of(CLOCK_MONOTONIC) / 1e9;
}

/* ---- what is done to the job ---- */

/* Kill every process of the job, whatever it forks meanwhile. cgroup.kill came with Linux 5.14;
 * kill(-1) from pid 1 of the namespace, which monitor_main makes sure of, is enough before it,
 * and reaches what a privileged job moved to another cgroup. */
static void kill_all(const struct handles *handles)
{
    cgroup_write(handles->payload_cgroup, "cgroup.kill", "1");
    kill(-1, SIGKILL);
}

static bool thaw(const struct handles *handles)
{
    return cgroup_write(handles->payload_cgroup, "cgroup.freeze", "0") == 0;
}

/* A signal of pid 1 of the namespace goes to every process of the job but this one. */
static void act(struct loop *loop, enum action action)
{
    switch (action) {
    case ACT_NOTHING:
        break;
    case ACT_WARN:
        kill(-1, loop->limits.warning_signal ? loop->limits.warning_signal : WARNING_SIGNAL);
        break;
    case ACT_TERMINATE:
        kill(-1, SIGTERM);
        /* A stopped process would only see it when somebody continued it, or thawed it. */
        kill(-1, SIGCONT);
        thaw(loop->handles);
        break;
    case ACT_KILL:
        kill_all(loop->handles);
        thaw(loop->handles);
        break;
    }
}

/* ---- the start ---- */

/* SIGCHLD, which the launcher ignores, becomes readable. Blocked signals are kept even for pid 1,
 * whose default it is to ignore them. The payload's last step unblocks it again. */
static int watch_children(void)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    signal(SIGCHLD, SIG_DFL);
    int fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* How many processors there are, on line or not: a bound on how fast CPU time can pass. Only a
 * limit of CPU time is worth the file that says it. */
static unsigned processors(const struct limits *limits)
{
    long count = isnan(limits->cpu_time_seconds) ? 1 : sysconf(_SC_NPROCESSORS_CONF);
    return count > 0 ? (unsigned)count : 1;
}

static int start(struct loop *loop, const struct request *request, struct spawned *spawned)
{
    int error = spawn_payload(request, loop->job, spawned);
    if (error)
        return error;
    loop->payload = spawned->pid;
    loop->report_fd = spawned->report;
    pump_add(loop->pump, spawned->stdout_fd, STDOUT);
    pump_add(loop->pump, spawned->stderr_fd, STDERR);
    return 0;
}

/* Once the log's begin is on disk, where no commit says instead that it may have run. Our read end
 * stays open until then: a write to a payload that failed is no error. */
static int let_go(struct loop *loop, const struct request *request, const struct spawned *spawned)
{
    if (!request->sync_begin)
        return 0;
    int error = log_sync_begin(loop->log);
    if (!error && write(spawned->go[1], "", 1) != 1)
        error = -errno;
    close(spawned->go[0]);
    close(spawned->go[1]);
    return error;
}

/* ---- what happens ---- */

/* Collect one ended child: the payload or an orphan of the namespace. False: none. */
static bool reap(struct loop *loop, int options)
{
    int status;
    pid_t pid;
    do
        pid = waitpid(-1, &status, options);
    while (pid < 0 && errno == EINTR);
    if (pid > 0 && pid == loop->payload) {
        loop->has_status = true;
        loop->wait_status = status;
    }
    return pid > 0;
}

static void on_children(struct loop *loop)
{
    struct signalfd_siginfo ignored;
    /* At most one is pending, for however many children. */
    if (read(loop->children_fd, &ignored, sizeof ignored) < 0 && errno != EAGAIN)
        return;
    /* A storm of orphans must not keep the loop from its deadlines: the rest comes next. */
    int reaped = 0;
    while (reaped < REAPED_AT_ONCE && reap(loop, WNOHANG))
        reaped++;
    loop->has_more_children = reaped == REAPED_AT_ONCE;
}

static void read_report(struct loop *loop)
{
    size_t room = REPORT_BYTES - loop->report_length;
    ssize_t count = read(loop->report_fd, loop->report + loop->report_length, room);
    if (count > 0) {
        loop->report_length += (size_t)count;
        return;
    }
    close(loop->report_fd);
    loop->report_fd = -1;
}

static void pause_job(struct loop *loop, double now)
{
    if (!watchdog_on_pause(&loop->dog, now))
        return;
    /* The kernel before 5.2 has no such file. Who asked sees that nothing froze. */
    if (cgroup_write(loop->handles->payload_cgroup, "cgroup.freeze", "1") < 0)
        watchdog_on_resume(&loop->dog, now);
}

/* What the job was promised before holds when its new limits cannot be read. */
static void update(struct loop *loop, double now)
{
    if (limits_read(&loop->limits, loop->handles->job_dir) < 0)
        return;
    loop->dog.cpus = processors(&loop->limits);
    watchdog_on_update(&loop->dog, now, &loop->limits);
    pump_follow(loop->pump, &loop->limits, &loop->job->logs);
}

/* A kind that is not known is a newer runnerd's: read over. */
static void read_control(struct loop *loop)
{
    struct control_record record;
    if (read(loop->handles->control, &record, sizeof record) != sizeof record)
        return;
    double now = seconds_now();
    switch (record.kind) {
    case CONTROL_STOP:
        act(loop, watchdog_on_stop(&loop->dog, now, record.uid, record.grace_ms / 1000.0));
        break;
    case CONTROL_PAUSE:
        pause_job(loop, now);
        break;
    case CONTROL_RESUME:
        if (thaw(loop->handles))
            watchdog_on_resume(&loop->dog, now);
        break;
    case CONTROL_UPDATE:
        update(loop, now);
        break;
    }
}

/* ---- the waiting ---- */

static double to_wait(const struct loop *loop)
{
    uint64_t retry_at = pump_retry_at(loop->pump);
    double at = watchdog_deadline(&loop->dog);
    double wait = isnan(at) ? LONGEST_WAIT_SECONDS : at - seconds_now() + MARGIN_SECONDS;
    double retry = (double)retry_at / 1e9 - seconds_now() + MARGIN_SECONDS;
    if (retry_at != NO_LIMIT && retry < wait)
        wait = retry;
    if (loop->has_more_children || wait < 0)
        return 0;
    return wait < LONGEST_WAIT_SECONDS ? wait : LONGEST_WAIT_SECONDS;
}

/* Wait for one round of events and act on each. */
static void wait_and_read(struct loop *loop)
{
    enum { CHILDREN, CONTROL, REPORT, OUTPUT, MOST = OUTPUT + 2 };
    int outputs[2], count = pump_wanted(loop->pump, outputs);
    struct pollfd ready[MOST] = {
        [CHILDREN] = {.fd = loop->children_fd, .events = POLLIN},
        [CONTROL] = {.fd = loop->handles->control, .events = POLLIN},
        [REPORT] = {.fd = loop->report_fd, .events = POLLIN}, /* below 0 it is passed over */
    };
    for (int i = 0; i < count; i++)
        ready[OUTPUT + i] = (struct pollfd){.fd = outputs[i], .events = POLLIN};
    double wait = to_wait(loop);
    struct timespec most = {.tv_sec = (time_t)wait};
    most.tv_nsec = (long)((wait - (double)most.tv_sec) * 1e9);
    bool is_any = ppoll(ready, (nfds_t)(OUTPUT + count), &most, NULL) > 0;
    if (loop->has_more_children || (is_any && ready[CHILDREN].revents))
        on_children(loop);
    if (is_any && ready[CONTROL].revents)
        read_control(loop);
    if (is_any && ready[REPORT].revents)
        read_report(loop);
    for (int i = 0; is_any && i < count; i++)
        if (ready[OUTPUT + i].revents)
            pump_readable(loop->pump, outputs[i]);
}

static double until_deadline(const struct job *job)
{
    return (double)(job->deadline_ns - (int64_t)nanoseconds_of(CLOCK_REALTIME)) / 1e9;
}

static void turn(struct loop *loop)
{
    struct watchdog *dog = &loop->dog;
    wait_and_read(loop);
    double now = seconds_now();
    pump_on_time(loop->pump, nanoseconds_of(CLOCK_MONOTONIC));
    act(loop, watchdog_on_time(dog, now));
    if (watchdog_wants_cpu(dog, now))
        act(loop, watchdog_on_cpu(dog, now, usage_cpu_seconds(loop->handles->payload_cgroup)));
    if (watchdog_wants_wall_clock(dog, now))
        act(loop, watchdog_on_wall_clock(dog, now, until_deadline(loop->job)));
    if (pump_excess(loop->pump))
        act(loop, watchdog_on_excess(dog, now));
    if (pump_lost_errno(loop->pump))
        act(loop, watchdog_on_log_error(dog, now));
}

/* ---- the end ---- */

/* The first process has ended: so does everything that it started. */
static void end_processes(struct loop *loop)
{
    /* Mostly nobody is left who could fork; what an exec brings in later ends with this process. */
    if (kill(-1, SIGKILL) == 0 || errno != ESRCH)
        act(loop, ACT_KILL);
    /* Blocks until the last one is gone; a stopped or sleeping one is killed as well. */
    while (reap(loop, 0))
        ;
}

static struct outcome judge(struct loop *loop)
{
    struct facts facts = {
        .has_status = loop->has_status,
        .wait_status = loop->wait_status,
        .cause = loop->dog.cause,
        .has_stopper = loop->dog.has_stopper,
        .stopped_by = loop->dog.stopped_by,
        .excess = pump_excess(loop->pump),
        .log_errno = pump_lost_errno(loop->pump),
        .dropped_bytes = log_dropped_bytes(loop->log),
    };
    usage_out_of_memory(loop->handles->payload_cgroup, &facts.oom_kills, &facts.hit_memory_limit);
    outcome_read_report(&facts, loop->report, loop->report_length);
    return outcome_judge(&facts);
}

/* To the nearest, and of two as near to the even one, as Python rounds. */
static uint64_t whole_nanoseconds(double seconds)
{
    double exact = seconds * 1e9;
    uint64_t whole = (uint64_t)exact;
    double rest = exact - (double)whole;
    return whole + (rest > 0.5 || (rest == 0.5 && whole % 2 == 1));
}

static struct outcome see_through(struct loop *loop)
{
    while (!loop->has_status)
        turn(loop);
    end_processes(loop);
    while (loop->report_fd >= 0)
        read_report(loop);
    pump_drain(loop->pump, nanoseconds_of(CLOCK_MONOTONIC) + FULL_DISK_PATIENCE_NS);
    return judge(loop);
}

/* ---- all of it ---- */

static struct outcome never_started(int error)
{
    char text[128];
    snprintf(text, sizeof text, "fork the payload: %s", strerror(-error));
    return outcome_never_started(text);
}

static void prepare(struct loop *loop, const struct request *request, const struct job *job,
                    struct log *log)
{
    loop->handles = &request->handles;
    loop->job = job;
    loop->limits = job->limits;
    loop->log = log;
    loop->pump = pump_new(log, job);
    loop->report_fd = -1;
    loop->payload = -1;
}

void loop_run(const struct request *request, const struct job *job, struct log *log,
              struct ending *ending)
{
    static struct loop the_loop;
    struct loop *loop = &the_loop;
    struct spawned spawned;
    prepare(loop, request, job, log);
    loop->children_fd = watch_children();
    if (loop->children_fd < 0) {
        ending->outcome = outcome_lost("its monitor failed: it cannot watch its children");
        return;
    }
    int error = start(loop, request, &spawned);
    ending->has_run = true;
    if (error) {
        ending->outcome = never_started(error);
        return;
    }
    error = let_go(loop, request, &spawned);
    if (error) {
        end_processes(loop);
        ending->has_run = false;
        ending->outcome = outcome_no_log(-error);
        return;
    }
    /* The job's clock: from when it runs on, however long the disk took until then. */
    watchdog_init(&loop->dog, seconds_now(), &job->limits, job->stop_grace_seconds,
                  processors(&job->limits), job->has_deadline);
    ending->outcome = see_through(loop);
    ending->paused_ns = whole_nanoseconds(watchdog_paused_seconds(&loop->dog, seconds_now()));
}
