"""Lets coroutines wait for a change of one job. For the event loop's thread only."""

from __future__ import annotations

import asyncio


class Changes:
    """Who waits for which job. A wake-up says "look again", never what has changed."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def next(self, job_id: str) -> asyncio.Future[None]:
        """A future that is done at the next change of the job, counted from this call on.

        Not a coroutine: what changes before it would first run would be missed.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(job_id, set())
        waiting.add(future)
        future.add_done_callback(lambda done: self._forget(job_id, done))
        return future

    def announce(self, job_id: str) -> None:
        """The job has changed, and the change is committed."""
        for future in self._waiting.pop(job_id, ()):
            if not future.done():
                future.set_result(None)

    def _forget(self, job_id: str, future: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(job_id)
        if waiting is not None:
            waiting.discard(future)
            if not waiting:
                del self._waiting[job_id]
