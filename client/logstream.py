"""A job's output as an iterator, with credit, gaps, and resumption after a restart.

Where it goes on, and what may come next, is `client.log_position`'s; which daemon, and how
connections are shared, `client.api`'s; what is done with the bytes, the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from client.errors import ClientError, ProtocolError
from client.log_position import LogChunk, LogGap, LogPosition, Selection
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

        def take(self) -> Connection: ...
        def give(self, connection: Connection) -> None: ...


__all__ = ["WINDOW_EVENTS", "LogChunk", "LogGap", "LogStream", "Selection", "read_location"]

# Events in flight, at most 1 MiB each: enough to keep a socket busy, little to hold.
WINDOW_EVENTS: Final = 16


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
        self._position = LogPosition(selection)
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
            if (later := self._position.later) is not None:
                yield self._moved(self._position.begin(later))
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
            args = {**self._position.arguments(), "credit": WINDOW_EVENTS}
            request = connection.start_stream("logs", args)
            yield from self._events(connection, request)
            reusable = True
        finally:
            self._connection = None
            if reusable and not self._is_cancelled:
                self._pool.give(connection)
            else:
                connection.close()

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
        self._position.end(message["ok"])
        self.status = self._position.status

    def _take(self, event: object) -> list[LogChunk | LogGap]:
        batch = self._position.take(event)
        if self._patience and batch:
            self._patience.progress()
        return self._moved(batch)

    def _moved(self, batch: list[LogChunk | LogGap]) -> list[LogChunk | LogGap]:
        self.cursor, self.attempt = self._position.cursor, self._position.attempt
        return batch


def read_location(answer: Message) -> Location:
    """The answer to `locate`. Raises ProtocolError when it is none."""
    if not all(isinstance(answer.get(key), int) for key in ("cursor", "stdout", "stderr", "end")):
        raise ProtocolError("runnerd sent a location without its offsets")
    return cast("Location", answer)
