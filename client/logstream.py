"""A job's output as an iterator, with credit, gaps, and resumption after a restart.

The position only moves by what was received, and the daemon is asked again from there: so
no byte is missed or repeated. Each attempt of a job has an output of its own; who follows a job
is given one after the other. Which daemon, and how connections are shared, is `client.api`'s;
what is done with the bytes, the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from client.errors import ClientError, ProtocolError
from client.patience import is_away

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType
    from typing import Protocol, Self

    from client.connection import Connection
    from client.patience import Patience
    from client.protocol import Message
    from client.records import JobStatus, Location

    class Pool(Protocol):
        """Where connections come from, and go back to when they can be used again."""

        reached: bool

        def take(self) -> Connection: ...  # noqa: D102  the class says it
        def give(self, connection: Connection) -> None: ...  # noqa: D102


# Events in flight, at most 1 MiB each: enough to keep a socket busy, little to hold.
WINDOW_EVENTS: Final = 16


class LogChunk(NamedTuple):
    """Bytes of one stream (`client.protocol.STDOUT` or `STDERR`) that were read together.

    `offset` is absolute, among the bytes of both streams; `time_ns` is Unix time.
    """

    offset: int
    stream: int
    data: bytes
    time_ns: int


class LogGap(NamedTuple):
    """`gap_bytes` that are not there; reading goes on at `offset`.

    `why` is "removed" (by retention), "dropped" (the disk was full) or "damaged".
    """

    gap_bytes: int
    offset: int
    why: str = "removed"


class Selection(NamedTuple):
    """Which job's output, and which part of it; see `client.api.Client.logs`.

    An `attempt` is read alone, unless it `goes_on` with those that come after it.
    """

    job: str
    cursor: int = 0
    follow: bool = False
    until_ns: int | None = None
    attempt: int | None = None
    goes_on: bool = False

    def arguments(self) -> Message:
        """Those of the `logs` request; what was not asked for is left to the daemon."""
        asked = self._asdict()
        del asked["goes_on"]
        return {key: value for key, value in asked.items() if value is not None}


class LogStream:
    """Iterates over LogChunk and LogGap; then `status` is the job as it was at the end.

    `cursor` is where the next item begins, in the output of attempt `attempt`: give both to a
    later `logs` to go on from there. At the beginning of a later attempt `batches` gives an empty
    list, with both of them new. Raises what the connection raises; with a `patience` a daemon
    that goes away is waited for. Close it (or use it as a context manager) when it is left before
    its end.
    """

    def __init__(self, pool: Pool, selection: Selection, patience: Patience | None) -> None:
        self.cursor = selection.cursor
        self.attempt = selection.attempt or 1
        self.status: JobStatus | None = None
        self._pool = pool
        self._args: Message = {**selection.arguments(), "credit": WINDOW_EVENTS}
        self._position = selection.cursor
        # Whether it is known which attempt is read; until then the daemon chooses.
        self._is_known = selection.attempt is not None
        # With the later attempts: ours to ask for where the daemon was asked for one.
        self._goes_on = selection.goes_on or (selection.follow and selection.attempt is None)
        self._later: int | None = None
        self._patience = patience
        self._connection: Connection | None = None
        self._is_cancelled = False
        self._batches = self._all()
        self._items = self._flat()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[LogChunk | LogGap]:
        return self

    def __next__(self) -> LogChunk | LogGap:
        return next(self._items)

    def batches(self) -> Iterator[list[LogChunk | LogGap]]:
        """The same, in lists of what arrived together; not to be mixed with plain iteration."""
        return self._batches

    def close(self) -> None:
        """End the stream; repeating is harmless."""
        self._items.close()
        self._batches.close()

    def cancel(self) -> None:
        """Let the iteration in another thread end soon; `status` stays None."""
        self._is_cancelled = True
        if (connection := self._connection) is not None:
            connection.abort()

    def _flat(self) -> Generator[LogChunk | LogGap, None, None]:
        for batch in self._batches:
            for item in batch:
                end = len(item.data) if isinstance(item, LogChunk) else 0
                self.cursor = item.offset + end
                yield item

    def _all(self) -> Generator[list[LogChunk | LogGap], None, None]:
        while self.status is None:
            if self._later is not None:
                yield self._begin(self._later)
            try:
                connection = self._pool.take()
                if self._patience:
                    self._patience.connected()
                yield from self._from(connection)
            except ClientError as error:
                if self._is_cancelled:
                    return
                # Nobody there at the first try is a mistake to report, not an absence to bear.
                if self._patience is None or not is_away(error) or not self._pool.reached:
                    raise
                self._patience.wait(error)

    def _from(self, connection: Connection) -> Generator[list[LogChunk | LogGap], None, None]:
        """What one connection gives, from the position on."""
        reusable = False
        self._connection = connection
        if self._is_cancelled:
            # Before it was there to be aborted.
            connection.abort()
        try:
            args = {**self._args, "cursor": self._position}
            if self._is_known:
                # Not the newest that has begun by now.
                args["attempt"] = self.attempt
            request = connection.start_stream("logs", args)
            yield from self._events(connection, request)
            reusable = True
        finally:
            self._connection = None
            if reusable and not self._is_cancelled:
                self._pool.give(connection)
            else:
                connection.close()

    def _begin(self, attempt: int, start: int = 0) -> list[LogChunk | LogGap]:
        """What comes next is of that attempt, from that offset on."""
        self._later = None
        self.attempt, self._is_known = attempt, True
        self._position = self.cursor = start
        return []

    def _events(self, connection: Connection, request: int) -> Iterator[list[LogChunk | LogGap]]:
        sequence = used = 0
        while "event" in (message := connection.receive(request)):
            sequence += 1
            if message.get("seq") != sequence:
                raise ProtocolError(f"event {sequence} of the log was expected next")
            yield self._take(message["event"])
            # Credit only for what the caller is done with: that is what holds the daemon back.
            used += 1
            if used >= WINDOW_EVENTS // 2:
                connection.notify(request, "credit", {"events": used})
                used = 0
        self._end(message["ok"])

    def _take(self, event: Any) -> list[LogChunk | LogGap]:  # noqa: ANN401  checked here
        if isinstance(event, dict) and "attempt" in event:
            return self._take_attempt(event)
        try:
            batch = _gap(event) if "gap_bytes" in event else _chunks(event)
            start = int(event["offset"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ProtocolError("runnerd sent a log event of another form") from None
        if start < self._position or (start > self._position and "gap_bytes" not in event):
            raise ProtocolError(
                f"runnerd sent output from offset {start}, not from {self._position}"
            )
        if self._patience:
            self._patience.progress()
        self._is_known = True
        self._position = self.cursor = start + len(event.get("data", b""))
        return batch

    def _take_attempt(self, event: Message) -> list[LogChunk | LogGap]:
        """What comes next is of another attempt: that which the daemon chose, or the next one."""
        number, start = event["attempt"], event.get("offset", 0)
        is_new = isinstance(number, int) and number >= self.attempt + self._is_known
        if not is_new or not isinstance(start, int):
            raise ProtocolError("runnerd sent an attempt out of order")
        return self._begin(number, start)

    def _end(self, answer: Any) -> None:  # noqa: ANN401  checked here
        if not isinstance(answer, dict) or not isinstance(answer.get("status"), dict):
            raise ProtocolError("runnerd ended the log without the job's status")
        status = cast("JobStatus", answer["status"])
        newest: object = status.get("attempt")
        if self._goes_on and isinstance(newest, int) and newest > self.attempt:
            self._later = self.attempt + 1
        else:
            self.status = status


def _gap(event: Message) -> list[LogChunk | LogGap]:
    why = str(event.get("why", "removed"))
    return [LogGap(int(event["gap_bytes"]), int(event["offset"]), why)]


def _chunks(event: Message) -> list[LogChunk | LogGap]:
    """An event's runs with their bytes. Raises ValueError when they do not add up."""
    offset, data = int(event["offset"]), event["data"]
    chunks: list[LogChunk | LogGap] = []
    begin = 0
    for stream, length, time_ns in event["runs"]:
        chunks.append(LogChunk(offset + begin, stream, data[begin : begin + length], time_ns))
        begin += length
    if begin != len(data) or not isinstance(data, bytes):
        raise ValueError("runs and data differ")
    return chunks


def read_location(answer: Message) -> Location:
    """The answer to `locate`. Raises ProtocolError when it is none."""
    if not all(isinstance(answer.get(key), int) for key in ("cursor", "stdout", "stderr", "end")):
        raise ProtocolError("runnerd sent a location without its offsets")
    return cast("Location", answer)
