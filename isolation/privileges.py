"""Giving up what a job must not have. Called in the payload, before its exec. Lean.

The order is the safety argument: bounding set while CAP_SETPCAP is there, groups and
gid while CAP_SETGID is, uid last; after it nothing can be regained, and no_new_privs
keeps an execve from granting anything.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from isolation import syscalls

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a job of root keeps: enough to install files and drop to other users, not enough to
# mount, to load modules, to trace, to set up networks or to make device nodes. Numbers from
# linux/capability.h; the list is the one that container engines grant, without CAP_MKNOD.
ROOT_CAPABILITIES: Final = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_AUDIT_WRITE": 29,
    "CAP_SETFCAP": 31,
}
_MAX_ID: Final = 2**32 - 2
_ROOT_SET: Final = sum(1 << number for number in ROOT_CAPABILITIES.values())


def drop_to(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Become this user for good: no capability for an ordinary one, a short list for root.

    Raises OSError or ValueError; then the caller must not execute anything.
    """
    # setresuid(2) and setresgid(2) take -1 for "leave it": the command would stay root.
    if not all(0 <= number <= _MAX_ID for number in (uid, gid, *groups)):
        raise ValueError(f"not the numbers of a user and its groups: {uid}, {gid}, {groups}")
    syscalls.set_no_new_privs()
    kept = _ROOT_SET if uid == 0 else 0
    _limit_bounding_set(kept)
    syscalls.clear_ambient_capabilities()
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    syscalls.set_capabilities(kept)
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3:
        raise PermissionError("the kernel did not change the user")


def _limit_bounding_set(kept: int) -> None:
    for capability in range(64):
        if kept >> capability & 1:
            continue
        try:
            syscalls.drop_bounding_capability(capability)
        except OSError as error:
            # EINVAL: the kernel has no capability of this number, nor a higher one.
            if error.errno == errno.EINVAL:
                return
            raise


def leave_keyring() -> None:
    """The keys of whoever started runnerd are not the job's: keyrings outlive setresuid(2)."""
    try:
        syscalls.join_new_session_keyring()
    except OSError as error:
        # A kernel without CONFIG_KEYS has nothing to leave.
        if error.errno != errno.ENOSYS:
            raise


def become_killable() -> None:
    """The kernel's out-of-memory killer treats the job like any process again."""
    # Bytes: a text file would import its codec from disk, in every job anew.
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, b"0")
    os.close(fd)
