"""Requests of the wire as maps, and refusals as maps: what docs/PROTOCOL.md says, and no I/O.

What an operation's arguments must be is runnerd's to check; here only what the transport itself
reads: the envelope, `hello`, `credit`, `signal`, `cancel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from client import protocol
from client.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from client.protocol import Message

_ENVELOPE: Final = frozenset({"id", "op", "args"})
_SHOWN_CHARS: Final = 60
_CLIENT_CHARS: Final = 128
_USER_CHARS: Final = 256
_MAX_CREDIT: Final = 1024
# The default of `logs`, `exec` and `events`.
DEFAULT_CREDIT: Final = 16
_SIGNALS: Final = 64
# Features of runnerd that are there through the gateway as well: a new one is decided on here.
FEATURES: Final = frozenset({
    "logs.follow", "logs.until", "logs.attempt", "locate", "prune", "drain", "submit.logs",
    "doctor.disk", "doctor.launcher", "retention", "queue", "idempotency", "labels", "select",
    "retry", "events", "stop_many", "why", "schedules", "arrays", "flows", "hooks", "act-for",
    "stats",
})  # fmt: skip


class Hello(NamedTuple):
    """A greeting: the version it asks for, and the local user to act as, if it names one."""

    version: int
    user: str | None


def request_id_of(message: Message) -> int:
    """The id of a request. Raises RequestRefused."""
    number = message.get("id")
    if type(number) is int and 1 <= number <= protocol.MAX_REQUEST_ID:
        return number
    raise _bad("id", number, f"1 to {protocol.MAX_REQUEST_ID}")


def envelope(message: Message) -> tuple[str, Message]:
    """The operation and its arguments. Raises RequestRefused."""
    if unknown := message.keys() - _ENVELOPE:
        raise _bad(shown(min(unknown, key=str)), None, "id, op, args")
    op, args = message.get("op"), message.get("args", {})
    if not isinstance(op, str):
        raise _bad("op", op, "an operation's name")
    if not isinstance(args, dict) or not all(isinstance(key, str) for key in args):
        raise _bad("args", args, "a map of names")
    return op, args


def read_hello(args: Message) -> Hello:
    """Raises RequestRefused."""
    _only(args, ("protocol", "client", "act_for"))
    version = _whole(args, "protocol", 0, protocol.MAX_REQUEST_ID)
    client = args.get("client", "")
    if not isinstance(client, str) or len(client) > _CLIENT_CHARS:
        raise _invalid("client", client, f"at most {_CLIENT_CHARS} characters")
    return Hello(version, _user(args.get("act_for")))


def _user(act_for: Any) -> str | None:  # noqa: ANN401  checked here
    if act_for is None:
        return None
    # Where it comes from is the gateway's to say.
    if not isinstance(act_for, dict) or set(act_for) != {"user"}:
        raise _invalid("act_for", act_for, "a map with user")
    user = act_for["user"]
    if not isinstance(user, str) or not 0 < len(user) <= _USER_CHARS:
        raise _invalid("act_for.user", user, "a user's name")
    return user


def read_credit(args: Message) -> int:
    """How many events are granted. Raises RequestRefused."""
    _only(args, ("events",))
    return _whole(args, "events", 1, protocol.MAX_REQUEST_ID)


def first_credit(args: Message) -> int:
    """What a request for a stream grants. Raises RequestRefused."""
    return _whole({"credit": DEFAULT_CREDIT, **args}, "credit", 0, _MAX_CREDIT)


def read_signal(args: Message) -> int:
    """The number of a signal. Raises RequestRefused."""
    _only(args, ("signal",))
    return _whole(args, "signal", 1, _SIGNALS)


def read_nothing(args: Message) -> None:
    """Raises RequestRefused when there is something."""
    _only(args, ())


def features(those: Iterable[Any]) -> list[str]:
    """Of runnerd's features those that there are through the gateway, in its order."""
    return [each for each in those if isinstance(each, str) and each in FEATURES]


def error_of(refused: RequestRefused) -> Message:
    """The `error` map of a refusal: code and data as runnerd sent them."""
    error: Message = {"code": refused.code}
    for key in ("field", "given", "allowed", "detail", "retry_after_seconds"):
        if (value := getattr(refused, key, None)) is not None:
            error[key] = value
    if refused.candidates:
        error["candidates"] = refused.candidates
    if refused.group is not None:
        error |= refused.group._asdict()
    return error


def shown(value: object) -> str:
    """What was given, shortened."""
    text = value if isinstance(value, str) else repr(value)
    return ascii(text[:_SHOWN_CHARS])[1:-1]


def _only(args: Message, names: tuple[str, ...]) -> None:
    if unknown := args.keys() - set(names):
        raise _invalid(shown(min(unknown)), None, ", ".join(names) or "nothing")


def _whole(args: Message, name: str, least: int, most: int) -> int:
    value = args.get(name)
    if type(value) is int and least <= value <= most:
        return value
    raise _invalid(name, value, f"{least} to {most}")


def _bad(field: str, given: object, allowed: str) -> RequestRefused:
    said = None if given is None else shown(given)
    return RequestRefused("bad-request", field=field, given=said, allowed=allowed)


def _invalid(field: str, given: object, allowed: str) -> RequestRefused:
    said = None if given is None else shown(given)
    return RequestRefused("invalid-argument", field=field, given=said, allowed=allowed)
