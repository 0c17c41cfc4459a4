"""The filter program of a job, and programs as files in memory, which the payload reads.

What a profile allows is `isolation.seccomp`'s, who may have which was decided when the job was
submitted; a launch hands the file on (`runner.provisions`).
"""

from __future__ import annotations

import fcntl
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from isolation.capabilities import of_job
from isolation.seccomp import profiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
# There is one for each set of capabilities; most jobs have the same few.
_MOST_KEPT: Final = 64
# Of many users each may have some.
_MOST_KNOWN: Final = 1024
# How /proc shows them.
_OWN: Final = "runnerd-seccomp"
_KEPT: Final = "runnerd-profile"


def program_of(spec: Mapping[str, Any]) -> bytes | None:
    """The program of a job, an array of struct sock_filter; None: it has none.

    Raises LimitUnavailable on a machine whose calls are not known.
    """
    sandbox = spec["sandbox"]
    if sandbox["seccomp_program"] is not None:
        program: bytes = sandbox["seccomp_program"]
        return program
    if sandbox["seccomp"] == b"none":
        return None
    added = tuple(sandbox["capabilities"])
    capabilities = _capabilities(spec["uid"], added, in_userns=sandbox["userns"])
    return profiles.program(
        sandbox["seccomp"].decode("ascii"),
        capabilities=capabilities,
        report=sandbox["report_denied"],
    )


class ProgramFiles:
    """Programs as files that nobody can change. For one thread.

    Those of profiles that come with runnerd are kept for the next launch. It is one open file for
    many jobs, so whoever reads it says from where: pread(2).
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, int] = {}
        # By what makes the program what it is.
        self._known: dict[tuple[object, ...], int] = {}

    def kept(self, spec: Mapping[str, Any]) -> int | None:
        """The descriptor that `file_of` would give, where that is one of those kept; else None."""
        return self._known.get(_kind(spec))

    def file_of(self, spec: Mapping[str, Any], opened: ExitStack) -> int | None:
        """A descriptor for a launch, which ends when `opened` does; None: the job has no filter.

        Raises LimitUnavailable, OSError.
        """
        program = program_of(spec)
        if program is None:
            return None
        is_common = spec["sandbox"]["seccomp_program"] is None
        if is_common and (program in self._kept or len(self._kept) < _MOST_KEPT):
            fd = self._kept.get(program, -1)
            if fd < 0:
                fd = self._kept[program] = _sealed(program, _KEPT)
            if len(self._known) < _MOST_KNOWN:
                self._known[_kind(spec)] = fd
        else:
            fd = _sealed(program, _OWN)
            opened.callback(os.close, fd)
        return fd

    def close(self) -> None:
        """Close what is kept; who was given it has a descriptor of their own."""
        self._known.clear()
        while self._kept:
            os.close(self._kept.popitem()[1])


@lru_cache(maxsize=256)
def _capabilities(uid: int, added: tuple[str, ...], *, in_userns: bool) -> frozenset[str]:
    return of_job(uid, added, in_userns=in_userns)


def _kind(spec: Mapping[str, Any]) -> tuple[object, ...]:
    sandbox = spec["sandbox"]
    capabilities = tuple(sandbox["capabilities"])
    is_own = sandbox["seccomp_program"] is not None
    # As `program_of` looks at it.
    return (
        is_own, sandbox["seccomp"], spec["uid"], capabilities, sandbox["userns"],
        sandbox["report_denied"],
    )  # fmt: skip


def _sealed(program: bytes, name: str) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, program)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd
