"""What can go wrong between a program and runnerd, and the prose for people.

The wire carries a stable code and data; `describe` alone turns them into sentences: what
failed, on what, why, and what to do. Nothing here connects or prints.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from client.error_figures import TIME, after, bound, clock, figure, is_time, with_units
from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ClientError(Exception):
    """Base of everything that this package raises on purpose. `str()` is a sentence."""


class DaemonUnavailable(ClientError):  # noqa: N818  says what is, not what it is to you
    """Nobody could be reached at the socket.

    `reason` is "missing" (no socket), "refused" (nobody listens), "denied" (no permission),
    "silent" (nobody answers) or "other"; `remedy` says what to do.
    """

    def __init__(self, reason: str, path: str, text: str, remedy: str) -> None:
        super().__init__(f"{text}; {remedy}" if remedy else text)
        self.reason = reason
        self.path = path
        self.text = text
        self.remedy = remedy


class ConnectionLost(ClientError):  # noqa: N818
    """The connection ended before the answer came: runnerd was stopped, or it dropped us."""


class NotTrusted(ClientError):  # noqa: N818
    """One side of TLS does not accept the other's certificate, or ours cannot be used.

    To try again does not help.
    """


class ProtocolError(ClientError):
    """The other side sent something that docs/PROTOCOL.md does not allow."""


class GroupMeant(NamedTuple):
    """The array or flow (`kind`) that was named where a job was asked for: its id and size."""

    group: str
    kind: str
    jobs: int


class RequestRefused(ClientError):  # noqa: N818
    """An error of the protocol, with its code and data as in docs/PROTOCOL.md.

    Raised for the daemon's refusals, and with the same field names for what this side
    finds wrong before it sends anything. `job` is what the reader called the job, where
    somebody who asked about one has put it. `group` is set with the code `is-group`.
    `retry_after_seconds` a gateway may set: asking again before is no use.
    """

    def __init__(
        self,
        code: str,
        *,
        field: str | None = None,
        given: Any = None,  # noqa: ANN401  any msgpack value
        allowed: Any = None,  # noqa: ANN401
        detail: str | None = None,
        candidates: Sequence[str] = (),
    ) -> None:
        super().__init__(code)
        self.code = code
        self.field = field
        self.given = given
        self.allowed = allowed
        self.detail = detail
        self.candidates = list(candidates)
        self.job: str | None = None
        self.group: GroupMeant | None = None
        self.retry_after_seconds: float | None = None

    @classmethod
    def from_wire(cls, error: Any) -> RequestRefused:  # noqa: ANN401  validated here
        """The exception for an `error` map. Raises ProtocolError when it is not one."""
        if not isinstance(error, dict) or not isinstance(error.get("code"), str):
            raise ProtocolError(f"runnerd sent an error without a code: {printable(error)[:200]}")
        candidates = error.get("candidates")
        refused = cls(
            error["code"],
            field=_text_or_none(error.get("field")),
            given=error.get("given"),
            allowed=error.get("allowed"),
            detail=_text_or_none(error.get("detail")),
            candidates=[str(item) for item in candidates] if isinstance(candidates, list) else [],
        )
        if refused.code == "is-group":
            refused.group = _group_in(error)
        refused.retry_after_seconds = _seconds_or_none(error.get("retry_after_seconds"))
        return refused

    def __str__(self) -> str:
        return describe(self)


def _group_in(error: Mapping[str, Any]) -> GroupMeant:
    group, kind, jobs = (error.get(key) for key in ("group", "kind", "jobs"))
    if isinstance(group, str) and isinstance(kind, str) and type(jobs) is int:
        return GroupMeant(group, kind, jobs)
    raise ProtocolError("runnerd named a group without its id, kind or size")


# Codes that say everything themselves, or that need more than the data they come with.
_PROSE: Final = {
    "bad-frame": "runnerd could not read what was sent",
    "bad-request": "runnerd did not understand the request",
    "hello-required": "runnerd wants a greeting first",
    "unsupported-protocol": (
        "this client and runnerd have no common protocol version; install the same release of both"
    ),
    "unknown-op": "this runnerd does not know that operation; it may be older than this client",
    "no-such-job": "no job of yours matches; `runctl ps --all` lists them",
    "ambiguous-job": "several jobs match; give more of the id",
    "no-such-schedule": "no schedule of yours matches; `runctl schedule list` lists them",
    "ambiguous-schedule": "several schedules match; give more of the id",
    "not-permitted": "the policy of this host does not permit it",
    "is-group": "an array or a flow; name one of its jobs",
    "not-now": "that cannot be done now",
    "job-active": "the job has not ended; stop it first",
    "job-state": "the job is not in a state for that",
    "limit-below-use": "the job uses more than that now",
    "limit-unavailable": "this host cannot enforce that limit; see `runctl doctor`",
    "too-many-requests": "too many requests are in flight",
    "too-many-jobs": (
        "too many jobs wait; try again when some have started, or have `jobs.max_queued` raised"
    ),
    "no-such-queue": "there is no such queue",
    "quota-exceeded": "your quota has no room for it; `runctl queues` shows it",
    "key-in-use": (
        "the key was used for another command; use another one, or remove that job once it ended"
    ),
    "draining": (
        "runnerd takes no jobs now, for maintenance; try again later, or have an admin end that "
        "with `runnerd drain --cancel`"
    ),
    "shutting-down": "runnerd is stopping; try again when it is back",
    "cancelled": "the request was cancelled",
    "store-error": "runnerd cannot use its store",
    "internal": "runnerd has a defect; its log has the details",
    # A gateway's own.
    "unauthenticated": "the gateway does not accept the certificate",
    "unavailable": "the gateway cannot reach runnerd; try again soon",
}

_RANGE: Final = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?) to ([0-9]{1,20})")
_MOST: Final = re.compile(r"^(at most (?:\S+, )?)([0-9]{1,19})$")
_LEAST: Final = re.compile(r"(at least|more than) ([0-9]{1,19}(?:\.[0-9]{1,9})?)(, .*)")
# "[...]" is a key of a map that the daemon does not tell.
_INDEX: Final = re.compile(r"\[(?:[0-9]+|\.\.\.)\]")
_LEAST_ID_CHARS: Final = 4
_DAY_SECONDS: Final = 86_400

# Refusals whose `given` is the job, or schedule, that was asked for: it becomes the line's subject.
_ABOUT_A_JOB: Final = (
    "no-such-job", "ambiguous-job", "job-active", "is-group", "not-now", "no-such-schedule",
    "ambiguous-schedule",
)  # fmt: skip
# Names of the protocol in the daemon's sentences on what is allowed. Plain words are names
# only before one of their values ("network private") and in "root with it".
_FIELD_NAME: Final = re.compile(
    r"\b(?:[a-z]+(?:_[a-z]+)+|filesystem|network(?= (?:none|host|private)\b)"
    r"|preset(?= untrusted\b)|[a-z]+(?= with it\b))\b"
)
# What repr() makes of bytes, perhaps shortened by the daemon.
_BYTES: Final = re.compile(
    r"""b(['"])((?:(?!\1)[ -\[\]-~]|\\[\\'"ntr]|\\x[0-9a-f]{2})*)(?:\1|\\?x?[0-9a-f]?(…))"""
)


def describe(error: BaseException, options: Mapping[str, str] | None = None) -> str:
    """One line for people: what failed, on what, why, what to do.

    `options` maps fields of the protocol to the words that the reader used for them, for
    instance {"limits.memory_max_bytes": "--mem"}; for a part of such a field the field is
    shown too. Nothing in the line can act on a terminal.
    """
    if not isinstance(error, RequestRefused):
        return printable(str(error)) or type(error).__name__
    name, parts = _said(error, options or {})
    text = "; ".join(part for part in parts if part) or error.code
    if error.candidates:
        text += ": " + ", ".join(printable(item) for item in error.candidates)
    return f"{name}: {text}" if name else text


def _said(error: RequestRefused, options: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """What the line is about, and what it says of it."""
    name, reason = _option_name(error.field, options), _reason(error)
    if error.group:
        return name if _is_of_another(error) else "", _is_group(error, error.group)
    if error.code in _ABOUT_A_JOB and not _is_of_another(error):
        subject = error.job or error.given
        return _value(subject) if subject else "", (reason,)
    if error.code == "job-state":
        state = "" if error.detail or not error.given else f"it is {_value(error.given)}"
        job = printable(error.job or "")
        return name if _is_of_another(error) else job, (reason, state)
    return name, (_given(error, options), reason, _allowed(error, options))


def _is_of_another(error: RequestRefused) -> bool:
    """Whether it is about a job that the one asked for was to come after, or be moved before."""
    return error.field not in {None, "job", "schedule", "group"}


def _reason(error: RequestRefused) -> str:
    """The daemon's own sentence, else ours for the code where the data is not enough."""
    if error.detail:
        detail = with_units(printable(error.detail))
        known = error.code in ("unsupported-protocol", "bad-frame", "internal")
        return f"{_PROSE[error.code]} ({detail})" if known else detail
    if error.code == "invalid-argument":
        return "" if error.allowed is not None or error.given is not None else "not valid"
    prose = _PROSE.get(error.code, f"runnerd refused it ({printable(error.code)})")
    asked = error.given if _is_of_another(error) else error.job or error.given
    if error.code == "no-such-job" and asked and len(_value(asked)) < _LEAST_ID_CHARS:
        return f"{prose} (of an id give at least {_LEAST_ID_CHARS} characters)"
    return prose


def _is_group(error: RequestRefused, meant: GroupMeant) -> tuple[str, str]:
    """What the one is that was named, and how one of its jobs is."""
    name, kind = _value(error.job or error.given or meant.group), printable(meant.kind)
    jobs = "1 job" if meant.jobs == 1 else f"{meant.jobs} jobs"
    member = "STEP" if meant.kind == "flow" else "INDEX"
    return f"{name} is {_article(kind)} {kind} of {jobs}", f"name one of them, {name}.{member}"


def _article(noun: str) -> str:
    return "an" if noun[:1] in tuple("aeiou") else "a"


def _given(error: RequestRefused, options: Mapping[str, str]) -> str:
    if error.given is None:
        return ""
    text = _like_text(_value(error.given))
    # Of a contradiction the daemon gives the other side: "network none".
    text = _in_words(text, options) if text.startswith("network ") else figure(error, text)
    if error.code == "quota-exceeded":
        text = with_units(text)
    return f"{text} given"


def _like_text(given: str) -> str:
    """A path, which the daemon may show as bytes are written, as text is shown."""
    if (found := _BYTES.fullmatch(given)) is None:
        return given
    path = found[2].encode("ascii").decode("unicode_escape").encode("latin-1")
    quote = '"' if b"'" in path else "'"
    return f"{quote}{printable(path)}{found[3] or quote}"


def _allowed(error: RequestRefused, options: Mapping[str, str]) -> str:
    """The wire says a range, a bound, or in words what would do."""
    if error.allowed is None:
        return ""
    text = _in_words(_value(error.allowed), options)
    if is_time(error):
        text = TIME.sub(lambda found: clock(int(found[0])), text)
    if error.code == "quota-exceeded":
        text = with_units(text)
    if found := _RANGE.fullmatch(text):
        return f"{bound(error, found[1])} to {bound(error, found[2])}{after(error)} allowed"
    if text.startswith("at most "):
        most = _MOST.sub(lambda found: f"{found[1]}{bound(error, found[2])}", text)
        return f"{most} allowed"
    if text.startswith("nothing, "):
        return "not allowed" + text.removeprefix("nothing").replace(", with ", " with ", 1)
    if found := _LEAST.fullmatch(text):
        text = f"{found[1]} {bound(error, found[2])}{after(error)}{found[3]}"
    return text if text.startswith("it is ") else f"allowed: {text}"


def _in_words(text: str, options: Mapping[str, str]) -> str:
    """The text with the reader's words for fields of the protocol that it names."""
    words = {field.rpartition(".")[2]: word for field, word in options.items()}
    return _FIELD_NAME.sub(lambda found: words.get(found[0], found[0]), text)


def _value(value: object) -> str:
    return printable(value) or "nothing"


def _option_name(field: str | None, options: Mapping[str, str]) -> str:
    """The reader's word for a field, or that of its longest stem with the field."""
    if not field:
        return ""
    if (plain := _INDEX.sub("", field)) in options:
        return options[plain]
    stem = field
    while stem:
        if stem in options:
            return options[stem] if stem == field else f"{options[stem]} ({printable(field)})"
        cut = max(stem.rfind("."), stem.rfind("["))
        stem = stem[:cut] if cut > 0 else ""
    return printable(field)


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _seconds_or_none(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Of nan every comparison is false.
    return float(value) if 0 <= value <= _DAY_SECONDS else None
