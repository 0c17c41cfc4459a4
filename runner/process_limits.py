"""Resource limits of processes that run already: every one of a job, and those they fork.

prlimit(2). The limits of a job that starts are set in the payload (`isolation.rlimits`).
"""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.rlimits import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Pair = Sequence[int | None]

# Each round finds only what was forked during the one before.
_MOST_ROUNDS: Final = 1000


class Old(NamedTuple):
    """What one process had."""

    pid: int
    number: int
    pair: tuple[int, int]


def change(pids: Callable[[], Iterable[int]], limits: Mapping[str, Pair]) -> list[Old]:
    """Set limits ((soft, hard) by name, None for unlimited) of all processes in a cgroup.

    `pids` asks the kernel which these are, again and again until it names none that is new: a
    child has the limits of its parent at the fork, so one that is forked by a process that
    was changed already needs nothing, and one of another is seen in the next round.

    What they had is returned, for `put_back`. Raises OSError when the kernel refuses, with
    everything put back.
    """
    wanted = {NUMBERS[name]: _pair(pair) for name, pair in limits.items()}
    old: list[Old] = []
    seen: set[int] = {0}
    try:
        for _ in range(_MOST_ROUNDS):
            new = set(pids()) - seen
            if not new:
                break
            for pid in new:
                old += _set(pid, wanted)
            seen |= new
    except OSError:
        put_back(pids, old)
        raise
    return old


def are_set_up(pids: Callable[[], Iterable[int]]) -> bool:
    """Whether every process of a cgroup is past the step that sets a job's first limits.

    no_new_privs comes after it, in every job, and stays for good: proc(5), `NoNewPrivs`.
    """
    found = [_has_no_new_privs(pid) for pid in pids() if pid]
    return bool(found) and all(found)


def _has_no_new_privs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            return any(line.split() == ["NoNewPrivs:", "1"] for line in file)
    # It has ended meanwhile.
    except (FileNotFoundError, ProcessLookupError):
        return True


def put_back(pids: Callable[[], Iterable[int]], old: Iterable[Old]) -> None:
    """As it was, for those processes that are still in the cgroup.

    prlimit(2) knows no pidfd, and a pid may be another's meanwhile: `pids` asks again.
    """
    there = frozenset(pids())
    _restore(entry for entry in old if entry.pid in there)


def _restore(old: Iterable[Old]) -> None:
    for entry in old:
        with suppress(OSError, ValueError):
            resource.prlimit(entry.pid, entry.number, entry.pair)


def limits_of(pid: int, names: Iterable[str]) -> dict[str, tuple[int | None, int | None]]:
    """The limits that a process has now. Raises OSError."""
    found = {name: resource.prlimit(pid, NUMBERS[name]) for name in names}
    return {name: (_shown(soft), _shown(hard)) for name, (soft, hard) in found.items()}


def _set(pid: int, wanted: Mapping[int, tuple[int, int]]) -> list[Old]:
    done: list[Old] = []
    for number, pair in wanted.items():
        try:
            done.append(Old(pid, number, resource.prlimit(pid, number, pair)))
        except ProcessLookupError:
            break
        # Python's word for EINVAL and EPERM of the values.
        except ValueError as error:
            _restore(done)
            raise OSError(str(error)) from None
        except OSError:
            _restore(done)
            raise
    return done


def _pair(pair: Pair) -> tuple[int, int]:
    soft, hard = (resource.RLIM_INFINITY if value is None else value for value in pair)
    return soft, hard


def _shown(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY else value
