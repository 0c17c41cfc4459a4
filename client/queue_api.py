"""What a client asks of the queue: hold, move, retry, why, queues, many at once, events.

A part of `client.api.Client`, which has the rest of the operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from client.errors import ProtocolError
from client.eventstream import EventStream
from client.requesting import Requesting, numbers_in, text_in
from client.submission import build_selection

if TYPE_CHECKING:
    from client import protocol
    from client.records import (
        Moved,
        Queues,
        QueueSetting,
        Retried,
        Selection,
        State,
        StoppedMany,
        Why,
    )

# For `set_queue`: what is not given stays as it is, and None is a value.
_AS_IT_IS: Any = object()


class QueueRequests(Requesting):
    """The queue's operations. Raises what `client.api.Client` raises."""

    def hold(self, job: str) -> State:
        """Keep a queued job from starting until it is released; returns its state."""
        return cast("State", text_in(self._request("hold", {"job": job}), "state"))

    def release(self, job: str) -> State:
        """Let a job that was held start when its turn comes; returns its state.

        What an admin held, only an admin releases.
        """
        return cast("State", text_in(self._request("release", {"job": job}), "state"))

    def move(
        self, job: str, *, top: bool = False, before: str | None = None, queue: str | None = None
    ) -> Moved:
        """Move a queued job: before all of its submitter's, before one of them, to a queue.

        Exactly one of `top`, `before` and `queue`, or `queue` with `top`.
        """
        args: protocol.Message = {"job": job, "top": top, "before": before, "queue": queue}
        answer = self._request("move", args)
        text_in(answer, "queue")
        return cast("Moved", answer)

    def retry(self, job: str) -> Retried:
        """Run a job that has ended once more, as a new attempt."""
        answer = self._request("retry", {"job": job})
        numbers_in(answer, ("attempt",), "attempt")
        return cast("Retried", answer)

    def why(self, job: str) -> Why:
        """What a job waits for, or why it ended."""
        answer = self._request("why", {"job": job})
        if not isinstance(answer.get("because"), list):
            raise ProtocolError("runnerd sent an answer without because")
        return cast("Why", answer)

    def queues(self) -> Queues:
        """Every queue, what is promised of the machine, and what we have and may have of it."""
        answer = self._request("queues", {})
        if not isinstance(answer.get("queues"), list):
            raise ProtocolError("runnerd sent an answer without queues")
        return cast("Queues", answer)

    def set_queue(
        self, name: str, *, paused: bool = _AS_IT_IS, max_running: int | None = _AS_IT_IS
    ) -> QueueSetting:
        """Pause a queue or let it go on, or cap how many of its jobs run; for admins.

        It holds over restarts. What is not given stays; `max_running` None: as the configuration
        says.
        """
        changes = {"paused": paused, "max_running": max_running}
        given = {key: value for key, value in changes.items() if value is not _AS_IT_IS}
        answer = self._request("queue", {"name": name, **given})
        text_in(answer, "name")
        return cast("QueueSetting", answer)

    def stop_many(
        self,
        select: Selection,
        *,
        grace_seconds: float | None = None,
        kill: bool = False,
        dry_run: bool = False,
        expect: int | None = None,
    ) -> StoppedMany:
        """Stop every job of ours that is meant, an admin: of everybody unless a user is given.

        `dry_run` only counts. With `expect` nothing is stopped unless it is exactly so many.
        """
        args: protocol.Message = {"select": build_selection(select), "kill": kill}
        args |= {"grace_seconds": grace_seconds, "dry_run": dry_run, "expect": expect}
        # However many there are: those that wait are ended one after the other.
        answer = self._request("stop_many", args, timeout=None)
        numbers_in(answer, ("jobs", "queued", "running"), "numbers of jobs")
        return cast("StoppedMany", answer)

    def events(
        self, *, since: int | None = None, follow: bool = False, job: str | None = None
    ) -> EventStream:
        """What happened to our jobs, an admin: to all, after number `since`; see EventStream.

        None: from now on. `job`: to that one alone, by its full id also when it was removed.
        """
        patience = self._patience() if follow else None
        full = self._full_id(job) if follow and job is not None else job
        return EventStream(self._pool, since=since, job=full, patience=patience)
