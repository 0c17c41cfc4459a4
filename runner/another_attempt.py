"""Whether an attempt of a job that failed is followed by another: what is known is put together.

The policy is `runner.retrying`'s; here are the job's spec and its earlier attempts, whether
somebody asked for its end, and whether the disk of its user has room. Commits nothing: that is
`runner.ending`'s.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from runner import records, retrying, stored
from runner.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.outcome import Outcome
    from runner.realm import Realm
    from runner.rows import Job

_logger: Final = logging.getLogger(__name__)


class AnotherAttempt:
    """Decides for one daemon's jobs.

    `most_memory` says what may be reserved for a user's job in an attempt that is given more, in
    bytes; None: as much as it is limited to. `most_log_bytes` says how much of the disk a user's
    jobs may take before there is no more of them; None: no bound.
    """

    def __init__(
        self,
        realm: Realm,
        most_memory: Callable[[int], int | None] | None,
        most_log_bytes: Callable[[int], int | None] | None,
    ) -> None:
        self._store, self._directories = realm.store, realm.directories
        self._problems = realm.problems
        self._most_memory = most_memory
        self._most_log_bytes = most_log_bytes

    def changes(
        self, job_id: str, verdict: Outcome, ended_ns: int, disk_bytes: int
    ) -> dict[str, Any] | None:
        """What changes of the job's row for another attempt; None: there is none.

        `disk_bytes` is what its directory takes, 0 if not known.
        """
        job = self._store.get(job_id) if retrying.is_failure(verdict) else None
        if job is None or job.state in {State.QUEUED, State.ENDED}:
            return None
        try:
            spec = stored.spec(job)
        except records.RecordError:
            return None
        is_last = spec["retry"] is None or job.attempt >= retrying.MOST_ATTEMPTS
        if is_last or self._is_unwanted(job):
            return None
        earlier = [
            each.reason
            for each in self._store.attempts(job_id)
            if each.attempt >= job.first_attempt
        ]
        again = retrying.next_attempt(
            spec["retry"], job.attempt - job.first_attempt + 1, earlier, verdict, spec["limits"],
            ended_ns, deadline_ns=spec["deadline_ns"],
        )  # fmt: skip
        # An attempt that never began was not measured.
        taken = max(disk_bytes, job.disk_bytes)
        if again is None or not self._has_room(job, taken - job.disk_bytes):
            return None
        changes = self._changed(job, spec, again.limits)
        return {"not_before_ns": again.not_before_ns, "disk_bytes": taken, **changes}

    def _has_room(self, job: Job, more: int) -> bool:
        """Whether its user's jobs, this one with so much more than is stored, leave room."""
        uid = job.submitted_by_uid
        most = None if self._most_log_bytes is None else self._most_log_bytes(uid)
        if most is None:
            return True
        tried = sum(self._store.tried_bytes(uid).values())
        if self._store.ended.total(uid).bytes + tried + more < most:
            return True
        _logger.warning(
            "job %s failed and is not tried again: its user's jobs take as much of the disk as"
            " quotas.max_log_bytes allows", job.id,
        )  # fmt: skip
        return False

    def _is_unwanted(self, job: Job) -> bool:
        """Whether somebody asked for the job's end, though it ended by itself."""
        try:
            return self._directories.is_stop_asked(job.id, job.attempt)
        except OSError as error:
            text = f"whether its stop was asked cannot be found out, so it is not retried: {error}"
            self._problems.add(text, job.id)
            return True

    def _changed(self, job: Job, spec: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
        """The columns that other limits change: what follows a limit goes with it."""
        if limits == spec["limits"]:
            return {}
        most = None if self._most_memory is None else self._most_memory(job.submitted_by_uid)
        more = retrying.with_its_limits(
            job.reserved_memory_bytes, job.time_limit_ms, spec["limits"], limits, most
        )
        return {"spec": stored.pack_spec({**spec, "limits": limits}), **more}
