"""The one choke point: what every interface asks goes through a Session, and nothing else does.

For each request, in this order: the certificate counts now, the policy knows it, not too often,
what is asked for is allowed, references of a caller with a scope are looked up, the audit log has
it; then runnerd is asked, as the caller's user. What was let in is counted out whatever happens.
Interfaces translate and decide nothing; runnerd decides again.
"""

from __future__ import annotations

import math
import secrets
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from client.errors import RequestRefused
from gateway import tracing
from gateway.audit import AuditError
from gateway.policy import Denied
from gateway.rates import HELD_BYTES, Muffler, Rates
from gateway.requests import Run, too_many
from gateway.session_stream import SessionStream
from gateway.upstream import Who

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from client.protocol import Message
    from gateway.identity import Certificate
    from gateway.parts import Asker, Log, Meter, PolicySource, TrustSource
    from gateway.policy import Caller, Policy
    from gateway.rates import Refusal

__all__ = ["Gate", "Session", "SessionStream"]

ANSWER_SECONDS: Final = 60.0
_ORIGIN_SUBJECT_CHARS: Final = 160


class Gate:
    """What all sessions of one process share.

    `clock` is monotonic seconds, `wall_ns` Unix time. `max_command_bytes` bounds the commands of
    bindings without a bound of their own. `trace_environment` gives variables for a job of a trace.
    """

    def __init__(  # noqa: PLR0913  what a request goes through
        self,
        *,
        policies: PolicySource,
        trust: TrustSource,
        audit: Log,
        metrics: Meter,
        upstream: Asker,
        rates: Rates | None = None,
        max_command_bytes: int | None = None,
        trace_environment: Callable[[Any], Mapping[str, str]] = tracing.environment,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.policies = policies
        self.trust = trust
        self.audit = audit
        self.metrics = metrics
        self.upstream = upstream
        self.rates = rates or Rates()
        self.max_command_bytes = max_command_bytes
        self.trace_environment = trace_environment
        self.clock = clock
        self.wall_ns = wall_ns
        self.muffler = Muffler()
        self._prefix = secrets.token_hex(4)
        self._numbers = count(1)

    def enter(
        self,
        certificate: Certificate,
        *,
        remote: str,
        api: str,
        user: str | None = None,
        trace: Any = None,  # noqa: ANN401  gateway.tracing.Trace
    ) -> Session:
        """Let the holder of a certificate in, to act for `user`, by default its binding's.

        `remote` is its address and `api` the interface, for the audit log. Raises RequestRefused:
        `unauthenticated` (the certificate does not count now), `not-permitted`.
        """
        session = Session(self, certificate, remote, api, user, trace)
        try:
            session.check()
        except RequestRefused as refused:
            # One that is revoked takes nothing from that which has replaced it.
            if refused.code == "not-permitted":
                session.count()
            raise
        return session

    def connect(self, certificate: Certificate) -> None:
        """Count a connection in; `disconnect` is to follow. Raises RequestRefused."""
        try:
            bounds = self.policies.policy.bounds(certificate)
        except Denied as denied:
            raise RequestRefused("not-permitted", detail=str(denied)) from None
        no = self.rates.connect(certificate.subject, bounds, self.clock())
        if no is not None:
            raise too_many(no)

    def disconnect(self, certificate: Certificate) -> None:
        """A connection that was counted is closed."""
        self.rates.disconnect(certificate.subject)

    def new_id(self) -> str:
        """A name for one request, for the audit log and whoever asks about it."""
        return f"{self._prefix}-{next(self._numbers)}"


class Session:
    """Asks for one caller. Not bound to a connection: make one for each request, or keep it.

    That the certificate counts and what the policy says is asked again for each request, for each
    event of a stream, and while there is none. `request_id` is that of the newest request.
    """

    def __init__(
        self,
        gate: Gate,
        certificate: Certificate,
        remote: str,
        api: str,
        user: str | None,
        trace: Any,  # noqa: ANN401
    ) -> None:
        self.gate = gate
        self.certificate = certificate
        self.remote = remote
        self.api = api
        self.trace = trace
        self.request_id = gate.new_id()
        self._user = user
        self._policy: Policy | None = None
        self._caller: Caller | None = None
        self._knocked = 0

    @property
    def caller(self) -> Caller:
        """Who asks, as the policy says now. Raises RequestRefused."""
        return self.check()

    @property
    def who(self) -> Who:
        """Whom runnerd is asked for. Not where from: connections are shared by certificate."""
        caller = self.caller
        # The serial first: whatever a name says of another one comes behind it.
        subject = caller.subject.encode("ascii", "backslashreplace").decode("ascii")
        origin = f"serial {caller.serial}, {subject[:_ORIGIN_SUBJECT_CHARS]}"
        return Who(caller.user, origin)

    def check(self) -> Caller:
        """Ask again whether, and as whom, this may go on. Raises RequestRefused."""
        why = self.gate.trust.refusal(self.certificate)
        if why is not None:
            raise self._turned_away(RequestRefused("unauthenticated", detail=why))
        policy = self.gate.policies.policy
        if self._caller is None or policy is not self._policy:
            try:
                self._caller, self._policy = policy.caller(self.certificate, self._user), policy
            except Denied as denied:
                self._caller = None
                refused = RequestRefused("not-permitted", detail=str(denied))
                raise self._turned_away(refused) from None
        return self._caller

    def admit(self, op: str) -> None:
        """Ask for role and rate before what came is read or decoded, which may be much work.

        The next `request` or `stream` counts in the rate no second time. Raises RequestRefused.
        """
        Run(self, op, {}).knock()
        self._knocked += 1

    def touch(self) -> None:
        """Ask for the rate alone: for what is neither `request` nor `stream`.

        It has no line in the audit log, unless it is refused. Raises RequestRefused.
        """
        self.check()
        self.count()

    def count(self) -> None:
        """Count one request in the rate of the certificate, if the policy knows it."""
        gate = self.gate
        with suppress(Denied):
            bounds = gate.policies.policy.bounds(self.certificate)
            self._unless(gate.rates.knock(self.certificate.subject, bounds, gate.clock()))

    def hold(self, more: int, most: int = HELD_BYTES) -> None:
        """Count bytes of a body that is read until `release`. Raises RequestRefused."""
        caller, gate = self.caller, self.gate
        no = gate.rates.hold(caller.subject, caller.bounds, gate.clock(), more, most=most)
        self._unless(no)

    def release(self, size: int) -> None:
        """So many bytes that were held are not any more."""
        self.gate.rates.release(self.certificate.subject, size)

    def _unless(self, no: Refusal | None) -> None:
        if no is not None:
            raise self._turned_away(too_many(no))

    def has_knocked(self) -> bool:
        """Whether a request that begins now was admitted before; for one of them only."""
        if not self._knocked:
            return False
        self._knocked -= 1
        return True

    def identity(self) -> Message:
        """Who the caller is here, for itself to see."""
        caller = self.caller
        scope = caller.scope
        return {
            "subject": caller.subject,
            "serial": caller.serial,
            "not_after": self.certificate.not_after,
            "user": caller.user,
            "roles": sorted(caller.roles),
            "operations": sorted(caller.verbs),
            "queues": None if scope.queues is None else list(scope.queues),
            "names": None if scope.names is None else list(scope.names),
        }

    async def request(
        self,
        op: str,
        args: Message,
        *,
        timeout: float | None = ANSWER_SECONDS,  # noqa: ASYNC109  what `client.aio` takes
    ) -> Message:
        """The answer to one operation of docs/PROTOCOL.md that is no stream.

        `timeout` in seconds, None waits for ever. Raises RequestRefused, DaemonUnavailable,
        ConnectionLost, ProtocolError.
        """
        run = Run(self, op, args)
        with run:
            asked = await run.prepared()
            answer = await self.gate.upstream.request(self.who, op, asked, timeout=timeout)
            return await run.answered(answer)

    async def permit(self, op: str) -> None:
        """Decide, count and write down what the gateway itself answers, as it would `request`.

        Raises RequestRefused.
        """
        run = Run(self, op, {})
        with run:
            await run.prepared()
            await run.answered({})

    def stream(self, op: str, args: Message, *, allowed: float = math.inf) -> SessionStream:
        """The events of `logs`, `events` or `exec`: asked for when it is entered.

        `allowed`: how many runnerd is asked for before `allow` says more.
        """
        return SessionStream(self, op, args, allowed)

    def entry(self) -> Message:
        """What each line of the audit log begins with."""
        caller = self._caller
        return {
            "time_ns": self.gate.wall_ns(),
            "request": self.request_id,
            "subject": self.certificate.subject,
            "serial": self.certificate.serial,
            "user": self._user if caller is None else caller.user,
            "remote": self.remote,
            "api": self.api,
            "trace": getattr(self.trace, "trace_id", None),
        }

    def _turned_away(self, refused: RequestRefused) -> RequestRefused:
        self.gate.metrics.refused(refused.code)
        why = {"code": refused.code, "why": refused.detail}
        self.muffled({"verb": None, "decision": "denied", **why})
        return refused

    def muffled(self, rest: Message) -> None:
        """A line on what was refused, one a second of its kind: a flood must not fill the disk."""
        kind = f"{rest['code']} {self.certificate.fingerprint}"
        left_out = self.gate.muffler.say(kind, self.gate.clock())
        if left_out is None:
            return
        # It is refused already; that there is no line the audit log itself says, once.
        with suppress(AuditError):
            self.gate.audit.write({**self.entry(), **rest, "left_out": left_out or None})
