"""A gate whose neighbours only remember: what was asked of runnerd, written down, counted.

`answers` maps an operation to its answer, to a function of its arguments, or to an exception.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from gateway.audit import AuditError
from gateway.identity import Certificate
from gateway.policy import Binding, Bounds, Policy
from gateway.scope import EVERYTHING, Scope
from gateway.session import Gate, Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

    from client.protocol import Message
    from gateway.upstream import Who

JOB = "3f2a5a5e-0000-4000-8000-000000000001"
OTHER_JOB = "3f2a5a5e-0000-4000-8000-000000000002"
GROUP = "9b1d5a5e-0000-4000-8000-000000000001"
SCHEDULE = "5c0e5a5e-0000-4000-8000-000000000001"
ALICE = Certificate((), "alice", "3f", "CN=ca", 2**33, "ab" * 32)


def run(body: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(10):
            return await body

    return asyncio.run(bounded())


class Events:
    def __init__(self, events: list[Any], answer: Message) -> None:
        self._events, self.answer = list(events), {}
        self._last = answer
        self.more_allowed = 0
        self.signals: list[int] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if not self._events:
            self.answer = self._last
            raise StopAsyncIteration
        if self._events[0] is None:
            # Nothing happens any more.
            await asyncio.Event().wait()
        event = self._events.pop(0)
        if isinstance(event, BaseException):
            raise event
        return event

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def allow(self, events: int) -> None:
        self.more_allowed += events


class Recorder:
    """Upstream, metrics, trust, policy and audit log in one."""

    def __init__(self, binding: Binding | None = None, answers: Mapping[str, Any] = {}) -> None:
        self.policy = Policy([binding] if binding else [])
        self.answers = dict(answers)
        self.asked: list[tuple[str, Message]] = []
        self.who: list[Who] = []
        self.lines: list[Message] = []
        self.counted: list[tuple[str, str]] = []
        self.refusals: list[str] = []
        self.open_streams = self.bytes = 0
        self.distrust: str | None = None
        self.audit_fails_at: set[int] = set()
        self.events: list[Any] = []
        self.stream_of: Events | None = None
        self.now = 0.0
        self.gate = Gate(
            policies=self, trust=self, audit=self, metrics=_Meter(self), upstream=self,
            clock=lambda: self.now, wall_ns=lambda: 1,
            trace_environment=lambda trace: {"TRACEPARENT": trace},
        )  # fmt: skip

    def enter(self, **given: Any) -> Session:
        return self.gate.enter(ALICE, remote="192.0.2.7", api="rest", **given)

    # gateway.trust

    def refusal(self, _certificate: Certificate) -> str | None:
        return self.distrust

    # gateway.audit

    def write(self, entry: Mapping[str, Any]) -> None:
        if len(self.lines) in self.audit_fails_at:
            raise AuditError("audit.log cannot be written: No space left on device")
        self.lines.append({key: value for key, value in entry.items() if value is not None})

    # gateway.upstream

    async def request(
        self,
        who: Who,
        op: str,
        args: Message,
        *,
        timeout: float | None = 60.0,  # noqa: ARG002, ASYNC109
    ) -> Message:
        self.asked.append((op, args))
        self.who.append(who)
        await asyncio.sleep(0)
        return self._answer(op, args)

    @asynccontextmanager
    async def stream(
        self, who: Who, op: str, args: Message, *, allowed: float = math.inf
    ) -> AsyncIterator[Events]:
        self.allowed = allowed
        self.asked.append((op, args))
        self.who.append(who)
        self.stream_of = Events(self.events, self._answer(op, args))
        yield self.stream_of

    def _answer(self, op: str, args: Message) -> Message:
        answer = self.answers.get(op, {})
        if callable(answer) and not isinstance(answer, BaseException):
            answer = answer(args)
        if isinstance(answer, BaseException):
            raise answer
        found: Message = answer
        return found


class _Meter:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def request(self, _api: str, verb: str, code: str, _seconds: float) -> None:
        self._recorder.counted.append((verb, code))

    def stream_opened(self, _api: str) -> None:
        self._recorder.open_streams += 1

    def stream_closed(self, _api: str) -> None:
        self._recorder.open_streams -= 1

    def log_bytes(self, count: int) -> None:
        self._recorder.bytes += count

    def refused(self, reason: str) -> None:
        self._recorder.refusals.append(reason)


def binding(
    *roles: str, scope: Scope = EVERYTHING, bounds: Bounds | None = None, **more: Any
) -> Binding:
    """One for alice."""
    given = {"match": "CN=alice", "user": "alice", **more}
    return Binding(roles=frozenset(roles), scope=scope, bounds=bounds or Bounds(), **given)


def job(name: str | None = "ci-1", queue: str = "ci", **more: Any) -> Message:
    """As `status` answers."""
    return {"job": JOB, "name": name, "queue": queue, "group": None, "group_name": None, **more}
