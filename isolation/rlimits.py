"""Resource limits: those of a job, by name. Called in the payload while it is root. Lean.

Bounds and names of a request are `runner.message_limits`'s. See setrlimit(2).
"""

from __future__ import annotations

import errno
import resource
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# asm-generic/resource.h; Python's module does not name them all.
NUMBERS: Final = {
    "cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7,
    "memlock": 8, "as": 9, "locks": 10, "sigpending": 11, "msgqueue": 12, "nice": 13,
    "rtprio": 14, "rttime": 15,
}  # fmt: skip


def apply(limits: Mapping[str, Sequence[int | None]]) -> None:
    """Set each named limit to its (soft, hard) in the kernel's units; None is unlimited.

    Raises OSError that names the limit, ValueError for a name that there is not.
    """
    for name, (soft, hard) in limits.items():
        if name not in NUMBERS:
            raise ValueError(f"{name!r} is not a resource limit; there are {', '.join(NUMBERS)}")
        _set(name, _kernel_value(soft), _kernel_value(hard))


def _kernel_value(value: int | None) -> int:
    return resource.RLIM_INFINITY if value is None else value


def _set(name: str, soft: int, hard: int) -> None:
    try:
        resource.setrlimit(NUMBERS[name], (soft, hard))
    # Python's words for EPERM and EINVAL; for a number that is too large OverflowError.
    except (ValueError, OverflowError, OSError) as error:
        raise _refused(name, soft, hard) from error


def _refused(name: str, soft: int, hard: int) -> OSError:
    _, present = resource.getrlimit(NUMBERS[name])
    what = f"the limit {name} cannot be {_shown(soft)}:{_shown(hard)}"
    if hard != resource.RLIM_INFINITY and (soft == resource.RLIM_INFINITY or soft > hard):
        return OSError(errno.EINVAL, f"{what}: the soft limit is above the hard one")
    if name == "nofile":
        why = "it is above fs.nr_open, or above runnerd's own and runnerd lacks CAP_SYS_RESOURCE"
    else:
        why = "it is above runnerd's own, and runnerd lacks CAP_SYS_RESOURCE"
    return PermissionError(errno.EPERM, f"{what}: {why} ({_shown(present)})")


def _shown(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)
