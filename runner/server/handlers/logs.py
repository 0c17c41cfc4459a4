"""`logs`: a job's output, from a cursor to its end or for as long as it runs."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Any

from runner.lifecycle import State
from runner.logs.reader import CursorError, Gap, LogReader
from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner import messages
    from runner.logs.segment import Chunk
    from runner.logs.tail import Watch
    from runner.policy import Peer
    from runner.rows import Job
    from runner.server.connection import Stream
    from runner.server.service import Service


async def logs(
    service: Service, peer: Peer, request: messages.Logs, stream: Stream
) -> dict[str, Any]:
    """Send the output of a job of the peer, event by event, as far as it grants credit."""
    job = service.find_job(peer, request.job)
    if request.credit:
        stream.grant(request.credit)
    if request.follow:
        await _wait_for_start(service, job)
    cursor = await _Sending(service, job.id, stream, request).to_the_end()
    now = service.supervisor.store.get(job.id)
    if now is None:
        raise Refusal("no-such-job", field="job", given=job.id, detail="it was removed")
    return {"cursor": cursor, "status": service.show(now)}


async def _wait_for_start(service: Service, job: Job) -> None:
    """Until there can be a log: it is begun before the job is running."""
    changes, store = service.supervisor.changes, service.supervisor.store
    now: Job | None = job
    while now is not None and now.state in (State.QUEUED, State.STARTING):
        await changes.next(job.id)
        now = store.get(job.id)


class _Sending:
    """One reader's way through one log."""

    def __init__(
        self, service: Service, job_id: str, stream: Stream, request: messages.Logs
    ) -> None:
        self._supervisor = service.supervisor
        self._watcher = service.watcher
        self._job_id = job_id
        self._stream = stream
        self._follow = request.follow
        self._cursor = request.cursor

    async def to_the_end(self) -> int:
        """Send everything. The cursor after it."""
        path = self._supervisor.directories.log_path(self._job_id)
        try:
            reader = LogReader(path)
        except FileNotFoundError:
            # It never came to a launch: no output, which is not an error.
            if self._cursor:
                raise self._beyond(0) from None
            return 0
        with closing(reader), self._watcher.watch(path) as watch:
            await self._send_what_is_there(reader)
            while self._follow and await self._more_may_come(watch):
                await self._send_what_is_there(reader)
            # What was written between the last read and the end of the job.
            await self._send_what_is_there(reader)
        return self._cursor

    async def _send_what_is_there(self, reader: LogReader) -> None:
        """Send until nothing is left to read."""
        await self._stream.ready()
        while (piece := self._read(reader)) is not None:
            await self._stream.send(_event(piece))
            self._cursor = piece.offset + (0 if isinstance(piece, Gap) else len(piece.data))
            # Nothing here suspends while there is credit and room: others get their turn.
            await asyncio.sleep(0)
            await self._stream.ready()

    def _read(self, reader: LogReader) -> Chunk | Gap | None:
        try:
            return reader.read(self._cursor)
        except CursorError as error:
            raise self._beyond(error.end) from None

    def _beyond(self, end: int) -> Refusal:
        return Refusal(
            "invalid-argument", field="cursor", given=str(self._cursor), allowed=f"0 to {end}"
        )

    async def _more_may_come(self, watch: Watch) -> bool:
        """Wait for output or for the end of the job. False when it has ended."""
        job = self._supervisor.store.get(self._job_id)
        if job is None or job.state is State.ENDED:
            return False
        ended = self._supervisor.changes.next(self._job_id)
        grown = asyncio.ensure_future(watch.changed())
        try:
            await asyncio.wait((ended, grown), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            grown.cancel()
        if grown.done() and not grown.cancelled():
            # A watch that was closed meanwhile says so here.
            grown.result()
        return True


def _event(piece: Chunk | Gap) -> dict[str, Any]:
    if isinstance(piece, Gap):
        return {"gap_bytes": piece.gap_bytes, "offset": piece.offset}
    return {"offset": piece.offset, "runs": [list(run) for run in piece.runs], "data": piece.data}
