"""The REST application: each request is let in, decoded, answered, and encoded, in this order.

    certificate ─ Gate.enter ─► Session ─ rate ─ query, body ─► handler ─ Reply ─► JSON, tag, gzip

Rights are the session's; what is asked is in the table of routes (`gateway.rest.routes`). Nothing
is read of a request that was not counted, an address that is none among them. Whatever goes wrong
becomes problem details in one place, and nothing that was not meant to be said is.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec
from aiohttp import hdrs, web

from client.errors import ClientError, RequestRefused
from gateway.identity import IdentityError, read_certificate
from gateway.rest import bodies, negotiating, openapi
from gateway.rest.calls import Call, Reply, Route
from gateway.rest.conditions import encoded, tag_of
from gateway.rest.keys import only
from gateway.rest.problems import MEDIA_TYPE, HttpRefusal, problem
from gateway.rest.routes import ROUTES
from gateway.rest.streams import STARTED, SlowReader
from gateway.session import Session
from gateway.tracing import Trace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.identity import Certificate
    from gateway.rest.services import Services

_logger: Final = logging.getLogger(__name__)
_VERSION: Final = "/v1"
_GZIP_BYTES: Final = 1024
_THREAD_BYTES: Final = 65536
# Flows are many submissions in one.
_LARGE_BODY_FACTOR: Final = 4
_SESSION: Final = web.RequestKey("session", Session)
# Who asks too often waits for the answer: so long at most, so many at once; the rest wait for none.
# A refusal is work as well: who floods is slowed down by it, on each connection.
_LEAST_HELD_BACK_SECONDS: Final = 0.25
_HELD_BACK_SECONDS: Final = 1.0
_MOST_HELD_BACK: Final = 1024
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
# Of each connection it is the same one.
_read_certificate: Final = lru_cache(maxsize=1024)(read_certificate)
_pack: Final = partial(gzip.compress, compresslevel=5, mtime=0)
# Of documents, of which there are fewer.
_packed_once: Final = lru_cache(maxsize=256)(_pack)
_digest_once: Final = lru_cache(maxsize=256)(negotiating.digest)


def peer_certificate(request: web.Request) -> Certificate:
    """The client certificate of the request's connection. Raises RequestRefused."""
    tls = request.transport and request.transport.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True) if tls else None
    if der is None:
        raise RequestRefused("unauthenticated", detail="a client certificate is needed")
    try:
        return _read_certificate(der)
    except IdentityError as error:
        raise RequestRefused("unauthenticated", detail=str(error)) from None


def make_app(
    services: Services, *, certify: Callable[[web.Request], Certificate] = peer_certificate
) -> web.Application:
    """The application. `certify` says who a request's peer is."""
    document = encoded(openapi.document(ROUTES)) + b"\n"
    services = services._replace(document=document, streams=set())
    desk = _Desk(services, certify)
    app = web.Application(middlewares=[desk.answered])
    app.on_response_prepare.append(_add_headers)

    async def stop_streams(_app: web.Application) -> None:
        for stream in list(services.streams):
            stream.stop()

    app.on_shutdown.append(stop_streams)
    by_path: dict[str, list[Route]] = {}
    for route in ROUTES:
        for path in route.paths:
            by_path.setdefault(path, []).append(route)
    for path, routes in by_path.items():
        resource = app.router.add_resource(path)
        for route in routes:
            handler = desk.handler(route)
            resource.add_route(route.method, handler)
            if route.method == hdrs.METH_GET:
                resource.add_route(hdrs.METH_HEAD, handler)
    return app


class _Desk:
    """Takes requests in and hands answers out."""

    def __init__(self, services: Services, certify: Callable[[web.Request], Certificate]) -> None:
        self._services = services
        self._certify = certify
        self._held_back = 0

    @web.middleware
    async def answered(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Let in, and answered: whatever is raised, as problem details."""
        try:
            self._enter(request)
            return await handler(request)
        except web.HTTPNotFound:
            return _problem(request, await _not_found(request))
        except web.HTTPException as error:
            return _problem(request, _of_http(error))
        except (SlowReader, ConnectionError, asyncio.CancelledError):
            # Nobody is there to be told.
            raise
        except (ClientError, HttpRefusal, TimeoutError) as error:
            await self._hold_back(error)
            return _problem(request, error)
        except Exception as error:
            _logger.exception("%s %s failed", request.method, request.path)
            return _problem(request, error)

    def _enter(self, request: web.Request) -> None:
        """Raises RequestRefused."""
        users = request.headers.getall("Runner-User", [])
        session = request[_SESSION] = self._services.gate.enter(
            self._certify(request),
            remote=request.remote or "",
            api="rest",
            user=users[0] if users else None,
            trace=Trace.from_headers(request.headers.items()),
        )
        if request.match_info.http_exception is not None or len(users) > 1:
            # No route will count it.
            session.touch()
        only(request.headers, "Runner-User")

    async def _hold_back(self, error: BaseException) -> None:
        """Let who asks too often wait on that connection, so that a flood waits for itself."""
        seconds = getattr(error, "retry_after_seconds", None)
        if seconds is None or self._held_back >= _MOST_HELD_BACK:
            return
        self._held_back += 1
        try:
            waited = max(seconds, _LEAST_HELD_BACK_SECONDS)
            await asyncio.sleep(min(waited, _HELD_BACK_SECONDS))
        finally:
            self._held_back -= 1

    def handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """What aiohttp calls."""

        async def handle(request: web.Request) -> web.StreamResponse:
            session = request[_SESSION]
            if route.op is None:
                session.touch()
            else:
                session.admit(route.op)
            _check_origin(request)
            _check_accept(request, route)
            query = bodies.query(request.query, route.query)
            with bodies.Held(session) as held:
                body = await self._body(request, route, held)
                reply = await self._reply(
                    route, Call(request, session, self._services, query, body)
                )
            return await _response(request, reply) if isinstance(reply, Reply) else reply

        return handle

    async def _reply(self, route: Route, call: Call) -> Reply | web.StreamResponse:
        try:
            return await route.handler(call)
        except SlowReader:
            self._services.metrics.refused("slow-reader")
            raise

    async def _body(
        self, request: web.Request, route: Route, held: bodies.Held
    ) -> msgspec.Struct | None:
        """None where none is meant; then nothing of it is read either."""
        if route.body is None:
            if request.body_exists and request.content_length != 0:
                _refuse_body()
            return None
        bounds = self._services.bounds
        most = bounds.body_bytes * (_LARGE_BODY_FACTOR if route.is_large else 1)
        data = await bodies.read_body(request, most, bounds.slow_seconds, held)
        content_type = request.headers.get(hdrs.CONTENT_TYPE)
        return bodies.decoded(
            data, content_type, route.body, may_be_missing=route.body_may_be_missing
        )


def _check_origin(request: web.Request) -> None:
    """A browser shows the certificate for whatever page asks: no other site's may change anything.

    What has a body is JSON, for which browsers ask first and are refused; this is for the rest.
    """
    if request.method in (hdrs.METH_GET, hdrs.METH_HEAD):
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get(hdrs.ORIGIN)
    is_ours = site in ("same-origin", "none") if site else origin in (None, _own(request))
    if not is_ours:
        raise RequestRefused("not-permitted", detail="the request is another site's")


def _own(request: web.Request) -> str:
    return f"https://{request.host}"


def _refuse_body() -> NoReturn:
    raise HttpRefusal("bad-request", "this address takes no body", headers={"Connection": "close"})


def _check_accept(request: web.Request, route: Route) -> None:
    """That the client takes what there is. Where there are several forms the handler chooses."""
    accept = request.headers.get(hdrs.ACCEPT)
    if accept is None or "format" in route.query.__struct_fields__:
        return
    offered = [
        media
        for answer in route.answers.values()
        for media in [*([negotiating.JSON] if answer.kind else []), *answer.other]
    ]
    if negotiating.chosen(accept, offered) is None:
        there = list(dict.fromkeys(offered))
        raise HttpRefusal("not-acceptable", f"there is {', '.join(there)}", allowed=there)


async def _response(request: web.Request, reply: Reply) -> web.Response:
    """A reply as bytes: with its tag, packed where that is worth it."""
    if reply.status == 204:  # noqa: PLR2004
        return web.Response(status=204, headers=reply.headers)
    # With a line's end, for who looks at it in a terminal.
    body = reply.value if isinstance(reply.value, bytes) else encoded(reply.value) + b"\n"
    headers = {hdrs.CONTENT_TYPE: _with_charset(reply.media), **reply.headers}
    tag = _tag(reply, body) if reply.is_tagged else None
    if tag is not None and _is_known(request, tag):
        return web.Response(status=304, headers={hdrs.ETAG: f'"{tag}"', "Vary": "Accept-Encoding"})
    if len(body) > _GZIP_BYTES:
        headers["Vary"] = "Accept-Encoding"
        if negotiating.takes_gzip(request.headers.get(hdrs.ACCEPT_ENCODING)):
            body = _packed_once(body) if reply.is_constant else await _packed(body)
            headers[hdrs.CONTENT_ENCODING] = "gzip"
            tag = None if tag is None else negotiating.packed_tag(tag)
    if tag is not None:
        headers[hdrs.ETAG] = f'"{tag}"'
    return web.Response(status=reply.status, body=body, headers=headers)


def _with_charset(media: str) -> str:
    is_bare_text = media.startswith("text/") and "charset" not in media
    return f"{media}; charset=utf-8" if is_bare_text else media


def _tag(reply: Reply, body: bytes) -> str:
    if reply.is_constant:
        return _digest_once(body)
    return tag_of(reply.value) if isinstance(reply.value, dict) else negotiating.digest(body)


def _is_known(request: web.Request, tag: str) -> bool:
    header = ", ".join(request.headers.getall(hdrs.IF_NONE_MATCH, []))
    known = negotiating.tags(header) if header else []
    return tag in known or "*" in known


async def _packed(body: bytes) -> bytes:
    """A large one in a thread, so that others get their turn."""
    if len(body) < _THREAD_BYTES:
        return _pack(body)
    return await asyncio.to_thread(_pack, body)


async def _not_found(request: web.Request) -> HttpRefusal:
    """What is said of an address at which nothing is: perhaps only the version is missing."""
    there = f"{_VERSION}{request.rel_url.raw_path}"
    with suppress(ValueError):
        found = await request.app.router.resolve(request.clone(rel_url=there))
        if not isinstance(found.http_exception, web.HTTPNotFound):
            return HttpRefusal("not-found", f"nothing is at this address; perhaps {there}")
    return HttpRefusal("not-found", "nothing is at this address; see /docs")


def _of_http(error: web.HTTPException) -> BaseException:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = sorted(error.allowed_methods)
        return HttpRefusal(
            "method-not-allowed",
            f"{error.method} is not for this address",
            allowed=allowed,
            headers={hdrs.ALLOW: ", ".join(allowed)},
        )
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return HttpRefusal("body-too-large", "the body is too large")
    if error.status < 500:  # noqa: PLR2004  Expect: of what we do not know
        return RequestRefused("bad-request", detail="the request is not one that is understood")
    return error


def _problem(request: web.Request, error: BaseException) -> web.StreamResponse:
    found, headers = problem(error)
    session = request.get(_SESSION)
    if session is not None:
        found = msgspec.structs.replace(found, request_id=session.request_id)
    if STARTED in request:
        # It is too late for a status.
        raise error
    response = web.Response(
        status=found.status, body=msgspec.json.encode(found) + b"\n", content_type=MEDIA_TYPE
    )
    response.headers.update({"Cache-Control": "no-store", **headers})
    if session is None or headers.get("Connection") == "close":
        # Who is not let in has nothing more to ask here.
        response.force_close()
    return response


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    session = request.get(_SESSION)
    if session is not None:
        response.headers["X-Request-Id"] = session.request_id
    response.headers.popall("Server", None)
