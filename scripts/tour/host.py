"""What this host can do for a runnerd, by runnerd's own word, and who submits the jobs.

Decides nothing about how the tour goes on, and changes nothing.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from isolation.cgroups.root import find_root, missing_controllers, offered
from isolation.errors import CgroupError, CgroupRootError

if TYPE_CHECKING:
    from pathlib import Path

NEEDED_CONTROLLERS = ("cpu", "memory", "pids")
GUEST_DISK = "/var/lib/runnerd"
# Not /tmp, which is in memory on many hosts.
HOST_DISK = "/var/tmp"  # noqa: S108 - only as the parent of a directory of our own


class User(NamedTuple):
    """Who submits jobs here."""

    name: str
    uid: int
    gid: int
    group: str


def why_not_here() -> str | None:
    """Why runnerd cannot do its work on this host itself; None when it can."""
    try:
        root = find_root()
        available = offered(root.path if os.path.isdir(root.path) else root.mount)
    except (CgroupError, CgroupRootError) as error:
        return error.why
    if missing := missing_controllers(NEEDED_CONTROLLERS, available, root=root.path):
        return "; ".join(item.why for item in missing)
    if os.geteuid() != 0:
        return "it needs root (`sudo scripts/demo` runs it right here)"
    return None


def cgroup_root() -> str:
    """A cgroup root of the tour's own, so that no other runnerd is disturbed."""
    return os.path.join(find_root().mount, f"runnerd-demo-{os.getpid()}")


def place_of_work() -> str:
    """Where the state directory and the build lie: on a disk, not in memory."""
    return GUEST_DISK if os.environ.get("RUNNERD_LANE") else HOST_DISK


def submitter(runctl: Path) -> User:
    """An ordinary user who can execute runctl: who called sudo, else nobody, else root."""
    for name in (os.environ.get("SUDO_USER"), "nobody"):
        user = _user(name)
        if user is not None and user.uid != 0 and _can_run(user, runctl):
            return user
    return User("root", 0, 0, "root")


def _user(name: str | None) -> User | None:
    try:
        entry = pwd.getpwnam(name or "")
        return User(entry.pw_name, entry.pw_uid, entry.pw_gid, grp.getgrgid(entry.pw_gid).gr_name)
    except KeyError:
        return None


def _can_run(user: User, runctl: Path) -> bool:
    try:
        done = subprocess.run(
            [runctl, "--version"],
            user=user.uid, group=user.gid, extra_groups=(),
            cwd="/", capture_output=True, timeout=30, check=False,
        )  # fmt: skip
    except OSError:
        return False
    return done.returncode == 0
