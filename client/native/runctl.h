/* What the files of the native runctl share; the theory of operation is in runctl.c. */
#ifndef RUNNERD_RUNCTL_H
#define RUNNERD_RUNCTL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <signal.h>
#include <sys/types.h>

#include "pack.h"

/* Those of client/protocol.py. What is larger is for the Python runctl to refuse. */
enum {
    MAX_FRAME = 4 * 1024 * 1024,
    MAX_ARGUMENTS = 4096,
    MAX_VARIABLES = 4096,
    MAX_ARGUMENT = 131071,
    MAX_TOTAL = 1024 * 1024,
    HEADER = 4,
};
/* Ids of requests, each used once. */
enum { HELLO_ID = 1, SUBMIT_ID, LOGS_ID, STATUS_ID };
/* Events in flight, as in client/logstream.py. */
enum { WINDOW_EVENTS = 16 };

struct asked { /* what was typed */
    const char *socket, *name; /* NULL: not given */
    uint64_t memory; /* 0: not given */
    char **command;
};

struct run {
    int fd;
    char job[64];
    uint64_t attempt, cursor; /* of the next byte to be written here */
    uint64_t events;          /* received, for their numbers */
    unsigned unpaid;          /* events for which no credit was given yet */
    bool has_begun;
    sigset_t waiting; /* the mask of where this waits */
};

/* typed.c: whether this command line is one of the plain ones, and what it says. */
bool parse(char **argv, struct asked *asked);

/* requests.c: whole frames. A writer that is full holds none. */
bool pack_submission(struct writer *to, const struct asked *asked); /* false: not a plain one */
void pack_hello(struct writer *to);
void pack_logs(struct writer *to, const char *job);
void pack_status(struct writer *to, const char *job);
void pack_credit(struct writer *to, unsigned events);

/* wire.c: a blocking connection, and what is in a frame. */
int connect_to(const char *path); /* a descriptor, or -1 */
bool send_packed(int fd, const struct writer *packed, const uint8_t *start);
bool receive_frame(int fd, struct reader *body); /* valid until the next one */
/* The value of a key of the map that `map` is about to give. False: no such key, or no map. */
bool find(struct reader map, const char *key, struct reader *value);
bool find_value(struct reader map, const char *key, struct value *into);
bool find_number(struct reader map, const char *key, uint64_t *into);

/* signals.c: those that end a foreground job are taken only where this waits. */
void block_signals(struct run *run);
void restore_signals(const struct run *run);
int signals_noted(void);
/* Wait for poll(2)'s events: 1; 0 when the time is up (-1 ms: never); -1 when a signal came. */
int wait_for(const struct run *run, int fd, short events, int milliseconds);
void pass_signals_on(void); /* they are pending again, and blocked, for whoever comes next */

/* follow.c: copy the output until the job's end. Its exit status; -1: for the Python runctl. */
int follow(struct run *run);

#endif
