/* The native launcher: launcher, monitor and payload of plain jobs in one small static program.
 *
 * Theory of operation. runnerd starts it beside the Python launcher and sends it the same
 * requests over the same kind of SEQPACKET pair (runner/launcher.py), for jobs that
 * runner/native_jobs.py calls plain. It clones the monitor (monitor.c) into the job's cgroup as
 * pid 1 of a PID namespace; the monitor forks the payload (payload.c) into another. Nothing is
 * executed between them, so a monitor is a few private pages. Files, records, control bytes and
 * words are those of the Python monitor (runner/monitor.py): whoever reads them cannot tell
 * which of the two wrote them, and each change to one is a change to both.
 *
 * Rules. One thread. No allocation after a monitor's start but the arena of its job (job.c).
 * What comes from outside (a request, a spec, limits) is bounded before it is used. A function
 * returns 0 or a descriptor or a count, or -errno. No global state but `const`.
 */
#ifndef RUNNERD_NATIVE_H
#define RUNNERD_NATIVE_H

#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* What `runnerd-launch --version` says. Another after each change of what a request asks for, a
 * spec says or a record holds: runnerd uses no program of another (runner/native_jobs.py). */
#define NATIVE_VERSION "2"

#define RECORD_VERSION 1 /* runner/records.py */

#define NS_PER_S 1000000000ULL
#define NO_LIMIT UINT64_MAX

/* What a clock of clock_gettime(2) shows now. */
static inline uint64_t nanoseconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

#include "../../client/native/pack.h"

/* ---- job.c: what a request and a spec say (docs: runner/spec.py, runner/handles.py) ---- */

#define MAX_REQUEST_BYTES 8192
#define MAX_SPEC_BYTES (8 * 1024 * 1024)
#define MAX_RLIMITS 16
#define MAX_GROUPS 65536
#define JOB_ID_BYTES 64

struct handles { /* -1: there is none */
    int job_dir, log_dir, control, job_cgroup, monitor_cgroup, payload_cgroup;
    int network; /* a network namespace to enter; -1: stay in the host's */
    int seccomp; /* a file that holds a BPF program */
    int daemon;  /* a pidfd of runnerd (daemon.c), which no request carries; -1: unknown */
};

struct rlimit_entry { int resource; uint64_t soft, hard; }; /* NO_LIMIT: RLIM_INFINITY */

/* A launch request. `seq` and `kind` come back in the answer. */
struct request {
    uint64_t seq;
    char job[JOB_ID_BYTES];
    struct handles handles;
    bool own_network;       /* none was sent, and one of its own is wanted (spec: network none) */
    bool sync_begin;        /* nothing else on the disk says that it was launched; see loop.c */
    uint64_t capabilities;  /* bits that the job keeps (isolation.capabilities.of_job) */
    char terminals[64];     /* options of its devpts (isolation.files.dev_nodes) */
    size_t rlimit_count;
    struct rlimit_entry rlimits[MAX_RLIMITS];
};

enum output_policy { OUTPUT_KEEP, OUTPUT_END, OUTPUT_BLOCK }; /* KEEP: newest kept, or no bound */
enum on_full { FULL_WAIT, FULL_DROP, FULL_END };

struct limits { /* of the spec, or of the file `limits` after an update */
    double timeout_seconds, warning_seconds, cpu_time_seconds; /* NAN: none */
    int warning_signal;                                        /* 0: the usual one */
    uint64_t output_max_bytes;                                 /* NO_LIMIT: none */
    enum output_policy output_policy;
};

struct log_options { uint64_t segment_bytes, keep_bytes, keep_segments; enum on_full on_full; };

struct job {
    char **argv, **envp;      /* terminated arrays of terminated strings, as execve(2) wants them */
    const char *path_variable; /* PATH of the environment, or NULL */
    const char *cwd, *hostname;
    unsigned umask;
    uid_t uid;
    gid_t gid;
    size_t group_count;
    gid_t *groups;
    bool own_sys;              /* network is not the host's: /sys is mounted afresh */
    uint64_t scratch_max_bytes; /* NO_LIMIT: none */
    struct limits limits;
    struct log_options logs;
    double stop_grace_seconds;
    bool has_deadline;
    int64_t deadline_ns;       /* Unix time */
};

/* -EBADMSG: not such a request, or one with a field that is not known (a newer runnerd's); `seq`
 * is then what it is, if that can be told, or 0. */
int request_parse(struct request *into, const uint8_t *data, size_t length, const int *fds, size_t fd_count);
/* Read `spec` below the job's directory into an arena that stays mapped. `why` gets a text of at
 * most `size` bytes for people when it cannot be used (a spec of another job, not a plain job). */
int job_read(struct job *into, const struct request *request, char *why, size_t size);
/* The file `limits`, which an update wrote. The old ones stay when it cannot be read. */
int limits_read(struct limits *into, int job_dir);

/* ---- log.c: the segment writer. Semantics to the letter: runner/logs/writer.py ---- */

struct log; /* opaque; one a process, static memory */
/* NULL: it was not begun, and *error is -errno. */
struct log *log_begin(int dir_fd, uint64_t segment_bytes, uint64_t keep_bytes, uint64_t keep_segments, int *error);
/* As writer.py's fsync of the directory at its begin: the sign that the job may have run. Not for
 * every job; log_close syncs the names of a log with output where this did not. */
int log_sync_begin(struct log *log);
void log_retain(struct log *log, uint64_t segment_bytes, uint64_t keep_bytes, uint64_t keep_segments);
int log_append(struct log *log, int stream, const void *data, size_t length, uint64_t time_ns);
void log_skip(struct log *log, uint64_t count);
uint64_t log_total_bytes(const struct log *log);
uint64_t log_dropped_bytes(const struct log *log);
int log_close(struct log *log);

/* ---- pump.c: pipes into the log. Semantics: runner/pump.py ---- */

struct pump; /* opaque; one a process, static memory */
struct pump *pump_new(struct log *log, const struct job *job);
void pump_follow(struct pump *pump, const struct limits *limits, const struct log_options *logs);
void pump_add(struct pump *pump, int fd, int stream); /* takes the descriptor over; stream 1 or 2 */
/* Descriptors that it wants to read now, for poll(2): how many of the at most 2 were written. */
int pump_wanted(const struct pump *pump, int fds[2]);
void pump_readable(struct pump *pump, int fd);
void pump_on_time(struct pump *pump, uint64_t now_ns);
uint64_t pump_retry_at(const struct pump *pump); /* monotonic ns; NO_LIMIT: not waiting */
void pump_drain(struct pump *pump, uint64_t deadline_ns);
bool pump_excess(const struct pump *pump);
int pump_lost_errno(const struct pump *pump);
/* The plan of an output, pure: plan_output of runner/pump.py. most NO_LIMIT: no end. */
struct output_plan { uint64_t most; bool discards; uint64_t segment_bytes, keep_bytes, keep_segments; enum on_full on_full; };
struct output_plan plan_output(const struct limits *limits, const struct log_options *logs);

/* ---- watchdog.c: pure. Semantics to the letter: runner/watchdog.py, in double seconds ---- */

enum action { ACT_NOTHING, ACT_WARN, ACT_TERMINATE, ACT_KILL };
enum cause { CAUSE_NONE, CAUSE_STOPPED, CAUSE_TIMEOUT, CAUSE_DEADLINE, CAUSE_CPU_TIME, CAUSE_OUTPUT_LIMIT, CAUSE_LOG_ERROR };

struct watchdog {
    double started, timeout, warning, cpu_time, grace; /* NAN: none */
    unsigned cpus;
    double paused_at, paused_before, look_at, wall_look_at, kill_at; /* NAN: none */
    bool warned, killed;
    enum cause cause;
    bool has_stopper;
    uid_t stopped_by;
};

void watchdog_init(struct watchdog *dog, double started, const struct limits *limits, double grace, unsigned cpus, bool has_deadline);
double watchdog_paused_seconds(const struct watchdog *dog, double now);
bool watchdog_on_pause(struct watchdog *dog, double now);
void watchdog_on_resume(struct watchdog *dog, double now);
void watchdog_on_update(struct watchdog *dog, double now, const struct limits *limits);
double watchdog_deadline(const struct watchdog *dog); /* NAN: nothing is due */
enum action watchdog_on_time(struct watchdog *dog, double now);
bool watchdog_wants_cpu(const struct watchdog *dog, double now);
enum action watchdog_on_cpu(struct watchdog *dog, double now, double used);
bool watchdog_wants_wall_clock(const struct watchdog *dog, double now);
enum action watchdog_on_wall_clock(struct watchdog *dog, double now, double remaining);
enum action watchdog_on_excess(struct watchdog *dog, double now);
enum action watchdog_on_log_error(struct watchdog *dog, double now);
enum action watchdog_on_stop(struct watchdog *dog, double now, uid_t uid, double grace);

/* ---- outcome.c: pure. Semantics to the letter: runner/outcome.py ---- */

struct facts {
    bool has_status;
    int wait_status;
    uint64_t oom_kills;
    bool hit_memory_limit;
    enum cause cause;
    bool has_stopper;
    uid_t stopped_by;
    bool excess;
    int log_errno;
    uint64_t dropped_bytes;
    const char *failed_step; /* NULL: none failed */
    int failed_errno;
    const char *failed_text;
    bool is_exec_step;
};

struct outcome {
    const char *reason;
    int exit_code, signal;   /* -1: nil */
    int exit_status;
    char detail[2600];       /* "": nil; UTF-8 (what is not becomes \xNN, as in records.pack) */
    bool has_stopper;
    uid_t stopped_by;
};

struct outcome outcome_judge(const struct facts *facts);
/* Into the `failed` fields: parse_report of isolation/payload.py. `report` has room for a byte more
 * than `length`, and must live as long as the facts. */
void outcome_read_report(struct facts *facts, char *report, size_t length);
struct outcome outcome_never_started(const char *detail);
struct outcome outcome_no_log(int number);
struct outcome outcome_lost(const char *detail);

/* ---- usage.c: figures of the job's cgroups. Semantics: runner/usage.py ---- */

#define UNKNOWN UINT64_MAX
/* Writes the 14 pairs of read_usage in their order: names and numbers or nil. */
#define USAGE_PAIRS 14
void usage_pack(struct writer *to, int job_cgroup, int payload_cgroup);
double usage_cpu_seconds(int payload_cgroup);
void usage_out_of_memory(int payload_cgroup, uint64_t *kills, bool *hit_own_limit);
int cgroup_write(int cgroup, const char *name, const char *text);

/* ---- record.c: the exit record (runner/monitor.py, `_fields` and `_write_exit`) ---- */

struct ending {
    struct outcome outcome;
    uint64_t started_unix_ns, started_ns; /* of the wall clock, of the monotonic one */
    bool has_log;                         /* the two below are known */
    uint64_t log_bytes, log_dropped_bytes;
    bool has_run;                         /* there was a loop, which knows of pauses */
    uint64_t paused_ns;
};

int record_write(const struct request *request, const struct ending *ending);

/* ---- daemon.c: whether runnerd lives (runner/daemon_watch.py) ---- */

/* A pidfd of the parent, if it is who made the other end of `channel`; else -1. */
int daemon_watch(int channel);
/* False for -1: then nobody is known to take care of what the monitor leaves. */
bool daemon_lives(int pidfd);

/* ---- spawn.c: the payload's fork (runner/run_loop.py, `_start`) ---- */

struct spawned {
    pid_t pid;
    int stdout_fd, stderr_fd, report; /* read ends */
    int go[2];                        /* both ends of the pipe that it waits at; -1: it need not */
};

/* Fork the payload into its cgroup. Of what it enters nothing is left open here. -errno. */
int spawn_payload(const struct request *request, const struct job *job, struct spawned *into);

/* ---- loop.c: runner/run_loop.py ---- */

/* Run the job to its end, by way of its `outcome`, `has_run` and `paused_ns`. The log is left to
 * the caller to close, unless `has_run` is false: then it is gone. */
void loop_run(const struct request *request, const struct job *job, struct log *log,
              struct ending *ending);

/* ---- monitor.c: runner/monitor.py ---- */

/* Never returns. The caller has just cloned; every descriptor but the request's is closed first. */
_Noreturn void monitor_main(const struct request *request);

/* ---- payload.c (its parts: payload.h): isolation/payload.py for a tree of the host ---- */

#define MAX_REPORT_BYTES 512
struct streams { int stdin_fd, stdout_fd, stderr_fd, status, go; };

/* Set up and execute. `go` is a pipe from the monitor: one byte is read from it just before the
 * command is announced, so that the log's begin is on disk before anything of the job runs while
 * the set-up goes on meanwhile; end-of-file there means that the monitor gave up: exit. -1: the
 * begin need not be on disk. */
_Noreturn void payload_execute(const struct request *request, const struct job *job, const struct streams *streams);

/* ---- signals.c: the only place where a signal is ignored or given back ---- */

/* When the launcher starts: all that it inherited becomes the default, none is blocked; SIGCHLD,
 * SIGINT, SIGPIPE and SIGXFSZ are ignored. 0 or -errno. */
int signals_begin(void);
/* Before an exec: all are the default again, none is blocked. A monitor that wants SIGCHLD sets
 * it to SIG_DFL or to a handler; both end with the exec. */
int signals_end(void);

/* ---- network.c: network namespaces with a loopback that is up, made ahead of time ---- */

#define NETWORKS_READY 4

struct network_pool {
    int fds[NETWORKS_READY];
    int count;
    int host;
    bool has_failed;  /* nothing is made ahead then: the next who asks tries again and hears it */
    const char *step; /* which failed, for people */
};
int network_pool_init(struct network_pool *pool);
/* A descriptor that is the caller's; made at once when none is ready. */
int network_take(struct network_pool *pool);
/* Make one more if there is room; called when no request waits. False: full, or it failed. */
bool network_fill(struct network_pool *pool);

#endif
