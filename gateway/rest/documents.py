"""What describes the interface: the OpenAPI document, a page that shows it, pages of problems.

The pages load nothing from anywhere else: their style and their script are of this server, under
a policy that forbids everything else.
"""

from __future__ import annotations

import html
import re
from functools import cache
from importlib.resources import files
from typing import Final

from gateway.rest import negotiating
from gateway.rest.calls import Answer, Call, Reply, Route
from gateway.rest.problem_pages import MEANINGS
from gateway.rest.problems import HttpRefusal, all_codes, status_of, title_of

_HTML: Final = "text/html; charset=utf-8"
PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
_CSS: Final = "text/css; charset=utf-8"
_JS: Final = "text/javascript; charset=utf-8"


@cache
def asset(name: str) -> bytes:
    """A file of the pages, which is part of the package."""
    return files("gateway.rest").joinpath("pages_files", name).read_bytes()


async def openapi(call: Call) -> Reply:
    """The document."""
    headers = {"Cache-Control": "no-cache"}
    return Reply(call.services.document, headers=headers, is_tagged=True, is_constant=True)


async def home(_call: Call) -> Reply:
    """Where to begin."""
    return Reply(b"", status=302, headers={"Location": "/docs"}, media=_HTML)


async def docs(_call: Call) -> Reply:
    """The page that shows it."""
    return _page(asset("docs.html"), _HTML)


async def style(_call: Call) -> Reply:
    """The page's style."""
    return _page(asset("docs.css"), _CSS)


async def script(_call: Call) -> Reply:
    """The page's script."""
    return _page(asset("docs.js"), _JS)


async def problem_page(call: Call) -> Reply:
    """What a problem means and what to do about it."""
    code = call.path("code")
    if code not in all_codes():
        raise HttpRefusal("not-found", "there is no problem of that name")
    return _page(_problem_html(code), _HTML)


def _page(body: bytes, media: str) -> Reply:
    return Reply(body, headers=_HEADERS, media=media, is_constant=True)


@cache
def _problem_html(code: str) -> bytes:
    title, name = html.escape(title_of(code)), html.escape(code)
    # In backticks are names of fields.
    meaning = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(MEANINGS.get(code, "")))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title>"
        '<meta name="viewport" content="width=device-width">'
        '<link rel="stylesheet" href="/docs/docs.css"></head>\n'
        f"<body><main><h1>{title}</h1>\n<p><code>{name}</code> · HTTP {status_of(code)}</p>\n"
        f'<p>{meaning}</p>\n<p><a href="/docs">The interface</a></p></main></body></html>\n'
    ).encode()


def _document(
    path: str, name: str, about: str, handler: object, media: str, *problems: str
) -> Route:
    return Route(
        method="GET", path=path, name=name, tag="gateway", is_only_plain=True, about=about,
        handler=handler, op=None, problems=problems,  # type: ignore[arg-type]
        answers={200: Answer("It.", None, {media: about})},
    )  # fmt: skip


ROUTES: Final = (
    Route(
        method="GET", path="/", name="getHome", tag="gateway", is_only_plain=True,
        about="Leads to the page that shows this document", handler=home, op=None,
        answers={302: Answer("See /docs.", None, {negotiating.HTML: "Nothing"})},
    ),
    _document("/openapi.json", "getOpenApi", "This document", openapi, negotiating.JSON),
    _document("/docs", "getDocs", "A page that shows this document", docs, negotiating.HTML),
    _document("/docs/docs.css", "getDocsStyle", "The style of the page", style, "text/css"),
    _document("/docs/docs.js", "getDocsScript", "Its script", script, "text/javascript"),
    _document("/problems/{code}", "getProblem", "What a problem means", problem_page,
              negotiating.HTML, "not-found"),
)  # fmt: skip
