"""What was found to be wrong since the daemon began, for `doctor` and for its log.

For the event loop's thread. It knows nothing of jobs but their ids; what becomes of a job
that is damaged is decided where that is found.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

_logger: Final = logging.getLogger(__name__)

# The rest is in the log.
_MOST: Final = 1000
# Some megabytes at most: 64-bit hashes of what was logged, and of jobs that were removed.
_REMEMBERED: Final = 16_384


class Problem(NamedTuple):
    """One of them: a sentence, and whose job it is about, if one."""

    text: str
    job: str | None = None


class Problems:
    """A bounded list without repetitions, oldest first."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._logged = _Latest(_REMEMBERED)
        self._removed = _Latest(_REMEMBERED)

    def add(self, text: str, job: str | None = None, *, is_removed: bool = False) -> None:
        """Log it, and keep it; the same one again is neither.

        What concerns a removed job is of interest to nobody (a reader may still be at work),
        unless `is_removed` says that it is about what the removal has left behind.
        """
        if job is not None and job in self._removed and not is_removed:
            return
        problem = Problem(text, job)
        if problem in self._found:
            return
        # Somebody may make us find it again and again: one that is not kept is logged once.
        if problem not in self._logged:
            self._logged.add(problem)
            _logger.error("%s%s", f"job {job}: " if job else "", text)
        if len(self._found) < _MOST:
            self._found[problem] = None

    def forget(self, job: str) -> None:
        """The job was removed, or what its removal had left behind."""
        self._removed.add(job)
        self._found = {problem: None for problem in self._found if problem.job != job}

    def withdraw(self, text: str) -> None:
        """What concerned no job is wrong no more; if it is found again, that is said again."""
        problem = Problem(text)
        self._found.pop(problem, None)
        self._logged.forget(problem)

    def all(self) -> list[Problem]:
        """Everything that was found."""
        return list(self._found)


class _Latest:
    """The last of some things by their hashes: a set that forgets the oldest when it is full."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._hashes: dict[int, None] = {}

    def __contains__(self, thing: object) -> bool:
        return hash(thing) in self._hashes

    def add(self, thing: object) -> None:
        if len(self._hashes) >= self._most:
            del self._hashes[next(iter(self._hashes))]
        self._hashes[hash(thing)] = None

    def forget(self, thing: object) -> None:
        self._hashes.pop(hash(thing), None)
