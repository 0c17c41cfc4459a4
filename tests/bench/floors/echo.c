/*
 * The floor of a request: a blocking server that answers with what it was sent.
 *
 *     echo SOCKET
 *
 * One connection after the other on a Unix socket, until it is killed.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char data[1 << 20];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) {
        fputs("usage: echo SOCKET\n", stderr);
        return 2;
    }
    strcpy(address.sun_path, argv[1]);
    if (bind(listening, (void *)&address, sizeof address) != 0 || listen(listening, 1) != 0) {
        perror(argv[1]);
        return 1;
    }
    for (;;) {
        int fd = accept(listening, NULL, NULL);
        ssize_t got;

        while ((got = read(fd, data, sizeof data)) > 0)
            for (ssize_t done = 0, more; done < got; done += more)
                if ((more = write(fd, data + done, got - done)) < 0)
                    break;
        close(fd);
    }
}
