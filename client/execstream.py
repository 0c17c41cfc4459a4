"""The output of a command that runs inside a job, as an iterator, and signals to it.

Unlike a log it is nowhere else: what is not read is not kept, and a connection that breaks
ends the command. What is done with the bytes is the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from client.errors import ProtocolError
from client.logstream import WINDOW_EVENTS
from client.protocol import STDERR, STDOUT

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType
    from typing import Self

    from client.connection import Connection
    from client.logstream import Pool
    from client.protocol import Message
    from client.records import ExecResult


class ExecChunk(NamedTuple):
    """Bytes of one stream, `client.protocol.STDOUT` or `STDERR`."""

    stream: int
    data: bytes


class ExecStream:
    """Iterates over ExecChunk; then `result` says how the command ended.

    It is started by the first iteration. Raises what the connection raises. Closing it before
    its end (or leaving it as a context manager) kills the command.
    """

    def __init__(self, pool: Pool, args: Message) -> None:
        self.result: ExecResult | None = None
        self._pool = pool
        self._args: Message = {**args, "credit": WINDOW_EVENTS}
        self._connection: Connection | None = None
        self._request = 0
        self._is_sending = False
        self._signals: list[int] = []
        self._chunks = self._all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[ExecChunk]:
        return self

    def __next__(self) -> ExecChunk:
        return next(self._chunks)

    def close(self) -> None:
        """End the stream, and the command if it runs; repeating is harmless."""
        self._chunks.close()

    def signal(self, number: int) -> None:
        """Send a signal to the command and what it started, but for what left its process group.

        Of the thread that iterates, be it in a handler of a signal that came meanwhile. Nothing
        happens when the command has ended.
        """
        self._signals.append(number)
        # In the middle of a frame another one has to wait for its end.
        if not self._is_sending:
            self._send_signals()

    def _all(self) -> Generator[ExecChunk, None, None]:
        connection = self._pool.take()
        try:
            self._request = connection.start_stream("exec", self._args)
            self._connection = connection
            self._send_signals()
            yield from self._events(connection)
        finally:
            self._connection = None
            if self.result is not None:
                self._pool.give(connection)
            else:
                connection.close()

    def _events(self, connection: Connection) -> Iterator[ExecChunk]:
        sequence = used = 0
        while "event" in (message := connection.receive(self._request)):
            sequence += 1
            if message.get("seq") != sequence:
                raise ProtocolError(f"event {sequence} of the output was expected next")
            yield _chunk(message["event"])
            # Credit only for what the caller is done with: that is what holds the command back.
            used += 1
            if used >= WINDOW_EVENTS // 2:
                self._notify("credit", {"events": used})
                used = 0
        self.result = _result(message["ok"])

    def _notify(self, op: str, args: Message) -> None:
        self._is_sending = True
        try:
            if self._connection is not None:
                self._connection.notify(self._request, op, args)
        finally:
            self._is_sending = False
        self._send_signals()

    def _send_signals(self) -> None:
        while self._signals and self._connection is not None and not self._is_sending:
            self._notify("signal", {"signal": self._signals.pop(0)})


def _chunk(event: Any) -> ExecChunk:  # noqa: ANN401  checked here
    if isinstance(event, dict):
        stream, data = event.get("stream"), event.get("data")
        if stream in (STDOUT, STDERR) and isinstance(data, bytes):
            return ExecChunk(stream, data)
    raise ProtocolError("runnerd sent an event of another form")


def _result(answer: Any) -> ExecResult:  # noqa: ANN401  checked here
    if isinstance(answer, dict) and isinstance(answer.get("exit_status"), int):
        return cast("ExecResult", answer)
    raise ProtocolError("runnerd ended the output without an exit status")
