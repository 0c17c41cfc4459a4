/* The frames that the native runctl sends: those that client/submission.py and
 * client/logstream.py make of the same.
 */
#include "runctl.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_ascii(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

/* Text of the operating system: a str where it surely is UTF-8, else bytes. */
static void pack_os_text(struct writer *to, const char *text, size_t length)
{
    if (is_ascii(text, length))
        pack_str(to, text, length);
    else
        pack_bin(to, text, length);
}

/* Where the body of a frame begins; frame_end() then writes its length. */
static uint8_t *frame_begin(struct writer *to, unsigned id, const char *op)
{
    uint8_t *header = to->at;
    if ((size_t)(to->end - to->at) < HEADER)
        to->is_full = true;
    else
        to->at += HEADER;
    pack_map(to, 3);
    pack_word(to, "id");
    pack_uint(to, id);
    pack_word(to, "op");
    pack_word(to, op);
    pack_word(to, "args");
    return header;
}

static void frame_end(struct writer *to, uint8_t *header)
{
    if (to->is_full)
        return;
    uint32_t length = (uint32_t)(to->at - header - HEADER);
    for (int i = 0; i < HEADER; i++)
        header[i] = (uint8_t)(length >> (24 - 8 * i));
}

static bool pack_arguments(struct writer *to, char **command, size_t *total)
{
    uint32_t count = 0;
    while (command[count] != NULL)
        count++;
    if (count > MAX_ARGUMENTS)
        return false;
    pack_array(to, count);
    for (uint32_t i = 0; i < count; i++) {
        size_t length = strlen(command[i]);
        *total += length;
        if (length > MAX_ARGUMENT || *total > MAX_TOTAL)
            return false;
        pack_os_text(to, command[i], length);
    }
    return true;
}

/* A variable twice: which of them counts is the interpreter's to know. */
static bool is_repeated(char **environment, size_t index, size_t name_length)
{
    for (size_t i = 0; i < index; i++)
        if (strncmp(environment[i], environment[index], name_length + 1) == 0)
            return true;
    return false;
}

static bool pack_environment(struct writer *to, char **environment, size_t *total)
{
    uint32_t count = 0;
    while (environment[count] != NULL)
        count++;
    /* Comparing each with each stays cheap. */
    if (count > MAX_VARIABLES / 8)
        return false;
    pack_map(to, count);
    for (uint32_t i = 0; i < count; i++) {
        const char *item = environment[i], *equals = strchr(item, '=');
        size_t length = strlen(item);
        *total += length;
        if (equals == NULL || equals == item || length > MAX_ARGUMENT || *total > MAX_TOTAL ||
            is_repeated(environment, i, (size_t)(equals - item)))
            return false;
        pack_os_text(to, item, (size_t)(equals - item));
        pack_os_text(to, equals + 1, length - (size_t)(equals - item) - 1);
    }
    return true;
}

bool pack_submission(struct writer *to, const struct asked *asked)
{
    char directory[PATH_MAX];
    size_t total = 0;
    if (getcwd(directory, sizeof directory) == NULL || directory[0] != '/')
        return false;
    mode_t mask = umask(0);
    umask(mask);
    uint8_t *header = frame_begin(to, SUBMIT_ID, "submit");
    pack_map(to, 4 + (asked->name != NULL) + (asked->memory != 0));
    pack_word(to, "argv");
    if (!pack_arguments(to, asked->command, &total))
        return false;
    pack_word(to, "cwd");
    pack_os_text(to, directory, strlen(directory));
    pack_word(to, "env");
    if (!pack_environment(to, environ, &total))
        return false;
    pack_word(to, "umask");
    pack_uint(to, mask);
    if (asked->name != NULL) {
        pack_word(to, "name");
        pack_word(to, asked->name);
    }
    if (asked->memory != 0) {
        pack_word(to, "limits");
        pack_map(to, 1);
        pack_word(to, "memory_max_bytes");
        pack_uint(to, asked->memory);
    }
    frame_end(to, header);
    return !to->is_full;
}

void pack_hello(struct writer *to)
{
    uint8_t *header = frame_begin(to, HELLO_ID, "hello");
    pack_map(to, 2);
    pack_word(to, "protocol");
    pack_uint(to, 1);
    pack_word(to, "client");
    pack_word(to, "runctl " RUNNERD_VERSION);
    frame_end(to, header);
}

void pack_logs(struct writer *to, const char *job)
{
    uint8_t *header = frame_begin(to, LOGS_ID, "logs");
    pack_map(to, 4);
    pack_word(to, "job");
    pack_word(to, job);
    pack_word(to, "cursor");
    pack_uint(to, 0);
    pack_word(to, "follow");
    pack_bool(to, true);
    pack_word(to, "credit");
    pack_uint(to, WINDOW_EVENTS);
    frame_end(to, header);
}

void pack_status(struct writer *to, const char *job)
{
    uint8_t *header = frame_begin(to, STATUS_ID, "status");
    pack_map(to, 1);
    pack_word(to, "job");
    pack_word(to, job);
    frame_end(to, header);
}

void pack_credit(struct writer *to, unsigned events)
{
    uint8_t *header = frame_begin(to, LOGS_ID, "credit");
    pack_map(to, 1);
    pack_word(to, "events");
    pack_uint(to, events);
    frame_end(to, header);
}
