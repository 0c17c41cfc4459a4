/* Who the payload is: its file identity for a while, and giving up for good what a job must not
 * have. isolation/privileges.py, isolation/syscalls/credentials.py and effective.py.
 *
 * The order in credentials_drop is the safety argument: bounding set while CAP_SETPCAP is there,
 * groups and gid while CAP_SETGID is, uid last; after it nothing can be regained, and
 * no_new_privs keeps an execve from granting anything. Which capabilities a job keeps was decided
 * by isolation.capabilities, in runnerd. One thread: what is set here is set for the process.
 */
#include "payload.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NO_ID UINT32_MAX /* setresuid(2) and setresgid(2) take it for "leave it" */

/* ---- file identity ---- */

static int set_file_identity(uid_t uid, gid_t gid, size_t count, const gid_t *groups,
                             struct failure *failure)
{
    if (setgroups(count, groups) < 0)
        return failure_of(failure, errno);
    /* Both calls answer the old number and no error: the second says what the first achieved. */
    setfsgid(gid);
    if ((gid_t)setfsgid(gid) != gid)
        return failure_said(failure, 0, "PermissionError: setfsgid(%u) was refused", gid);
    setfsuid(uid);
    if ((uid_t)setfsuid(uid) != uid)
        return failure_said(failure, 0, "PermissionError: setfsuid(%u) was refused", uid);
    return 0;
}

/* What is opened from here on is opened as the user alone may. Leaving fsuid 0 also takes the
 * capabilities that override file permissions out of the effective set (capabilities(7)). */
int credentials_as_user(const struct job *job, struct failure *failure)
{
    return set_file_identity(job->uid, job->gid, job->group_count, job->groups, failure);
}

int credentials_as_root(struct failure *failure)
{
    return set_file_identity(0, 0, 0, NULL, failure);
}

/* ---- capability sets ---- */

static int call_capabilities(long call, struct __user_cap_data_struct data[2])
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return (int)syscall(call, &header, data);
}

static int exchange_effective(uint64_t *effective, struct failure *failure)
{
    struct __user_cap_data_struct data[2];
    if (call_capabilities(SYS_capget, data) < 0)
        return failure_of(failure, errno);
    uint64_t old = data[0].effective | (uint64_t)data[1].effective << 32;
    data[0].effective = (uint32_t)*effective;
    data[1].effective = (uint32_t)(*effective >> 32);
    if (call_capabilities(SYS_capset, data) < 0)
        return failure_of(failure, errno);
    *effective = old;
    return 0;
}

/* The effective set becomes empty, the permitted one stays: CAP_SYS_PTRACE opens files of /proc
 * that no file identity would. The old set, for credentials_take_up. */
int credentials_lay_aside(uint64_t *effective, struct failure *failure)
{
    *effective = 0;
    return exchange_effective(effective, failure);
}

int credentials_take_up(uint64_t effective, struct failure *failure)
{
    return exchange_effective(&effective, failure);
}

/* ---- for good ---- */

/* The keys of whoever started runnerd are not the job's: keyrings outlive setresuid(2). */
int credentials_leave_keyring(struct failure *failure)
{
    /* A kernel without CONFIG_KEYS has nothing to leave. */
    if (syscall(SYS_keyctl, (long)KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
        return failure_of(failure, errno);
    return 0;
}

static int require_ids(const struct job *job, struct failure *failure)
{
    bool is_fine = job->uid != NO_ID && job->gid != NO_ID;
    for (size_t at = 0; at < job->group_count; at++)
        is_fine = is_fine && job->groups[at] != NO_ID;
    if (is_fine)
        return 0;
    /* Else the command would stay root. */
    return failure_said(failure, 0, "ValueError: not the numbers of a user and its groups: %u, %u",
                        job->uid, job->gid);
}

static int limit_bounding_set(uint64_t kept, struct failure *failure)
{
    for (unsigned long number = 0; number < 64; number++) {
        if (kept >> number & 1)
            continue;
        if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0)
            continue;
        /* The kernel has no capability of this number, nor a higher one. */
        if (errno == EINVAL)
            return 0;
        return failure_of(failure, errno);
    }
    return 0;
}

static int change_user(const struct job *job, struct failure *failure)
{
    uid_t uid = job->uid, uids[3];
    gid_t gid = job->gid, gids[3];
    if (setgroups(job->group_count, job->groups) < 0 || setresgid(gid, gid, gid) < 0 ||
        setresuid(uid, uid, uid) < 0)
        return failure_of(failure, errno);
    if (getresuid(&uids[0], &uids[1], &uids[2]) < 0 || getresgid(&gids[0], &gids[1], &gids[2]) < 0)
        return failure_of(failure, errno);
    for (int at = 0; at < 3; at++)
        if (uids[at] != uid || gids[at] != gid)
            return failure_said(failure, 0,
                                "PermissionError: the kernel did not change the user");
    return 0;
}

static int set_permitted(uint64_t kept, uint64_t inheritable, struct failure *failure)
{
    struct __user_cap_data_struct data[2];
    for (int word = 0; word < 2; word++) {
        data[word].effective = data[word].permitted = (uint32_t)(kept >> 32 * word);
        data[word].inheritable = (uint32_t)(inheritable >> 32 * word);
    }
    if (call_capabilities(SYS_capset, data) == 0)
        return 0;
    if (errno != EPERM && errno != EACCES)
        return failure_of(failure, errno);
    return failure_said(failure, errno,
                        "runnerd itself lacks a capability that the job is to have");
}

/* Those of root come back with its exec; an ordinary user's have to be inheritable, and ambient
 * to survive the exec of an ordinary program. */
static int set_capabilities(uid_t uid, uint64_t kept, struct failure *failure)
{
    uint64_t inheritable = uid == 0 ? 0 : kept;
    if (set_permitted(kept, inheritable, failure) < 0)
        return -1;
    for (unsigned long number = 0; number < 64; number++)
        if (inheritable >> number & 1 &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) < 0)
            return failure_of(failure, errno);
    return 0;
}

/* Become the job's user for good, with the capabilities `kept`. */
int credentials_drop(const struct job *job, uint64_t kept, struct failure *failure)
{
    umask(job->umask);
    if (require_ids(job, failure) < 0)
        return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return failure_of(failure, errno);
    if (limit_bounding_set(kept, failure) < 0)
        return -1;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return failure_of(failure, errno);
    /* Leaving uid 0 empties the permitted set no more, until the exec. Also where nothing is kept:
     * nobody of that user traces what has more than they do (ptrace(2)) while it is dumpable. */
    if (job->uid != 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return failure_of(failure, errno);
    if (change_user(job, failure) < 0)
        return -1;
    /* setresuid(2) leaves it to fs.suid_dumpable, which may be 1: until the exec nobody of the
     * same user may trace this, which is not confined to the end yet. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return failure_of(failure, errno);
    return set_capabilities(job->uid, kept, failure);
}
