"""Giving up what a job must not have. Called in the payload, before its exec. Lean.

The order is the safety argument: bounding set while CAP_SETPCAP is there, groups and
gid while CAP_SETGID is, uid last; after it nothing can be regained, and no_new_privs
keeps an execve from granting anything. Which capabilities a job has is known by
`isolation.capabilities`.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from isolation import syscalls
from isolation.capabilities import bits, of_job

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_ID: Final = 2**32 - 2
# The initial user namespace: every id is itself. user_namespaces(7).
_IDENTITY_MAP: Final = [b"0", b"0", b"4294967295"]


def drop_to(
    uid: int,
    gid: int,
    groups: Sequence[int],
    capabilities: Sequence[str] = (),
    *,
    in_userns: bool = False,
    is_proven: bool = False,
) -> None:
    """Become this user for good, with these capabilities and, for root, with a short list.

    An ordinary user has none but `capabilities`, which its programs inherit. `in_userns`:
    the caller has entered a user namespace; the job becomes its root, with no other group,
    and the numbers given, which are the host's, are not looked at. `is_proven`: it entered
    by setns(2), which refuses one's own; without it, /proc is asked, which must be ours.

    Raises OSError or ValueError; then the caller must not execute anything.
    """
    if in_userns:
        if not is_proven:
            _require_own_user_namespace()
        uid, gid, groups = 0, 0, ()
    # setresuid(2) and setresgid(2) take -1 for "leave it": the command would stay root.
    if not all(0 <= number <= _MAX_ID for number in (uid, gid, *groups)):
        raise ValueError(f"not the numbers of a user and its groups: {uid}, {gid}, {groups}")
    kept = bits(of_job(uid, capabilities, in_userns=in_userns))
    syscalls.set_no_new_privs()
    _limit_bounding_set(kept)
    syscalls.clear_ambient_capabilities()
    if uid != 0:
        syscalls.keep_capabilities_over_setuid()
    _change_user(uid, gid, groups)
    # setresuid(2) leaves it to fs.suid_dumpable, which may be 1. While the permitted set is still
    # ours nobody of the same user may look in (ptrace(2)), and until the exec nobody shall.
    syscalls.set_dumpable(dumpable=False)
    _set_capabilities(uid, kept)


def _require_own_user_namespace() -> None:
    """Of the host's user namespace, root would be the host's root."""
    fd = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    content = os.read(fd, 4096)
    os.close(fd)
    if not content or content.split() == _IDENTITY_MAP:
        raise PermissionError(errno.EPERM, "the job is not in a user namespace of its own")


def _change_user(uid: int, gid: int, groups: Sequence[int]) -> None:
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3:
        raise PermissionError("the kernel did not change the user")


def _set_capabilities(uid: int, kept: int) -> None:
    """Those of root come back with its exec; an ordinary user's have to be inheritable."""
    inheritable = 0 if uid == 0 else kept
    try:
        syscalls.set_capabilities(kept, inheritable)
    except PermissionError as error:
        why = "runnerd itself lacks a capability that the job is to have"
        raise PermissionError(error.errno, why) from error
    for number in range(inheritable.bit_length()):
        if inheritable >> number & 1:
            syscalls.raise_ambient_capability(number)


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
