"""Who calls, and whether they may come in: asked before what they send is read, and again later.

gRPC reads the message of a call with one before it asks anybody. So all methods are registered as
those that are streamed to, which are called when the headers are there; on the wire it is the
same. Handlers find their session in `SESSION`, and may raise whatever a session raises. What a
caller may do is the session's to say (`gateway.session`); here are the certificate, the time that a
message may take, and how a refusal is told; how many calls there are is `crowd`'s to count.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from client.errors import RequestRefused
from gateway import identity
from gateway.codes import as_refusal
from gateway.relay import client_behind
from gateway.rpc.crowd import Crowd
from gateway.rpc.details import status_of
from gateway.rpc.sending import unbroken
from gateway.tracing import Trace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from gateway.identity import Certificate
    from gateway.rpc.bounds import Bounds
    from gateway.session import Gate, Session

UNREADABLE: Final = object()
SESSION: Final[ContextVar[Session]] = ContextVar("session")
# Chosen among the users that the certificate may act for.
_USER_KEY: Final = "runner-user"
RECHECK_SECONDS = 15.0
_SAID_BY_SESSIONS: Final = frozenset({"unauthenticated", "not-permitted", "too-many-requests"})
_LOG: Final = logging.getLogger(__name__)
_Context = grpc.aio.ServicerContext[Any, Any]


class Guard(grpc.aio.ServerInterceptor):
    """Stands before every method, those of reflection and health too.

    `operations`: by a method's path what it asks for. Those that it lacks ask runnerd nothing.
    """

    def __init__(self, gate: Gate, bounds: Bounds, operations: Mapping[str, str]) -> None:
        self._gate = gate
        self._slow_seconds = bounds.slow_seconds
        self._operations = operations
        self._crowd = Crowd(gate, bounds)
        self._guarded: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[Any], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401  a handler; None: there is no such method
        """The method's handler, behind the guard."""
        name = handler_call_details.method
        if (known := self._guarded.get(name)) is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            known = self._guarded[name] = self._before(handler, self._operations.get(name))
        return known

    def _before(
        self, handler: grpc.RpcMethodHandler[Any, Any], op: str | None
    ) -> grpc.RpcMethodHandler[Any, Any]:
        own = "stream" if handler.request_streaming else "unary"
        answers = "stream" if handler.response_streaming else "unary"
        inner = getattr(handler, f"{own}_{answers}")
        make = getattr(grpc, f"stream_{answers}_rpc_method_handler")
        made: grpc.RpcMethodHandler[Any, Any] = make(
            self._outer(inner, op, is_streamed_to=handler.request_streaming),
            _reader(handler.request_deserializer),
            handler.response_serializer,
        )
        return made

    def _outer(
        self, inner: Callable[[Any, _Context], Any], op: str | None, *, is_streamed_to: bool
    ) -> Callable[[Any, _Context], Any]:
        """The same kind of function, which is how gRPC knows it."""

        async def asked(call: _Call) -> Any:  # noqa: ANN401  what the method takes
            return call.messages() if is_streamed_to else await call.message()

        async def outer(_requests: object, context: _Context) -> Any:  # noqa: ANN401  of any method
            async with self._let_in(context, op) as call:
                return await inner(await asked(call), context)

        async def iterating(_requests: object, context: _Context) -> AsyncIterator[Any]:
            async with self._let_in(context, op) as call:
                async for each in inner(await asked(call), context):
                    yield each

        return iterating if inspect.isasyncgenfunction(inner) else outer

    @asynccontextmanager
    async def _let_in(self, context: _Context, op: str | None) -> AsyncIterator[_Call]:
        try:
            session = self._entered(context)
            self._join(session, op, context)
            if op is not None:
                session.admit(op)
            SESSION.set(session)
            reading = self._crowd.reading(session.certificate)
            with _Visit(session), self._told(session, op):
                yield _Call(context, session, reading, self._slow_seconds, is_asking=op is not None)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001  each is told, a defect logged
            await _refuse(context, error)

    def _entered(self, context: _Context) -> Session:
        try:
            certificate = certificate_of(context)
        except RequestRefused as refused:
            # There is nobody to write down.
            self._gate.metrics.refused(refused.code)
            raise
        return self._session(certificate, context)

    def _join(self, session: Session, op: str | None, context: _Context) -> None:
        try:
            self._crowd.join(session.certificate, context)
        except RequestRefused as refused:
            self._tell(session, op, refused)
            raise

    @contextmanager
    def _told(self, session: Session, op: str | None) -> Iterator[None]:
        """Tell what was refused before any request of the session began, which tells its own."""
        asked = session.request_id
        try:
            yield
        except RequestRefused as refused:
            if session.request_id == asked and refused.code not in _SAID_BY_SESSIONS:
                self._tell(session, op, refused)
            raise

    def _tell(self, session: Session, op: str | None, refused: RequestRefused) -> None:
        self._gate.metrics.refused(refused.code)
        line = {"verb": op, "decision": "denied", "code": refused.code, "why": str(refused)}
        session.muffled(line)

    def _session(self, certificate: Certificate, context: _Context) -> Session:
        metadata = context.invocation_metadata() or ()
        users = [value for key, value in metadata if key == _USER_KEY]
        if len(users) > 1 or not all(isinstance(user, str) for user in users):
            self._gate.metrics.refused("invalid-argument")
            raise RequestRefused("invalid-argument", field=_USER_KEY, allowed="one name of a user")
        return self._gate.enter(
            certificate,
            remote=remote_of(context.peer()),
            api="grpc",
            user=str(users[0]) if users else None,
            trace=Trace.from_headers(metadata),
        )


def _reader(read: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """The same; what it cannot read is UNREADABLE, for a call to be refused by who knows whom."""

    def reading(data: bytes) -> Any:  # noqa: ANN401  a message
        try:
            return data if read is None else read(data)
        except DecodeError:
            return UNREADABLE

    return reading


class _Call:
    """What comes by one call. Raises RequestRefused: not readable, not in time, too often."""

    def __init__(
        self,
        context: _Context,
        session: Session,
        reading: asyncio.Semaphore,
        slow_seconds: float,
        *,
        is_asking: bool,
    ) -> None:
        self._context = context
        self._session = session
        self._reading = reading
        self._slow_seconds = slow_seconds
        self._is_asking = is_asking

    async def message(self) -> Any:  # noqa: ANN401  of any method
        """The one message of the call, or the first one."""
        try:
            async with asyncio.timeout(self._slow_seconds), self._reading:
                found = await unbroken(self._context.read())
        except TimeoutError:
            raise RequestRefused(
                "bad-request", detail=f"no whole message came in {self._slow_seconds:g} s"
            ) from None
        if found is grpc.aio.EOF:
            raise RequestRefused("bad-request", detail="the call has no message")
        return self._checked(found)

    async def messages(self) -> AsyncIterator[Any]:
        """All of them; the first one in time, the others whenever they come."""
        found = await self.message()
        while found is not grpc.aio.EOF:
            yield found
            found = await unbroken(self._context.read())
            if found is not grpc.aio.EOF:
                self._checked(found)

    def _checked(self, message: Any) -> Any:  # noqa: ANN401  the same
        if not self._is_asking:
            self._session.touch()
        if message is UNREADABLE:
            raise RequestRefused("bad-request", detail="the message cannot be read")
        return message


class _Visit:
    """Whoever may not go on while a call lasts is shown out, though nothing happens in it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._refused: RequestRefused | None = None
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._ask_later()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if kind is asyncio.CancelledError and self._refused is not None and self._task is not None:
            self._task.uncancel()
            raise self._refused from None

    def _ask_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(RECHECK_SECONDS, self._ask_again)

    def _ask_again(self) -> None:
        try:
            self._session.check()
        except RequestRefused as refused:
            self._refused = refused
            if self._task is not None:
                self._task.cancel()
        else:
            self._ask_later()


def certificate_of(context: _Context) -> Certificate:
    """The peer's. Raises RequestRefused: not by TLS 1.3, or no certificate that can be read."""
    shown = {key: list(values) for key, values in context.auth_context().items()}
    if shown.get("ssl_tls_version") != [b"TLSv1.3"]:
        raise RequestRefused("unauthenticated", detail="TLS 1.3 is needed")
    pems = shown.get("x509_pem_cert", [])
    if len(pems) != 1:
        raise RequestRefused("unauthenticated", detail="a client certificate is needed")
    try:
        return _certificate(pems[0])
    except identity.IdentityError as error:
        raise RequestRefused("unauthenticated", detail=str(error)) from None


@lru_cache(maxsize=512)
def _certificate(pem: bytes) -> Certificate:
    """Parsed once for the calls of a connection, though trusted anew for each."""
    return identity.read_certificate_pem(pem.decode("ascii", "replace"))


def remote_of(peer: str) -> str:
    """The address of the client behind what gRPC calls a peer: `ipv4:127.0.0.1:5000`."""
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    host = host.strip("[]")
    return client_behind(host, port) or host or peer


async def _refuse(context: _Context, error: Exception) -> None:
    if context.done() or context.cancelled():
        return
    refused = as_refusal(error)
    if refused.code == "internal" and not isinstance(error, RequestRefused):
        _LOG.error("a call failed", exc_info=error)
    status = status_of(refused)
    await context.abort(status.code, status.text, status.metadata)
