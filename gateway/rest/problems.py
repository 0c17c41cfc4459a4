"""Every refusal as problem details (RFC 9457): its type, its status, and the page that explains it.

What a code of runnerd means is `gateway.codes`' table; here are those that only HTTP has. Nothing
that was sent is repeated but what the refusal itself names, cut short.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import UNSET, UnsetType

from client.errors import RequestRefused, describe
from gateway.codes import CODES, RETRY_AFTER_SECONDS, as_refusal, code_of
from gateway.rest.kinds import Open
from gateway.rest.sending import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE: Final = "application/problem+json"
_MOST_SHOWN: Final = 512
_MOST_DETAIL: Final = 4096


class _Http(NamedTuple):
    status: int
    title: str


HTTP_ONLY: Final[Mapping[str, _Http]] = {
    "not-found": _Http(404, "Nothing is at this address"),
    "method-not-allowed": _Http(405, "Not with this method"),
    "not-acceptable": _Http(406, "Not to be had in that form"),
    "request-timeout": _Http(408, "The request took too long to come"),
    "precondition-failed": _Http(412, "It is not as you saw it last"),
    "body-too-large": _Http(413, "The body is too large"),
    "unsupported-media-type": _Http(415, "The body is in another form"),
    "header-too-large": _Http(431, "The address or a header is too long"),
}


class Problem(Open, frozen=True, omit_defaults=True):
    """What was refused and why (RFC 9457). `code` is stable; `field` names the part that is wrong.

    `given` is what was sent, cut short, `allowed` what would do, `candidates` are ids that an
    ambiguous one stands for; `group`, `kind` and `jobs` describe a group that was named where one
    job is meant.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str | UnsetType = UNSET
    field: str | UnsetType = UNSET
    given: Any = UNSET
    allowed: Any = UNSET
    candidates: list[str] | UnsetType = UNSET
    group: str | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    jobs: int | UnsetType = UNSET
    request_id: str | UnsetType = UNSET


class HttpRefusal(Exception):  # noqa: N818  says what it is
    """A refusal that only HTTP has, by its code; `headers` go with it."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **data: Any,  # noqa: ANN401  field, given, allowed
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.data = data


def status_of(code: str) -> int:
    """The status of any code."""
    return HTTP_ONLY[code].status if code in HTTP_ONLY else code_of(code).http


def title_of(code: str) -> str:
    """The title of any code."""
    return HTTP_ONLY[code].title if code in HTTP_ONLY else code_of(code).title


def all_codes() -> list[str]:
    """Each code that has a page."""
    return sorted({*CODES, *HTTP_ONLY})


def problem(error: BaseException) -> tuple[Problem, dict[str, str]]:
    """The problem for whatever was raised, and the headers that go with it."""
    if isinstance(error, HttpRefusal):
        return _made(error.code, error.detail, error.data), error.headers
    if isinstance(error, TimeoutError):
        error = RequestRefused("unavailable", detail="runnerd did not answer in time; try again")
    refused = as_refusal(error)
    data: dict[str, Any] = {
        name: value
        for name in ("field", "given", "allowed", "candidates")
        if (value := getattr(refused, name)) not in (None, [])
    }
    if refused.group is not None:
        data |= refused.group._asdict()
    return _made(refused.code, refused.detail or _sentence(refused), data), _later(refused)


def _made(code: str, detail: str, data: Mapping[str, Any]) -> Problem:
    fields = {name: _cut(shown(value)) for name, value in data.items()}
    return Problem(
        type=f"/problems/{_slug(code)}",
        title=title_of(code),
        status=status_of(code),
        code=code,
        detail=_cut(detail, _MOST_DETAIL),
        **fields,
    )


def _slug(code: str) -> str:
    """A code of a newer runnerd is text of somebody else's until it is one."""
    return code if re.fullmatch(r"[a-z-]{1,64}", code) else "unknown"


def _cut(value: Any, most: int = _MOST_SHOWN) -> Any:  # noqa: ANN401  any JSON value
    """Bytes of a header that are not UTF-8 come as surrogates, which JSON cannot say."""
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= most else text[:most] + "…"


def _sentence(refused: RequestRefused) -> str:
    """Prose for what comes with data alone. It is the command line's, without its hints."""
    said = describe(refused)
    return said.split("; `", 1)[0]


def _later(refused: RequestRefused) -> dict[str, str]:
    """When to try again: what the refusal says, else what is usual for its code."""
    seconds = getattr(refused, "retry_after_seconds", None)
    if seconds is None:
        seconds = RETRY_AFTER_SECONDS.get(refused.code)
    if seconds is None or status_of(refused.code) not in (429, 503):
        return {}
    # Whole seconds, and never "at once".
    return {"Retry-After": str(max(1, -int(-seconds // 1)))}
