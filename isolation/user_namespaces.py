"""User namespaces for jobs: ranges of the host's ids that nobody else has, and their maps.

For the daemon: it makes a namespace as a descriptor, in which no process ever ran; entering
is the payload's step (`isolation.payload`, `isolation.privileges`). See user_namespaces(7).
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.syscalls import namespaces

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RANGE_SIZE: Final = 65_536
# 0x70000000 to 0x7FFDFFFF. The table of UIDS-GIDS in systemd's documentation has nothing
# there: containers' ranges end before it, foreign ids begin after it; useradd(8) hands out
# subordinate ids below it, podman's "auto" above it.
BASE: Final = 0x7000_0000
COUNT: Final = 4094
_MAX_IDS: Final = 2**32 - 1


class IdMap(NamedTuple):
    """One line of a map: `size` ids from `inside` on are those from `outside` on."""

    inside: int
    outside: int
    size: int = 1


def make(uid_map: Sequence[IdMap], gid_map: Sequence[IdMap]) -> int:
    """A close-on-exec descriptor of a new user namespace with these maps.

    Neither forks nor starts a program; takes about 0.1 ms. The namespace lives as long as
    the descriptor and what entered it.

    Raises OSError: EPERM without the rights over the outside ids, EINVAL for lines that
    overlap or are out of bounds, ENOSPC at the limit of user.max_user_namespaces.
    """
    pid = namespaces.clone_ended_in_new_user_namespace()
    try:
        # It has ended and is not waited for: its number cannot become another process's.
        _write(f"/proc/{pid}/uid_map", uid_map)
        _write(f"/proc/{pid}/gid_map", gid_map)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.waitpid(pid, namespaces.WAIT_ALL)


def maps_of_range(base: int, size: int = RANGE_SIZE) -> tuple[list[IdMap], list[IdMap]]:
    """For a job's own namespace: its ids from 0 on are the host's from `base` on."""
    return [IdMap(0, base, size)], [IdMap(0, base, size)]


def idmap_for(uid: int, gid: int, base: int) -> tuple[list[IdMap], list[IdMap]]:
    """For an idmapped mount: files of this user are shown as those of the job's root.

    The ids of the range are on no disk, and none gets there: what another of the job's ids
    would own cannot be made or given away (EOVERFLOW). The file would outlive the job, and
    with its set-id bits lend the id to whoever runs it, when it is another user's job's.
    Every id outside of the range stays what it is: an overlay could not copy up what belongs
    to an id that is not mapped. What belongs to others stays theirs. See mount_setattr(2),
    "ID-mapped mounts". Raises ValueError for a user who is root, or whose number is not below
    the range: nothing on a disk may become such a job's.
    """
    return _mapped(uid, base), _mapped(gid, base)


def _mapped(own: int, base: int) -> list[IdMap]:
    if not 0 < own < base:
        raise ValueError(f"{own} is not the number of an ordinary user below {base}")
    above = base + RANGE_SIZE
    lines = [IdMap(0, 0, own), IdMap(own, base), IdMap(own + 1, own + 1, base - own - 1),
             IdMap(above, above, _MAX_IDS - above)]  # fmt: skip
    return [line for line in lines if line[2]]


def why_unavailable() -> str | None:
    """Why namespaces with maps cannot be made here; None when they can."""
    try:
        os.close(make(*maps_of_range(BASE)))
    except OSError as error:
        return f"a user namespace cannot be made: {error.strerror}"
    return None


def base_of_process(pid: int) -> int | None:
    """The first host id of the user namespace that a process is in; None when it has ended.

    Of one that the job made within its own, an id of the same range.
    """
    try:
        with open(f"/proc/{pid}/uid_map", "rb") as file:
            fields = file.readline().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]) if fields else None


class Ranges:
    """Which ranges of ids are free. Pure: knows jobs by the bases that they were given."""

    def __init__(self, base: int = BASE, size: int = RANGE_SIZE, count: int = COUNT) -> None:
        if base <= 0 or size <= 0 or count <= 0 or base + size * count > _MAX_IDS:
            raise ValueError(f"{count} ranges of {size} ids from {base} on are out of bounds")
        self.base = base
        self.size = size
        self.count = count
        self._used: set[int] = set()
        # Not at the first after each restart: that one would be everybody's, again and again.
        self._next = secrets.randbelow(count)

    def take(self) -> int:
        """The base of a range that no running job has.

        The one that was given back longest ago: what a job left behind on a disk is not
        soon another's. Raises LookupError when all are taken.
        """
        for step in range(self.count):
            place = (self._next + step) % self.count
            base = self.base + place * self.size
            if self._is_free(base):
                self._used.add(base)
                self._next = place + 1
                return base
        raise LookupError(f"all {self.count} ranges of user ids are in use")

    def release(self, base: int) -> None:
        """Give it back. Harmless for one that is not taken."""
        self._used.discard(base)

    def recover(self, bases: Iterable[int]) -> None:
        """Take those that running jobs have, after a restart.

        Any base is taken: after a change of the configuration it need not be one of ours,
        and blocks what it overlaps.
        """
        self._used.update(bases)

    def _is_free(self, base: int) -> bool:
        return all(abs(base - taken) >= self.size for taken in self._used)


def _write(path: str, lines: Iterable[IdMap]) -> None:
    # The kernel takes a map in one write or not at all.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"".join(b"%d %d %d\n" % line for line in lines))
    finally:
        os.close(fd)
