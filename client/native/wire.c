/* The connection to runnerd, and looking into its answers. docs/PROTOCOL.md. */
#include "runctl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* client/connection.py */
enum { GREETING_SECONDS = 10 };

static uint8_t frame_buffer[HEADER + MAX_FRAME];

static bool send_all(int fd, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t count = send(fd, data, length, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        data += count;
        length -= (size_t)count;
    }
    return true;
}

bool send_packed(int fd, const struct writer *packed, const uint8_t *start)
{
    return !packed->is_full && send_all(fd, start, (size_t)(packed->at - start));
}

static bool receive_all(int fd, uint8_t *into, size_t length)
{
    while (length > 0) {
        ssize_t count = recv(fd, into, length, 0);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        into += count;
        length -= (size_t)count;
    }
    return true;
}

/* One whole frame; its body is what `body` reads. */
bool receive_frame(int fd, struct reader *body)
{
    if (!receive_all(fd, frame_buffer, HEADER))
        return false;
    size_t length = 0;
    for (int i = 0; i < HEADER; i++)
        length = length << 8 | frame_buffer[i];
    if (length == 0 || length > MAX_FRAME || !receive_all(fd, frame_buffer + HEADER, length))
        return false;
    body->at = frame_buffer + HEADER;
    body->end = body->at + length;
    return true;
}

int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = GREETING_SECONDS};
    if (fd < 0)
        return -1;
    /* A full backlog makes connect(2) wait; SO_SNDTIMEO bounds that, unix(7). And who reads half a
     * frame, signals blocked, must not wait for ever for the rest of it. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

bool find(struct reader map, const char *key, struct reader *value)
{
    struct value head, name;
    if (unpack_next(&map, &head) < 0 || head.kind != PACK_MAP)
        return false;
    for (uint64_t i = 0; i < head.number; i++) {
        if (unpack_next(&map, &name) < 0)
            return false;
        if (value_is(&name, key)) {
            *value = map;
            return true;
        }
        if (unpack_skip(&map) < 0)
            return false;
    }
    return false;
}

bool find_value(struct reader map, const char *key, struct value *into)
{
    struct reader at;
    return find(map, key, &at) && unpack_next(&at, into) == 0;
}

bool find_number(struct reader map, const char *key, uint64_t *into)
{
    struct value value;
    if (!find_value(map, key, &value) || value.kind != PACK_UINT)
        return false;
    *into = value.number;
    return true;
}
