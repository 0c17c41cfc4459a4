/* request.c and job.c beside runner/records.py. The first argument is a job's directory.
 *
 * Questions: 'q' and a request, which came with descriptors 100, 101 … of the number in the next
 * byte; 'j', whether there is a network ('1') and a filter ('1'), and a job's id; 'l', the limits.
 * Answers are lines of a name and a value: a number, or a text's bytes in hex. */
#include "frames.h"
#include "native.h"

#include <string.h>

static void say_text(FILE *to, const char *name, const char *text)
{
    fprintf(to, "%s ", name);
    say_hex(to, (const uint8_t *)text, strlen(text));
    fputc('\n', to);
}

static void say_texts(FILE *to, const char *name, char *const *texts)
{
    fprintf(to, "%s", name);
    for (; *texts != NULL; texts++) {
        fputs(" x", to);
        say_hex(to, (const uint8_t *)*texts, strlen(*texts));
    }
    fputc('\n', to);
}

static void say_handles(FILE *to, const struct handles *handles)
{
    fprintf(to, "handles %d %d %d %d %d %d %d %d\n", handles->job_dir, handles->log_dir,
            handles->control, handles->job_cgroup, handles->monitor_cgroup,
            handles->payload_cgroup, handles->network, handles->seccomp);
}

static void answer_request(FILE *to, const struct frame *frame)
{
    int fds[16];
    for (int each = 0; each < 16; each++)
        fds[each] = 100 + each;
    struct request request;
    int error = request_parse(&request, frame->data + 2, frame->length - 2, fds, frame->data[1]);
    fprintf(to, "error %d\nseq %llu\n", error, (unsigned long long)request.seq);
    if (error)
        return;
    say_text(to, "job", request.job);
    say_text(to, "terminals", request.terminals);
    say_handles(to, &request.handles);
    fprintf(to, "own_network %d\n", request.own_network);
    fprintf(to, "sync_begin %d\n", request.sync_begin);
    fprintf(to, "capabilities %llu\n", (unsigned long long)request.capabilities);
    for (size_t each = 0; each < request.rlimit_count; each++)
        fprintf(to, "rlimit%zu %d %llu %llu\n", each, request.rlimits[each].resource,
                (unsigned long long)request.rlimits[each].soft,
                (unsigned long long)request.rlimits[each].hard);
}

static void say_limits(FILE *to, const struct limits *limits)
{
    fprintf(to, "timeout_seconds %.17g\nwarning_seconds %.17g\ncpu_time_seconds %.17g\n",
            limits->timeout_seconds, limits->warning_seconds, limits->cpu_time_seconds);
    fprintf(to, "warning_signal %d\noutput_max_bytes %llu\noutput_policy %d\n",
            limits->warning_signal, (unsigned long long)limits->output_max_bytes,
            limits->output_policy);
}

static void say_job(FILE *to, const struct job *job)
{
    say_texts(to, "argv", job->argv);
    say_texts(to, "envp", job->envp);
    say_text(to, "path", job->path_variable == NULL ? "(none)" : job->path_variable);
    say_text(to, "cwd", job->cwd);
    say_text(to, "hostname", job->hostname);
    fprintf(to, "umask %u\nuid %u\ngid %u\ngroups", job->umask, job->uid, job->gid);
    for (size_t each = 0; each < job->group_count; each++)
        fprintf(to, " %u", job->groups[each]);
    fprintf(to, "\nown_sys %d\nscratch_max_bytes %llu\n", job->own_sys,
            (unsigned long long)job->scratch_max_bytes);
    say_limits(to, &job->limits);
    fprintf(to, "logs %llu %llu %llu %d\n", (unsigned long long)job->logs.segment_bytes,
            (unsigned long long)job->logs.keep_bytes, (unsigned long long)job->logs.keep_segments,
            job->logs.on_full);
    fprintf(to, "stop_grace_seconds %.17g\nhas_deadline %d\ndeadline_ns %lld\n",
            job->stop_grace_seconds, job->has_deadline, (long long)job->deadline_ns);
}

static void answer_job(FILE *to, const struct frame *frame, int directory)
{
    struct request request = {.handles = {.job_dir = directory, .network = -1, .seccomp = -1}};
    request.handles.network = frame->data[1] == '1' ? 1000 : -1;
    request.handles.seccomp = frame->data[2] == '1' ? 1000 : -1;
    memcpy(request.job, frame->data + 3, frame->length - 3);
    struct job job;
    char *why = calloc(1, 300);
    int error = job_read(&job, &request, why, 300);
    fprintf(to, "error %d\n", error);
    if (error)
        say_text(to, "why", why);
    else
        say_job(to, &job);
    free(why);
}

static void answer_limits(FILE *to, int directory)
{
    struct limits limits = {.warning_signal = 77};
    fprintf(to, "error %d\n", limits_read(&limits, directory));
    say_limits(to, &limits);
}

int main(int argc, char **argv)
{
    int directory = argc == 2 ? atoi(argv[1]) : -1;
    for (;;) {
        struct frame frame = frame_read();
        struct answer answer;
        answer_begin(&answer);
        if (frame.data[0] == 'q')
            answer_request(answer.file, &frame);
        else if (frame.data[0] == 'j')
            answer_job(answer.file, &frame, directory);
        else
            answer_limits(answer.file, directory);
        answer_send(&answer);
        free(frame.data);
    }
}
