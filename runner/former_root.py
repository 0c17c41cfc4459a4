"""Below which cgroup the jobs of a state directory run, kept from one runnerd to the next.

A runnerd that is started with another root would look for its jobs there, find none, and
call them lost while they run. So the root is written down, and stays for as long as jobs
are below it. Which root a host offers is `isolation.cgroups.root`'s.
"""

from __future__ import annotations

import logging
import os
from typing import Final

from isolation.cgroups.root import find_root
from isolation.cgroups.tree import CgroupTree
from isolation.errors import CgroupError

_logger: Final = logging.getLogger(__name__)

NAME: Final = "cgroup-root"
_MAX_BYTES: Final = 4096
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def choose(state_dir: str, configured: str | None, *, needs_limits: bool) -> tuple[str, str]:
    """The root to use now, and why it is this one.

    Raises CgroupRootError as `find_root`.
    """
    found = find_root(configured, needs_limits=needs_limits)
    former = _read(state_dir)
    if former is not None and former != found.path and _has_jobs(former, state_dir):
        _logger.warning(
            "jobs have cgroups below %s: it stays the cgroup root until runnerd is started without "
            "any there, and then it is %s", former, found.path,
        )  # fmt: skip
        return find_root(former, needs_limits=needs_limits).path, "jobs are there"
    return found.path, found.source


def keep(state_dir: str, root: str) -> None:
    """Write down which root is used from now on.

    Not synced: after a power cut no cgroup is there either. A full disk is no reason not to
    start, and is said.
    """
    if _read(state_dir) == root:
        return
    path = os.path.join(state_dir, NAME)
    try:
        with open(os.open(f"{path}.new", _CREATE, 0o600), "wb") as file:
            file.write(os.fsencode(root))
        os.replace(f"{path}.new", path)
    except OSError as error:
        _logger.warning("%s cannot be written: %s; a runnerd with another cgroup root would "
                        "take the jobs that run now for lost", path, error.strerror)  # fmt: skip


def _read(state_dir: str) -> str | None:
    try:
        with open(os.path.join(state_dir, NAME), "rb") as file:
            text = file.read(_MAX_BYTES)
    except OSError:
        return None
    path = os.fsdecode(text)
    return path if os.path.isabs(path) and "\0" not in path else None


def _has_jobs(root: str, state_dir: str) -> bool:
    """Whether jobs of this state directory have cgroups below a root. Not there: none.

    Also those that have ended meanwhile: whoever starts there removes them.
    """
    try:
        return any(os.path.isdir(f"{state_dir}/jobs/{job}") for job in CgroupTree(root).jobs())
    except CgroupError:
        return False
