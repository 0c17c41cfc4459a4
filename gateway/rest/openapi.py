"""The OpenAPI 3.1 document: made of the table of routes and of the types that handlers decode with.

Nothing is described twice: what is not in a type or in the table is not in the document.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from client import __version__
from gateway.rest import negotiating
from gateway.rest.answers_output import Interrupted, LogEnd
from gateway.rest.calls import PLACES
from gateway.rest.problems import MEDIA_TYPE, Problem, status_of, title_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.rest.calls import Answer, Route

_TEMPLATE: Final = "#/components/schemas/{name}"
# What every route may answer.
_ALWAYS: Final = (
    "invalid-argument", "unauthenticated", "not-permitted", "not-acceptable", "header-too-large",
    "too-many-requests", "internal", "unavailable", "audit-unavailable",
)  # fmt: skip
_WITH_BODY: Final = ("body-too-large", "request-timeout", "unsupported-media-type")
_TAGS: Final = {
    "jobs": "Submit, look at, change and end jobs.",
    "output": "What jobs write, and what happens to them.",
    "groups": "Arrays and flows.",
    "schedules": "Jobs that are submitted again and again.",
    "host": "Queues and upkeep.",
    "gateway": "The gateway itself.",
}
_ABOUT: Final = """\
The jobs of runnerd over mutual TLS. Who you are is your certificate; what you may is the gateway's
policy and runnerd's. The addresses of the first six routes are also there without `/v1`.

Integers may have 64 bits. Text of the operating system (arguments, values of the environment,
paths) is a string, or `{"base64": …}` where it is not UTF-8. Errors are problem details (RFC 9457).
Answers may gain fields; unknown fields and parameters of requests are refused."""
_EXAMPLES: Final[dict[str, Any]] = {
    "submitJob": {"argv": ["make", "-j4"], "cwd": "/srv/build", "name": "build",
                  "limits": {"memory_max_bytes": 268435456, "timeout_seconds": 600}},
    "submitArray": {"submit": {"argv": ["./sweep"], "cwd": "/srv/sweep"},
                    "array": {"ranges": [[0, 99, 1]], "max_running": 4}},
    "submitFlow": {"name": "release", "steps": [
        {"name": "build", "submit": {"argv": ["make"], "cwd": "/srv/build"}},
        {"name": "test", "submit": {"argv": ["make", "check"], "cwd": "/srv/build"},
         "needs": [{"step": "build"}]}]},
    "makeSchedule": {"every": "30 2 * * *", "zone": "Europe/Berlin", "name": "backup",
                     "submit": {"argv": ["backup"], "cwd": "/"}},
    "updateJob": {"limits": {"memory_max_bytes": 536870912, "pids_max": None}},
}  # fmt: skip


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The document of these routes."""
    schemas = _Schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for number, path in enumerate(route.paths):
            # The same operation at its other address has an id of its own.
            name = route.name if number == 0 else f"{route.name}Plain"
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, name, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "runner-gateway",
            "version": __version__,
            "summary": "Jobs with hard limits and isolation, over mutual TLS.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"certificate": []}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": schemas.responses,
            "parameters": _headers(),
            "securitySchemes": {
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A client certificate of the gateway's authority.",
                }
            },
        },
    }


class _Schemas:
    """The schemas of all types, and the responses that are refusals."""

    def __init__(self, routes: Sequence[Route]) -> None:
        # What streams bring: a document of this version says a body's type, not that of its lines.
        found: list[Any] = [Problem, LogEnd, Interrupted]
        for route in routes:
            found += [route.query, *PLACES.values()]
            found += [route.body] if route.body else []
            found += [each.kind for each in route.answers.values() if each.kind]
        types = list(dict.fromkeys(found))
        made, self.components = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
        self._made = dict(zip(types, made, strict=True))
        self.responses: dict[str, Any] = {}

    def of(self, kind: Any) -> dict[str, Any]:  # noqa: ANN401  a type
        """The schema of a type: a reference to it."""
        return dict(self._made[kind])

    def fields(self, kind: type[msgspec.Struct]) -> dict[str, Any]:
        """The properties of a Struct."""
        return dict(self.components[kind.__name__].get("properties", {}))

    def refusals(self, codes: Sequence[str]) -> dict[str, Any]:
        """A response for each status of these codes."""
        by_status: dict[int, list[str]] = {}
        for code in codes:
            by_status.setdefault(status_of(code), []).append(code)
        return {str(status): self._refusal(each) for status, each in sorted(by_status.items())}

    def _refusal(self, codes: list[str]) -> dict[str, Any]:
        name = re.sub(r"[^A-Za-z0-9]", "_", "_".join(sorted(set(codes))))
        said = " ".join(f"{title_of(code)} (`{code}`)." for code in sorted(set(codes)))
        headers = {"X-Request-Id": _REQUEST_ID}
        if status_of(codes[0]) in (429, 503):
            headers["Retry-After"] = _RETRY_AFTER
        self.responses[name] = {
            "description": said,
            "headers": headers,
            "content": {MEDIA_TYPE: {"schema": self.of(Problem)}},
        }
        return {"$ref": f"#/components/responses/{name}"}


_REQUEST_ID: Final = {
    "description": "What the audit log calls this request.",
    "schema": {"type": "string"},
}
_RETRY_AFTER: Final = {
    "description": "After so many seconds it is worth to try again.",
    "schema": {"type": "integer", "minimum": 1},
}


def _headers() -> dict[str, Any]:
    def header(name: str, about: str, **schema: Any) -> dict[str, Any]:  # noqa: ANN401
        return {
            "name": name, "in": "header", "required": False, "description": about,
            "schema": {"type": "string", **schema},
        }  # fmt: skip

    return {
        "RunnerUser": header(
            "Runner-User",
            "Which of the users to act for that the policy lets the certificate act for.",
            minLength=1, maxLength=256,
        ),
        "IdempotencyKey": header(
            "Idempotency-Key",
            "The same key gives the same job: 1 to 128 printable ASCII characters, in quotes or "
            "not.",
            minLength=1, maxLength=260,
        ),
        "IfMatch": header("If-Match", "Only if the job still has one of these tags."),
        "IfNoneMatch": header("If-None-Match", "Only if the job has none of these tags: else 304."),
    }  # fmt: skip


def _operation(route: Route, name: str, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": name,
        "tags": [route.tag],
        "summary": route.about,
        "parameters": _parameters(route, schemas),
        "responses": _responses(route, schemas),
    }
    if route.more:
        operation["description"] = route.more
    if route.body is not None:
        operation["requestBody"] = _body(route, schemas)
    return operation


def _parameters(route: Route, schemas: _Schemas) -> list[dict[str, Any]]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": schemas.of(PLACES[name])}
        for name in re.findall(r"\{([a-z]+)\}", route.path)
    ]
    found += [_query(name, each) for name, each in schemas.fields(route.query).items()]
    found += [
        {"name": name, "in": "header", "required": False, "description": about,
         "schema": {"type": "string"}}
        for name, about in route.headers.items()
    ]  # fmt: skip
    references = ["RunnerUser", *(["IdempotencyKey"] if route.has_key else [])]
    if route.is_conditional:
        references.append("IfNoneMatch" if route.method == "GET" else "IfMatch")
    return found + [{"$ref": f"#/components/parameters/{name}"} for name in references]


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    parameter = {"name": name, "in": "query", "required": False, "schema": schema}
    if "description" in schema:
        parameter["description"] = schema["description"]
    return parameter


def _body(route: Route, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schemas.of(route.body)}
    if route.name in _EXAMPLES:
        content["examples"] = {"plain": {"value": _EXAMPLES[route.name]}}
    media = {negotiating.JSON: content}
    if route.method == "PATCH":
        media["application/merge-patch+json"] = content
    return {"required": not route.body_may_be_missing, "content": media}


def _responses(route: Route, schemas: _Schemas) -> dict[str, Any]:
    codes = (*_ALWAYS, *(_WITH_BODY if route.body is not None else ()), *route.problems)
    if route.is_conditional and route.method != "GET":
        codes = (*codes, "precondition-failed")
    found = schemas.refusals(list(dict.fromkeys(codes)))
    for status, answer in route.answers.items():
        found[str(status)] = _answer(route, status, answer, schemas)
    if route.is_conditional and route.method == "GET":
        found["304"] = {"description": "It is as you have it."}
    return dict(sorted(found.items()))


def _answer(route: Route, status: int, answer: Answer, schemas: _Schemas) -> dict[str, Any]:
    said: dict[str, Any] = {"description": answer.about, "headers": {"X-Request-Id": _REQUEST_ID}}
    content: dict[str, Any] = {}
    if answer.kind is not None:
        content[negotiating.JSON] = {"schema": schemas.of(answer.kind)}
    for media, about in answer.other.items():
        kind = "object" if media == negotiating.JSON else "string"
        content[media] = {"schema": {"type": kind, "description": about}}
    if content:
        said["content"] = content
    for name, about in _sent_with(route, status).items():
        said["headers"][name] = {"description": about, "schema": {"type": "string"}}
    return said


def _sent_with(route: Route, status: int) -> dict[str, str]:
    """The headers that matter of an answer."""
    found = {"Location": "Where it is."} if status == 201 else {}  # noqa: PLR2004
    if route.is_conditional and route.method == "GET":
        found["ETag"] = "A strong tag, for If-None-Match and If-Match."
    if "page_token" in route.query.__struct_fields__:
        found["Link"] = 'The next page (`rel="next"`), where there is one.'
    return found
