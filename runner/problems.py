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


class Problem(NamedTuple):
    """One of them: a sentence, and whose job it is about, if one."""

    text: str
    job: str | None = None


class Problems:
    """A bounded list without repetitions, oldest first."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, text: str, job: str | None = None) -> None:
        """Log it, and keep it; the same one again is neither."""
        problem = Problem(text, job)
        if problem in self._found:
            return
        _logger.error("%s%s", f"job {job}: " if job else "", text)
        if len(self._found) < _MOST:
            self._found[problem] = None

    def forget(self, job: str) -> None:
        """The job was removed."""
        self._found = {problem: None for problem in self._found if problem.job != job}

    def all(self) -> list[Problem]:
        """Everything that was found."""
        return list(self._found)
