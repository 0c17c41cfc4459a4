"""`logs`: a job's output, from a cursor to its end or for as long as it runs.

What is sent is what `runner.logs.reader` finds, event by event, and nothing is read before it
may be sent. Each attempt has a log of its own; which one is meant and which comes next is
`runner.server.attempts`'s, which lines and times lie where `runner.server.handlers.locate`'s.
Streams and patterns are picked out by the client.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from runner import records, stored
from runner.logs.chunks import MAX_CHUNK_RUNS, MAX_EXTENT_BYTES
from runner.logs.cuts import Cut, Cuts
from runner.logs.reader import Chunk, CursorError, Extent, Gap, LogReader
from runner.refusal import Refusal
from runner.server import attempts
from runner.server.attempts import Fate, unreadable
from runner.server.outlet import FilePart
from runner.server.pieces import Packed, end_of, event_of, packed_event, packed_head

if TYPE_CHECKING:
    from runner import messages
    from runner.logs.tail import Watch
    from runner.policy import Peer
    from runner.rows import Job
    from runner.server.service import Service
    from runner.server.stream import Stream

# So much at once is not read, but sent from where it lies, and in turn with what others are sent.
_MUCH_BYTES: Final = 64 * 1024
_PIECES_OF_A_TURN: Final = 2


async def logs(
    service: Service, peer: Peer, request: messages.Logs, stream: Stream
) -> dict[str, Any]:
    """Send the output of a job of the peer, event by event, as far as it grants credit."""
    job = service.find_job(peer, request.job)
    supervisor = service.supervisor
    attempt = attempts.chosen(supervisor, job, request.attempt)
    if request.credit:
        stream.grant(request.credit)
    if request.follow and request.attempt is None:
        attempt = await attempts.once_any_begun(supervisor, job, request.until_ns)
    attempt, cursor = await _send_attempts(service, job.id, attempt, stream, request)
    now = supervisor.store.get(job.id)
    if now is None:
        raise Refusal("no-such-job", field="job", given=job.id, detail="it was removed")
    return {"cursor": cursor, "attempt": attempt, "status": service.show(now)}


async def _send_attempts(
    service: Service, job_id: str, attempt: int, stream: Stream, request: messages.Logs
) -> tuple[int, int]:
    """The attempt that was sent last, and the cursor after it."""
    supervisor, until_ns = service.supervisor, request.until_ns
    following: int | None = attempt
    cursor = request.cursor
    while following is not None:
        attempt = following
        if request.attempt is None and (attempt != 1 or _may_have_more(service, job_id, request)):
            await stream.ready()
            await stream.send({"attempt": attempt, "offset": cursor})
        if request.follow:
            await attempts.until_begun(supervisor, job_id, attempt, until_ns)
        sending = _Sending(service, job_id, attempt, stream, request)
        cursor = await sending.to_the_end(cursor)
        if sending.is_past or not request.follow or request.attempt is not None:
            break
        following = await attempts.following(supervisor, job_id, attempt, until_ns)
        cursor = cursor if following is None else 0
    return attempt, cursor


def _may_have_more(service: Service, job_id: str, request: messages.Logs) -> bool:
    """Whether a follower that has to come back must know of the first attempt that it is one."""
    job = service.supervisor.store.get(job_id) if request.follow else None
    try:
        return job is not None and stored.spec(job)["retry"] is not None
    except records.RecordError:
        return False


class _Sending:
    """One reader's way through the log of one attempt.

    `is_past`: a run after `until_ns` was met.
    """

    def __init__(
        self, service: Service, job_id: str, attempt: int, stream: Stream, request: messages.Logs
    ) -> None:
        self._supervisor = service.supervisor
        self._watcher = service.watcher
        self._problems = service.problems
        self._job_id = job_id
        self._attempt = attempt
        self._stream = stream
        self._follow = request.follow
        self._until_ns = request.until_ns
        self._cursor = 0
        self._damage: str | None = None
        self._waits = False
        self._cuts = Cuts()
        self.is_past = False

    async def to_the_end(self, cursor: int) -> int:
        """Send everything from a cursor on. The one after it."""
        self._cursor = cursor
        path = self._supervisor.directories.log_path(self._job_id, self._attempt)
        try:
            reader = LogReader(path)
        except FileNotFoundError as error:
            return await self._without_a_log(error)
        except OSError as error:
            raise unreadable(error) from error
        with closing(reader), self._watcher.watch(path) as watch:
            self._cuts = watch.cuts
            await self._send_what_is_there(reader)
            while self._follow and await self._more_may_come(reader, watch):
                await self._send_what_is_there(reader)
            result = self._result()
            # What was written between the last read and the end of the job, and whatever else
            # a writer that ended by force has left.
            await self._send_what_is_there(reader, is_growing=False)
            await self._send_lost_tail(result)
        return self._cursor

    async def _without_a_log(self, error: OSError) -> int:
        """A job that never ran has no output, which is no error; the output of another is lost."""
        now = self._fate()
        result = now.result
        if self._supervisor.store.get(self._job_id) is None:
            return self._cursor
        if now.has_started and (result is None or result["log_bytes"] != 0):
            self._tell("its log is missing")
            if result is None:
                raise unreadable(error) from error
        if self._cursor > _written_bytes(result):
            raise self._beyond(_written_bytes(result))
        await self._send_lost_tail(result)
        return self._cursor

    async def _send_what_is_there(self, reader: LogReader, *, is_growing: bool = True) -> None:
        """Send until nothing is left to read."""
        if self.is_past:
            return
        await self._ready(reader)
        pieces = 0
        while (piece := self._read(reader, is_growing=is_growing)) is not None:
            self._send_now(piece)
            pieces += 1
            if not pieces % _PIECES_OF_A_TURN:
                # Nothing here suspends while there is credit and room: others get their turn.
                await asyncio.sleep(0)
            if not self._stream.is_ready:
                await self._ready(reader)
        reader.rest()

    async def _ready(self, reader: LogReader) -> None:
        """Wait until an event may be sent; who waits holds no output in memory."""
        if not self._stream.is_ready:
            reader.rest()
        await self._stream.ready()

    async def _send(self, piece: Chunk | Packed | Gap) -> None:
        await self._stream.ready()
        self._send_now(piece)

    def _send_now(self, piece: Chunk | Packed | Gap) -> None:
        if isinstance(piece, Gap) and piece.why == "damaged" and self._damage is None:
            self._tell(f"{piece.gap_bytes} bytes of its output before byte {piece.offset} are gone")
        if isinstance(piece, Packed):
            try:
                self._stream.send_part_now(piece.head, piece.part)
            except OSError as error:
                raise unreadable(error) from error
        else:
            self._stream.send_now(event_of(piece))
        self._cursor = end_of(piece)

    async def _send_lost_tail(self, result: dict[str, Any] | None) -> None:
        """A gap up to where an ended job's output ended, when that is not stored."""
        missing = _written_bytes(result) - self._cursor
        if result is not None and missing > 0 and not self.is_past:
            await self._send(self._judged(Gap(missing, self._cursor + missing, "dropped")))

    def _read(self, reader: LogReader, *, is_growing: bool) -> Chunk | Packed | Gap | None:
        if self.is_past:
            return None
        try:
            piece = self._piece(reader, is_growing=is_growing)
        except CursorError as error:
            if self._cursor <= _written_bytes(self._result()):
                # In what was dropped last.
                return None
            raise self._beyond(error.end) from None
        except OSError as error:
            raise unreadable(error) from error
        finally:
            self._tell(reader.damage)
        if isinstance(piece, Gap):
            return self._judged(piece)
        return self._cut(piece) if isinstance(piece, Chunk) else piece

    def _piece(self, reader: LogReader, *, is_growing: bool) -> Chunk | Packed | Gap | None:
        """The next piece: as another follower had it, if it can be that."""
        cursor = self._cursor
        if self._until_ns is not None:
            # Of what may have to be cut the runs are looked at.
            return reader.read(cursor, is_growing=is_growing)
        cut = self._cuts.get(cursor)
        if cut is not None and (place := reader.take(cursor, cut)) is not None:
            return Packed(cursor, cut.packed, FilePart(*place, cut.length))
        # Up to where the pieces of all who are behind end.
        most = MAX_EXTENT_BYTES - cursor % MAX_EXTENT_BYTES
        found = reader.read(
            cursor, max_bytes=most, is_growing=is_growing, least_in_place=_MUCH_BYTES
        )
        if not isinstance(found, Extent):
            return found
        head = packed_head(found)
        if found.length == most or len(found.runs) == MAX_CHUNK_RUNS:
            self._cuts.put(cursor, Cut(found.segment, found.length, found.place, head))
        return Packed(cursor, head, FilePart(found.fd, found.position, found.length))

    def _tell(self, damage: str | None) -> None:
        """Once for each reader."""
        if damage is not None and damage != self._damage:
            self._damage = damage
            self._problems.add(damage, self._job_id)

    def _judged(self, gap: Gap) -> Gap:
        """What looks like a drop is one only where something can have been dropped.

        A job that runs was never in a power cut. One that has ended says what it dropped; one
        that is lost does not, but where output waits for room none is dropped.
        """
        job, now = self._supervisor.store.get(self._job_id), self._fate()
        if gap.why != "dropped" or job is None or not now.is_over:
            return gap
        dropped = (now.result or {}).get("log_dropped_bytes")
        if dropped is None:
            dropped = _drops_what_finds_no_room(job)
        return gap if dropped else gap._replace(why="damaged")

    def _cut(self, piece: Chunk) -> Chunk | None:
        """What was written until `until_ns`, as far as the first run that was not."""
        if self._until_ns is None:
            return piece
        length = 0
        for number, (_, size, time_ns) in enumerate(piece.runs):
            if time_ns > self._until_ns:
                self.is_past = True
                cut = Chunk(piece.offset, piece.runs[:number], piece.data[:length])
                return cut if length else None
            length += size
        return piece

    def _beyond(self, end: int) -> Refusal:
        return Refusal(
            "invalid-argument", field="cursor", given=str(self._cursor), allowed=f"0 to {end}"
        )

    def _send_at_once(self, reader: LogReader, names: bool) -> bool:  # noqa: FBT001 - as it is called
        """Send what has come. False: it needs patience, as new names do."""
        if names or not self._waits or self._until_ns is not None or not self._stream.is_ready:
            return False
        cut = self._newest(reader)
        if cut is not None and cut.length:
            self._stream.send_packed_now(cut.packed)
            self._cursor += cut.length
        return cut is not None

    def _newest(self, reader: LogReader) -> Cut | None:
        """All that is there from the cursor on, packed: as the one before had it, if it is that."""
        shared = self._cuts.newest
        if shared is not None and shared[0] == self._cursor:
            cut = shared[1]
            if reader.take(self._cursor, cut) is not None:
                return cut
        try:
            found = reader.appended(self._cursor, packed_event)
        except OSError as error:
            raise unreadable(error) from error
        if found is not None:
            self._cuts.newest = self._cursor, found
        return found

    def _result(self) -> dict[str, Any] | None:
        """How the attempt ended; None when it has not."""
        return self._fate().result

    def _fate(self) -> Fate:
        return attempts.fate(self._supervisor, self._job_id, self._attempt)

    async def _more_may_come(self, reader: LogReader, watch: Watch) -> bool:
        """Wait for the end of the attempt, and send what comes as long as that is little.

        False: it has ended, or time is up.
        """
        if self.is_past or self._fate().is_over:
            return False
        seconds = attempts.seconds_left(self._until_ns)
        if seconds is not None and seconds <= 0:
            return False
        ended = self._supervisor.changes.next(self._job_id)
        serve = partial(self._send_at_once, reader)
        grown = asyncio.ensure_future(watch.changed(serve, reader.index_name))
        self._waits = True
        try:
            await asyncio.wait((ended, grown), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waits = False
            ended.cancel()
            grown.cancel()
        if grown.done() and not grown.cancelled():
            # A watch that was closed meanwhile says so here.
            grown.result()
        return True


def _drops_what_finds_no_room(job: Job) -> bool:
    """As far as its spec can be read."""
    try:
        return bool(stored.spec(job)["logs"]["on_full"] != "wait")
    except records.RecordError:
        return False


def _written_bytes(result: dict[str, Any] | None) -> int:
    """Where the output of an ended job ends, dropped or not; 0 when that is not known."""
    return (result or {}).get("log_bytes") or 0
