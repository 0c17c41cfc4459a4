"""The life of one request of a session: let in, read, decided on, looked up, written down, counted.

`gateway.session` asks runnerd between `prepared` and `answered`. In the audit log a read has one
line, with its outcome, before the answer is handed out. What writes, streams or waits has two, of
one request id: the decision before runnerd is asked (no line, no request), and the outcome after
it. Where the second one cannot be written the first one is there, and the answer is given: what
has happened has happened.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import msgspec

from client.errors import RequestRefused
from gateway import filtering
from gateway.asking import MOST_STEPS, Asked
from gateway.audit import NO_AUDIT, AuditError
from gateway.codes import as_refusal
from gateway.policy import Act, shown
from gateway.resolving import Resolver
from gateway.scope import narrowed
from gateway.scoped_events import ScopedEvents
from gateway.surroundings import complete
from gateway.verbs import VERBS, Target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from client.protocol import Message
    from gateway.policy import Caller, Decision
    from gateway.rates import Refusal
    from gateway.session import Session
    from gateway.verbs import Verb

# Nothing that runnerd could be asked for is left for whom a scope bounds.
_UNBOUNDED: Final = frozenset({"drain", "prune", "stats"})
# Of a flow, as much work as a submission: each is read, and encoded anew.
_STEPS_OF_ONE: Final = 50


class _LetIn(NamedTuple):
    """What is known of a request that may go on."""

    caller: Caller
    verb: Verb
    asked: Asked


class Run:
    """One request. A context manager: entering lets it in, leaving counts it out."""

    def __init__(
        self, session: Session, op: str, args: Message, *, is_stream: bool = False
    ) -> None:
        self.op = op if type(op) is str else "?"
        self._session, self._gate = session, session.gate
        self._given = args
        self._is_stream = is_stream
        self._is_long = is_stream or (self.op in VERBS and VERBS[self.op].is_long)
        self._id = ""
        self._began = 0.0
        # As far as it came: who asks, and is counted; what is asked for; all that is to be known.
        self._counted: Caller | None = None
        self._asked: Asked | None = None
        self._let: _LetIn | None = None
        self._events: ScopedEvents | None = None
        # What the audit log has: that it is asked, that it was turned away, what became of it.
        self._is_announced = self._is_said = False
        self._is_sent = False
        self._code = "ok"

    # Let in

    def __enter__(self) -> Self:
        """Raises RequestRefused."""
        self._began = self._gate.clock()
        self._id = self._session.request_id = self._gate.new_id()
        try:
            self._let = self._let_in()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if error is not None:
            self._failed(error)
        self._count_out()
        verb = self.op if self.op in VERBS else "unknown"
        seconds = self._gate.clock() - self._began
        self._gate.metrics.request(self._session.api, verb, self._code, seconds)

    def knock(self) -> None:
        """Role and rate, before what was sent is decoded. Raises RequestRefused."""
        self._began = self._gate.clock()
        self._id = self._session.request_id = self._gate.new_id()
        try:
            self._knock()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def _knock(self) -> None:
        caller = self._checked()
        self._may_ask(caller)
        no = self._gate.rates.knock(caller.subject, caller.bounds, self._began)
        if no is not None:
            raise too_many(no)

    def _checked(self) -> Caller:
        try:
            return self._session.check()
        except RequestRefused:
            self._is_said = True
            raise

    def _may_ask(self, caller: Caller) -> Verb:
        verb = VERBS.get(self.op)
        if verb is None or self.op not in caller.verbs:
            raise _refusal(self._gate.policies.policy.decide(caller, Act(op=self.op)))
        return verb

    def _let_in(self) -> _LetIn:
        caller = self._checked()
        self._count(caller)
        verb = self._may_ask(caller)
        if verb.is_stream is not self._is_stream:
            allowed = "an operation with events" if self._is_stream else "one without events"
            raise RequestRefused("bad-request", field="op", given=shown(self.op), allowed=allowed)
        self._asked = asked = Asked(self.op, self._given, self._environment())
        self._decide(caller, asked)
        return _LetIn(caller, verb, asked)

    def _environment(self) -> Mapping[str, str]:
        trace = self._session.trace
        return {} if trace is None else self._gate.trace_environment(trace)

    @property
    def _here(self) -> _LetIn:
        if self._let is None:
            raise RuntimeError("a request that was not let in")
        return self._let

    def _count(self, caller: Caller) -> None:
        subject, bounds, rates = caller.subject, caller.bounds, self._gate.rates
        has_knocked = self._session.has_knocked()
        no = rates.begin(
            subject, bounds, self._began, is_long=self._is_long, has_knocked=has_knocked
        )
        if no is not None:
            raise too_many(no)
        self._counted = caller
        if self._is_stream:
            self._gate.metrics.stream_opened(self._session.api)
        verb = VERBS.get(self.op)
        if verb is not None and verb.target is Target.SUBMISSION:
            no = rates.submit(subject, bounds, self._began, self._cost())
            if no is not None:
                raise too_many(no)

    def _cost(self) -> int:
        """In submissions: a flow is a bit of work for each of its steps."""
        steps = self._given.get("steps") if self.op == "submit_flow" else None
        return 1 + min(len(steps), MOST_STEPS) // _STEPS_OF_ONE if isinstance(steps, list) else 1

    def _count_out(self) -> None:
        if self._counted is None:
            return
        self._gate.rates.end(self._counted.subject, is_long=self._is_long)
        self._counted = None
        if self._is_stream:
            self._gate.metrics.stream_closed(self._session.api)

    def _decide(self, caller: Caller, asked: Asked) -> None:
        act = msgspec.structs.replace(asked.act, max_command_bytes=self._gate.max_command_bytes)
        decision = self._gate.policies.policy.decide(caller, act)
        if not decision.allowed:
            raise _refusal(decision)
        if not caller.scope.is_everything:
            self._check_bounded(caller)

    def _check_bounded(self, caller: Caller) -> None:
        """What cannot be narrowed to a scope nobody with one may ask for."""
        names_only = self.op == "queue" and caller.scope.names is not None
        if self.op in _UNBOUNDED or names_only:
            raise RequestRefused(
                "not-permitted",
                detail=f"{self.op} is about more than the queues and names that are "
                f"{shown(caller.subject)}'s; it needs a binding without them",
            )

    # Looked up

    async def prepared(self) -> Message:
        """The arguments to be sent, after the audit log has what it must have by now."""
        caller, verb, asked = self._here
        if not caller.scope.is_everything:
            await self._bound(caller, verb, asked)
        if verb.writes or self._is_long:
            self._write(self._line("asked", "allowed"))
            self._is_announced = True
        args = asked.args()
        if verb.target is Target.SUBMISSION:
            # Users are looked up, and directories: both may be far away.
            args = await asyncio.to_thread(complete, self.op, args, caller.user)
        self.still()
        self._is_sent = True
        return args

    async def _bound(self, caller: Caller, verb: Verb, asked: Asked) -> None:
        """Everything that is named by its id, everything that is selected within the scope."""
        resolver = Resolver(caller.scope, self._ask)
        await resolver.resolve(asked.references, writes=verb.writes)
        if self.op in ("list", "stop_many"):
            found = narrowed(caller.scope, asked.select)
            if verb.writes and found.why is not None:
                raise RequestRefused("not-permitted", field="select", detail=f"name {found.why}")
            asked.narrow(found.select)
        if self.op == "events":
            self._events = ScopedEvents(resolver)

    async def _ask(self, op: str, args: Message) -> Message:
        """A question of ours on behalf of the caller, for what it has asked."""
        return await self._gate.upstream.request(self._session.who, op, args)

    def still(self) -> None:
        """That the caller may go on as the one who was let in. Raises RequestRefused."""
        if self._session.check() != self._here.caller:
            raise RequestRefused("not-permitted", detail="the policy has changed; ask again")

    # Answered

    async def answered(self, answer: Message) -> Message:
        """What of an answer is handed out, once the audit log has the outcome."""
        caller, verb, _ = self._here
        if self._is_long:
            self.still()
        if not caller.scope.is_everything:
            if answer.get("existing") is True:
                await Resolver(caller.scope, self._ask).check_existing(answer)
            answer = filtering.shown(caller.scope, self.op, answer)
        if self._counted is not None and (entries := _entries(answer)):
            self._gate.rates.answered(self._counted.subject, entries)
        self._say_done(answer.get("job") or answer.get("group") if verb.writes else None)
        return answer

    def ended(self) -> None:
        """A stream is over."""
        self._say_done(None)

    async def may_see(self, event: Message) -> bool:
        """Whether an event is the caller's to see. Raises RequestRefused: it may not go on."""
        self.still()
        if self._events is not None:
            return await self._events.may_see(event)
        data = event.get("data")
        if self.op == "logs" and isinstance(data, bytes):
            self._gate.metrics.log_bytes(len(data))
        return True

    # Written down

    def _say_done(self, made: object) -> None:
        try:
            self._write({**self._line("done", "allowed"), "made": made})
        except RequestRefused:
            if not self._is_announced:
                raise
        self._is_said = True

    def _failed(self, error: BaseException) -> None:
        is_cancelled = isinstance(error, asyncio.CancelledError | GeneratorExit)
        refused = as_refusal(error)
        self._code = "cancelled" if is_cancelled else refused.code
        if self._is_said:
            return
        if not self._is_sent:
            self._gate.metrics.refused(self._code)
        self._say_failed(None if is_cancelled else str(refused))

    def _say_failed(self, why: str | None) -> None:
        line = {**self._line("done", "allowed" if self._is_sent else "denied"), "why": why}
        if self._code == "too-many-requests":
            self._session.muffled({**line, "code": self._code})
            return
        # It has failed anyway; that there is no line the audit log itself says, once.
        with suppress(AuditError):
            self._gate.audit.write({**line, "code": self._code})

    def _line(self, phase: str, decision: str) -> dict[str, Any]:
        about = {} if self._asked is None else self._asked.about()
        seconds = None if phase == "asked" else self._gate.clock() - self._began
        return {
            **self._session.entry(),
            "request": self._id,
            "verb": self.op,
            **about,
            "phase": phase,
            "decision": decision,
            "code": self._code if phase == "done" else None,
            "seconds": seconds,
        }

    def _write(self, line: Message) -> None:
        try:
            self._gate.audit.write(line)
        except AuditError:
            raise RequestRefused("audit-unavailable", detail=NO_AUDIT) from None


def _entries(answer: Message) -> int:
    """How many jobs, members or the like it lists."""
    return sum(len(each) for each in answer.values() if isinstance(each, list))


def too_many(no: Refusal) -> RequestRefused:
    """How being too much is said."""
    detail = f"{no.why}; try again in {no.retry_after_seconds:.3g} s"
    refused = RequestRefused("too-many-requests", detail=detail)
    refused.retry_after_seconds = no.retry_after_seconds
    return refused


def _refusal(decision: Decision) -> RequestRefused:
    return RequestRefused(decision.code, field=decision.field, detail=decision.why)
