/* Parts of the payload beside isolation/payload.py. Question: a letter and texts with a zero byte
 * after each. 'r' STEP NUMBER PATH WHY: the report of a failure. 'x' PATH-OR-NOTHING WORD...: the
 * command is executed in a child; PATH with a "=" before it when there is one. 'l' RESOURCE SOFT
 * HARD: the limit is set in a child. The answer of both: the report of what failed, or the exit
 * status in decimal. */
#include "payload.h"

#include "frames.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_WORDS 16

struct words { char *word[MOST_WORDS + 1]; size_t count; };

static struct words words_of(struct frame frame)
{
    struct words words = {0};
    for (uint8_t *at = frame.data + 1; at < frame.data + frame.length;) {
        if (words.count == MOST_WORDS)
            exit(4);
        words.word[words.count++] = (char *)at;
        at += strlen((char *)at) + 1;
    }
    return words;
}

static void answer_report(const char *step, const struct failure *failure)
{
    char report[MAX_REPORT_BYTES];
    frame_write(report, failure_report(report, step, failure));
}

static void report(struct words words)
{
    struct failure failure;
    failure_at(&failure, atoi(words.word[1]), words.word[2], words.word[3]);
    answer_report(words.word[0], &failure);
}

static void execute(struct words words, struct failure *failure)
{
    char *none[] = {NULL};
    struct job job = {.argv = words.word + 1, .envp = none};
    job.path_variable = words.word[0][0] == '=' ? words.word[0] + 1 : NULL;
    command_execute(&job, command_search(&job), failure);
}

static int limit(struct words words, struct failure *failure)
{
    struct rlimit_entry entry = {
        atoi(words.word[0]),
        strtoull(words.word[1], NULL, 10),
        strtoull(words.word[2], NULL, 10),
    };
    return rlimit_set(&entry, failure);
}

/* In a child, whose limits and image are nobody else's. */
static void try(char kind, struct words words)
{
    struct failure failure = {0};
    int ends[2], status;
    if (pipe2(ends, O_CLOEXEC) < 0)
        exit(5);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(open("/dev/null", O_RDWR), 1);
        if (kind == 'l' && limit(words, &failure) == 0)
            _exit(0);
        if (kind == 'x')
            execute(words, &failure);
        _exit(write(ends[1], &failure, sizeof failure) < 0);
    }
    close(ends[1]);
    bool has_failed = read(ends[0], &failure, sizeof failure) == sizeof failure;
    close(ends[0]);
    waitpid(pid, &status, 0);
    char text[16];
    if (has_failed)
        answer_report("it", &failure);
    else
        frame_write(text, (size_t)snprintf(text, sizeof text, "%d", WEXITSTATUS(status)));
}

int main(void)
{
    for (;;) {
        struct frame frame = frame_read();
        struct words words = words_of(frame);
        if (frame.data[0] == 'r')
            report(words);
        else
            try((char)frame.data[0], words);
        free(frame.data);
    }
}
