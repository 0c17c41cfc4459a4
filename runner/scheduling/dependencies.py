"""Who waits for which other job, and what another's start or end means for those.

Only waiting jobs are dependents here; whether a job that is waited for is known is nobody's
concern. A dependent that can never start is `doomed` until somebody ends it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, get_args

from runner.scheduling.kinds import Abandon, Dependency, Met

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runner.scheduling.kinds import End

_KINDS: Final[tuple[Met, ...]] = get_args(Met)


def is_met(kind: Met, end: End) -> bool:
    """Whether such an end is what was waited for."""
    if kind == "any":
        return True
    if kind == "started":
        return end.has_started
    return end.ok == (kind == "ok")


class Dependencies:
    """What is not met yet, by the dependent and by the job that is waited for."""

    def __init__(self) -> None:
        # Dicts, not sets: what comes out is in the order in which it came in.
        self._unmet: dict[str, dict[Dependency, None]] = {}
        self._dependents: dict[str, dict[str, None]] = {}
        # Its front is taken away again and again, which costs a plain dict more each time.
        self._doomed: OrderedDict[str, Dependency] = OrderedDict()

    def add(
        self, job_id: str, after: Iterable[Dependency], ended: Mapping[str, End | None]
    ) -> None:
        """The job waits for those; `ended` have ended for good, None is an end nobody knows."""
        unmet = dict.fromkeys(after)
        if unmet:
            self._unmet[job_id] = dict(unmet)
        for on_id in dict.fromkeys(dependency.on_id for dependency in unmet):
            if on_id in ended:
                self._judge(job_id, on_id, ended[on_id])
            else:
                self._dependents.setdefault(on_id, {})[job_id] = None

    def forget(self, job_id: str) -> None:
        """It does not wait any more."""
        self._doomed.pop(job_id, None)
        for on_id, _ in self._unmet.pop(job_id, ()):
            dependents = self._dependents.get(on_id)
            if dependents is not None:
                dependents.pop(job_id, None)
                if not dependents:
                    del self._dependents[on_id]

    def unmet(self, job_id: str) -> tuple[Dependency, ...]:
        """What the job still waits for."""
        return tuple(self._unmet.get(job_id, ()))

    def is_clear(self, job_id: str) -> bool:
        """Whether it waits for no other job."""
        return job_id not in self._unmet

    def doom(self, job_id: str) -> Dependency | None:
        """What can never be met, if anything cannot."""
        return self._doomed.get(job_id)

    @property
    def doomed(self) -> Abandon | None:
        """The first job that is to be ended for that."""
        for job_id, (on_id, kind) in self._doomed.items():
            return Abandon(job_id, on_id, kind)
        return None

    def will_end(self, on_id: str, end: End) -> None:
        """A job is about to end so: those for whom that is not what was meant can never start.

        The others wait until it has: `ended`.
        """
        for job_id in self._dependents.get(on_id, {}):
            for kind in _KINDS:
                dependency = Dependency(on_id, kind)
                if dependency in self._unmet.get(job_id, ()) and not is_met(kind, end):
                    self._doomed.setdefault(job_id, dependency)

    def ended(self, on_id: str, end: End) -> tuple[str, ...]:
        """A job has ended for good: those of its dependents for which that is what was meant."""
        dependents = self._dependents.pop(on_id, None)
        if dependents is None:
            return ()
        return tuple(job_id for job_id in dependents if self._judge(job_id, on_id, end))

    def started(self, on_id: str) -> tuple[str, ...]:
        """A job runs: those of its dependents who waited for that."""
        dependents = self._dependents.get(on_id)
        if dependents is None:
            return ()
        wanted = Dependency(on_id, "started")
        met = tuple(job_id for job_id in dependents if wanted in self._unmet[job_id])
        for job_id in met:
            self._meet(job_id, wanted)
            if not any(Dependency(on_id, kind) in self._unmet.get(job_id, ()) for kind in _KINDS):
                del dependents[job_id]
        if not dependents:
            self._dependents.pop(on_id, None)
        return met

    def _judge(self, job_id: str, on_id: str, end: End | None) -> bool:
        """What an end means for one dependent; whether anything was met."""
        has_met = False
        for kind in _KINDS:
            dependency = Dependency(on_id, kind)
            if dependency not in self._unmet.get(job_id, ()):
                continue
            if end is not None and is_met(kind, end):
                self._meet(job_id, dependency)
                has_met = True
            else:
                self._doomed.setdefault(job_id, dependency)
        return has_met

    def _meet(self, job_id: str, dependency: Dependency) -> None:
        unmet = self._unmet[job_id]
        del unmet[dependency]
        if not unmet:
            del self._unmet[job_id]
