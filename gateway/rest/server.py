"""The HTTP server around the application: problem details also for what is not even HTTP.

Handlers are cancelled when their client goes away, so that nothing is followed for nobody. Who may
connect, how long a head may take and how large it may be, is `gateway.door`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server
from multidict import CIMultiDict, CIMultiDictProxy

from client.errors import RequestRefused
from gateway.rest.problems import MEDIA_TYPE, HttpRefusal, problem

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.web_request import BaseRequest


class _Handler(RequestHandler):
    """One connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  it may repeat what was sent
    ) -> web.StreamResponse:
        """What could not be read, or went wrong outside of the application."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        if isinstance(exc, LineTooLong):
            error: BaseException = HttpRefusal(
                "header-too-large", "the address or a header is too long"
            )
        elif status < 500:  # noqa: PLR2004
            error = RequestRefused("bad-request", detail="that is not HTTP/1.1")
        else:
            self.log_exception("a request failed", exc_info=exc)
            error = RequestRefused("internal", detail="the gateway has a defect")
        found, _ = problem(error)
        response = web.Response(
            status=found.status, body=msgspec.json.encode(found), content_type=MEDIA_TYPE
        )
        response.force_close()
        return response


class _Server(Server):
    """Makes a handler for each connection, and the request of each message."""

    def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401  aiohttp's
        super().__init__(*arguments, **more)
        inner = self.request_factory

        def factory(message: RawRequestMessage, *others: Any) -> BaseRequest:  # noqa: ANN401
            return inner(_without_expectation(message), *others)

        self.request_factory = factory

    def __call__(self) -> RequestHandler:
        return _Handler(self, loop=self._loop, **self._kwargs)


def _without_expectation(message: RawRequestMessage) -> RawRequestMessage:
    """What is expected but 100-continue may be ignored (RFC 9110 section 10.1.1).

    aiohttp would answer it before our application is asked, or fail at it.
    """
    expected = message.headers.get(hdrs.EXPECT)
    if expected is None or expected.lower() == "100-continue":
        return message
    headers = CIMultiDict(message.headers)
    headers.popall(hdrs.EXPECT)
    return message._replace(headers=CIMultiDictProxy(headers))


class RestRunner(web.AppRunner):
    """Runs the application with those settings of aiohttp's server (`gateway.door`)."""

    __slots__ = ()

    def __init__(self, app: web.Application, **settings: Any) -> None:  # noqa: ANN401  aiohttp's
        super().__init__(app, handler_cancellation=True, auto_decompress=False, **settings)

    async def _make_server(self) -> Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=True,
            **made._kwargs,  # noqa: SLF001  nothing public hands them on
        )
