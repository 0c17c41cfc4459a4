"""Who calls, and whether they may come in: asked for each call, and while it goes on again.

Handlers find their session in `SESSION`, and may raise whatever a session raises. What a caller
may do is the session's to say (`gateway.session`); here are the certificate, the bounds of calls
and connections in flight, and how a refusal is told.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from client.errors import RequestRefused
from gateway import identity
from gateway.codes import as_refusal
from gateway.rpc.details import status_of
from gateway.tracing import Trace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.identity import Certificate
    from gateway.rpc.bounds import Bounds
    from gateway.session import Gate, Session

UNREADABLE: Final = object()
SESSION: Final[ContextVar[Session]] = ContextVar("session")
# Chosen among the users that the certificate may act for.
_USER_KEY: Final = "runner-user"
RECHECK_SECONDS = 15.0
_LOG: Final = logging.getLogger(__name__)
_Context = grpc.aio.ServicerContext[Any, Any]


class Guard(grpc.aio.ServerInterceptor):
    """Stands before every method, those of reflection and health too."""

    def __init__(self, gate: Gate, bounds: Bounds) -> None:
        self._gate = gate
        self._crowd = _Crowd(gate, bounds.calls_each)
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
            known = self._guarded[name] = self._before(handler)
        return known

    def _before(self, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        kind = "stream" if handler.request_streaming else "unary"
        kind += "_stream" if handler.response_streaming else "_unary"
        made: grpc.RpcMethodHandler[Any, Any] = getattr(grpc, f"{kind}_rpc_method_handler")(
            self._outer(getattr(handler, kind)),
            _reader(handler.request_deserializer),
            handler.response_serializer,
        )
        return made

    def _outer(self, inner: Callable[[Any, _Context], Any]) -> Callable[[Any, _Context], Any]:
        """The same kind of function, which is how gRPC knows it."""

        async def outer(request: Any, context: _Context) -> Any:  # noqa: ANN401  of any method
            async with self._let_in(context):
                if request is UNREADABLE:
                    raise RequestRefused("bad-request", detail="the message cannot be read")
                return await inner(request, context)

        async def iterating(request: Any, context: _Context) -> AsyncIterator[Any]:  # noqa: ANN401
            async with self._let_in(context):
                async for each in inner(request, context):
                    yield each

        return iterating if inspect.isasyncgenfunction(inner) else outer

    @asynccontextmanager
    async def _let_in(self, context: _Context) -> AsyncIterator[None]:
        try:
            certificate = certificate_of(context)
            session = self._session(certificate, context)
            self._crowd.join(certificate, context)
            SESSION.set(session)
            with _Visit(session):
                yield
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001  each is told, a defect logged
            await _refuse(context, error)

    def _session(self, certificate: Certificate, context: _Context) -> Session:
        metadata = context.invocation_metadata() or ()
        users = [value for key, value in metadata if key == _USER_KEY]
        if len(users) > 1 or not all(isinstance(user, str) for user in users):
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


class _Crowd:
    """How many calls each certificate's bearer has, and by which connections.

    A connection counts as long as it has a call: gRPC does not say when others come and go. A call
    that was cut off for not being read counts until its caller has seen that, or is gone.
    """

    def __init__(self, gate: Gate, calls_each: int) -> None:
        self._gate = gate
        self._most = calls_each
        self._calls: Counter[str] = Counter()
        self._peers: Counter[str] = Counter()

    def join(self, certificate: Certificate, context: _Context) -> None:
        """A call more, until it is over for its caller too. Raises RequestRefused: too many."""
        subject, peer = certificate.subject, context.peer()
        if self._calls[subject] >= self._most:
            detail = f"{self._most} calls at once are allowed to you"
            raise RequestRefused("too-many-requests", allowed=self._most, detail=detail)
        if not self._peers[peer]:
            self._gate.connect(certificate)
        self._calls[subject] += 1
        self._peers[peer] += 1

        def leave(_context: object) -> None:
            self._leave(certificate, peer)

        context.add_done_callback(leave)  # type: ignore[arg-type]  # its stubs want another context

    def _leave(self, certificate: Certificate, peer: str) -> None:
        _less(self._calls, certificate.subject)
        _less(self._peers, peer)
        if peer not in self._peers:
            self._gate.disconnect(certificate)


def _less(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


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
    """The address in what gRPC calls a peer: `ipv4:192.0.2.7:5000`, `ipv6:%5B::1%5D:5000`."""
    host = unquote(peer).partition(":")[2].rpartition(":")[0]
    return host.strip("[]") or peer


async def _refuse(context: _Context, error: Exception) -> None:
    if context.done() or context.cancelled():
        return
    refused = as_refusal(error)
    if refused.code == "internal" and not isinstance(error, RequestRefused):
        _LOG.error("a call failed", exc_info=error)
    status = status_of(refused)
    await context.abort(status.code, status.text, status.metadata)
