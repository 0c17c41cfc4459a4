/* What the parts of the payload know of each other: payload.c, tree.c, devices.c, places.c,
 * credentials.c, command.c, failure.c. They are isolation/payload.py and its neighbours for a
 * job whose file system is the host's, word by word; nobody else includes this.
 *
 * A function that can fail answers 0 (or a descriptor), or -1 and says in `failure` what failed:
 * its text is what the Python payload would have reported.
 */
#ifndef RUNNERD_PAYLOAD_H
#define RUNNERD_PAYLOAD_H

#include "native.h"

#include <limits.h>

/* ---- failure.c: texts of failures. Pure ---- */

/* `number` 0: a defect, or what has no errno. Bytes of a name stay as they are. */
struct failure { int number; char text[MAX_REPORT_BYTES]; };

int failure_of(struct failure *failure, int number);
int failure_at(struct failure *failure, int number, const char *path, const char *why);
int failure_of_call(struct failure *failure, const char *path); /* by errno, on this path */
__attribute__((format(printf, 3, 4)))
int failure_said(struct failure *failure, int number, const char *format, ...);
/* `report_of` of isolation/payload.py: how many of the MAX_REPORT_BYTES were written. */
size_t failure_report(char *report, const char *step, const struct failure *failure);

/* ---- credentials.c: who this process is. isolation/privileges.py, isolation/syscalls ---- */

int credentials_as_user(const struct job *job, struct failure *failure); /* of file accesses */
int credentials_as_root(struct failure *failure);                       /* and back */
int credentials_lay_aside(uint64_t *effective, struct failure *failure);
int credentials_take_up(uint64_t effective, struct failure *failure);
int credentials_leave_keyring(struct failure *failure);
int credentials_drop(const struct job *job, uint64_t kept, struct failure *failure);

/* ---- rlimits.c: resource limits. isolation/rlimits.py ---- */

int rlimit_set(const struct rlimit_entry *wanted, struct failure *failure);

/* ---- tree.c: the file tree. isolation/files/tree.py and mounts.py ---- */

struct tree {
    int cwd_fd;
    bool is_put_back;       /* below a directory that is the job's own: /tmp, /dev/shm */
    char cwd[PATH_MAX + 1]; /* the real path, without links */
};

int tree_open(struct tree *tree, const struct job *job, struct failure *failure);  /* as the user */
int tree_build(const struct tree *tree, const struct request *request, const struct job *job,
               struct failure *failure);                                           /* as root */
int tree_enter(const struct tree *tree, struct failure *failure);                  /* as the job */
int tree_mount(const char *source, const char *target, const char *type, unsigned long flags,
               const char *data, struct failure *failure);
/* An empty directory in memory; bytes NO_LIMIT: half of the machine's. */
int tree_mount_memory(const char *target, const char *mode, uint64_t bytes,
                      struct failure *failure);

/* ---- devices.c: /dev of the job's own. isolation/files/dev_nodes.py. The umask is 0 ---- */

int devices_mount(const char *terminals, uint64_t shm_bytes, struct failure *failure);

/* ---- places.c: a working directory put back. isolation/files/places.py. The umask is 0 ---- */

/* Attach a detached mount at a path of the job's tree, and close its descriptor. What is missing
 * is made, but on the `own_count` file systems of these device numbers alone. */
int places_attach(int mount_fd, const char *path, const dev_t *own, size_t own_count,
                  const struct job *job, struct failure *failure);

/* ---- command.c: finding and executing the command ---- */

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

/* The first entry of the job's PATH in which its command may be; NULL: in none, or it names a
 * path. As the user, before any filter of the job's own. */
const char *command_search(const struct job *job);
/* Returns only when it failed. `from` is the answer of command_search. */
int command_execute(const struct job *job, const char *from, struct failure *failure);

/* ---- system calls without a wrapper in every C library that this is built with ---- */

#define RESOLVE_PLAIN 0x02ULL                    /* RESOLVE_NO_MAGICLINKS, linux/openat2.h */
#define RESOLVE_STRICT (0x02ULL | 0x04ULL | 0x10ULL) /* and NO_SYMLINKS, IN_ROOT */

int call_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve);
int call_copy_mounts(int fd); /* open_tree(2): what is mounted there and below, detached */
int call_move_mount(int mount_fd, int place);
int call_close_range(unsigned first, unsigned last, unsigned flags);
#define CLOSE_ON_EXEC (1U << 2) /* CLOSE_RANGE_CLOEXEC, linux/close_range.h */

#endif
