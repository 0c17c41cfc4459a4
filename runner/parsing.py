"""From what the wire brought to a request, or to a refusal that names the field.

Reads nothing but its argument. The schema is `runner.messages`; what belongs together and
cannot be said in a schema is looked at in `runner.message_checks` and
`runner.message_queue_checks`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from client import protocol
from runner import (
    message_groups,
    message_hooks,
    message_limits,
    message_logs,
    message_queue,
    message_queue_checks,
    message_sandbox,
)
from runner.message_checks import check, invalid
from runner.message_kinds import Closed, OsText
from runner.messages import (
    ActFor,
    Cancel,
    Credit,
    Exec,
    Hello,
    List,
    Status,
    Submit,
    Update,
    Wait,
)
from runner.refusal import Refusal, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_M = TypeVar("_M", bound=Closed)
# The names are unique over all requests, so the way to one need not be remembered.
_INNER: Final[dict[str, type[Closed]]] = {
    "act_for": ActFor,
    "limits": message_limits.LimitsRequest,
    "io": message_limits.IoRequest,
    "logs": message_logs.LogsRequest,
    "sandbox": message_sandbox.SandboxRequest,
    "binds": message_sandbox.BindRequest,
    "tmpfs": message_sandbox.TmpfsRequest,
    "secrets": message_sandbox.SecretRequest,
    "net": message_sandbox.NetRequest,
    "publish": message_sandbox.PublishRequest,
    "after": message_queue.AfterRequest,
    "retry": message_queue.RetryRequest,
    "rules": message_queue.RetryRule,
    "reserve": message_queue.ReserveRequest,
    "select": message_queue.Select,
    "array": message_groups.ArrayRequest,
    "needs": message_groups.Need,
    "hooks": message_hooks.HookRequest,
}
# They hold environments, and what is in one is nobody's business, also when some of it is wrong.
_PRIVATE: Final = ("env", "submit", "steps")
_WITH_ENVIRONMENT: Final = (Submit, Exec, message_groups.SubmitFlow)
# Those that are asked most often: nothing in them belongs together.
_SIMPLE: Final = frozenset({Hello, List, Status, Wait, Credit, Cancel})
# msgspec does not say which.
_A_VARIABLE: Final = "env[...]"
_AT: Final = re.compile(r" - at `(key` in `)?\$\.?(?P<path>[^`]*)`$")
# Matched first and whole, because the name is the client's and may look like a path.
_UNKNOWN: Final = re.compile(
    r"Object contains unknown field `(?P<name>.*?)`"
    r"(?: - at `\$\.(?P<path>(?:act_for|limits|logs|sandbox|net|retry|reserve|select|array"
    r"|(?:after|needs|hooks)\[[0-9]+\])(?:\.[a-z_]+\[[0-9]+\])?)`)?",
    re.DOTALL,
)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`$", re.DOTALL)
_ENVELOPE: Final = frozenset({"id", "op", "args"})
_INDEX: Final = re.compile(r"\[[^\]]*\]")


def envelope(message: protocol.Message) -> tuple[str, protocol.Message]:
    """The operation and its arguments. Raises Refusal."""
    if not message.keys() <= _ENVELOPE:
        unknown = next(name for name in message if name not in _ENVELOPE)
        raise Refusal("bad-request", field=shown(unknown), allowed="id, op, args")
    op, args = message.get("op"), message.get("args", {})
    if not isinstance(op, str):
        raise Refusal("bad-request", field="op", given=shown(op), allowed="an operation's name")
    if not isinstance(args, dict) or not _are_names(args):
        raise Refusal("bad-request", field="args", given=shown(args), allowed="a map of names")
    return op, args


class _Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: int
    op: str
    args: msgspec.Raw = msgspec.Raw(b"\x80")


# msgpack's first byte of a map with three pairs, id, op and args; above it is no smaller map.
_FIXMAP_OF_3: Final = 0x83
_frame: Final = msgspec.msgpack.Decoder(_Frame).decode
_SHORT: Final = {
    "list": msgspec.msgpack.Decoder(List).decode,
    "status": msgspec.msgpack.Decoder(Status).decode,
    "wait": msgspec.msgpack.Decoder(Wait).decode,
}
# A body of no more bytes cannot have too many parts, whatever they are.
SHORT_BYTES: Final = protocol.MAX_REQUEST_CONTAINERS


def short(body: bytes | bytearray | memoryview) -> tuple[int, str, Closed] | None:
    """Id, operation and message of a body of at most SHORT_BYTES that asks what is asked most.

    In one step, a tenth of the time. None for every other and for each that is not as it should
    be: why, `envelope` and `parse` know.
    """
    # A map of more than three: a name comes twice, or is none of ours.
    if not body or body[0] > _FIXMAP_OF_3:
        return None
    try:
        frame = _frame(body)
        read = _SHORT.get(frame.op)
        return None if read is None else (frame.id, frame.op, read(frame.args))
    # UnicodeDecodeError is a ValueError, and so is what msgspec raises for a message that is none.
    except (ValueError, RecursionError):
        return None


def _are_names(args: dict[Any, Any]) -> bool:
    # A generator would take longer than all the names of a short request.
    for name in args:  # noqa: SIM110
        if not isinstance(name, str):
            return False
    return True


def parse(kind: type[_M], args: dict[str, Any]) -> _M:
    """The message that `args` holds. Raises Refusal."""
    if kind in _WITH_ENVIRONMENT and isinstance(args.get("env"), dict):
        args = {**args, "env": _as_bytes(args["env"])}
    try:
        message = msgspec.convert(args, kind, builtin_types=(bytes,), dec_hook=_os_text)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), args, kind) from None
    if kind not in _SIMPLE:
        check(message)
        message_queue_checks.check(message)
    return message


def _as_bytes(env: dict[Any, Any]) -> dict[Any, Any]:
    """What is text in a map, its keys among it: in one pass, for there are hundreds."""
    return {
        (key.encode("utf-8", "surrogateescape") if type(key) is str else key): (
            value.encode("utf-8", "surrogateescape") if type(value) is str else value
        )
        for key, value in env.items()
    }


def _os_text(kind: type, value: object) -> OsText:
    """Answer msgspec, which asks here for the one type that it doesn't know."""
    if kind is OsText and isinstance(value, str | bytes):
        return OsText(protocol.to_bytes(value))
    raise TypeError(f"Expected text, got `{type(value).__name__}`")


def _refusal(text: str, args: dict[str, Any], kind: type[Closed]) -> Refusal:
    """Take apart what msgspec says in one line: a path, and what is wrong there."""
    if unknown := _UNKNOWN.fullmatch(text):
        path = unknown["path"] or ""
        struct, name = _struct_at(kind, path)
        known = ", ".join(_named(struct, name).__struct_fields__)
        allowed = f"one of: {known}" if known else "no field at all"
        return invalid(_joined(path, unknown["name"]), "an unknown field", allowed)
    found = _AT.search(text)
    path = found["path"] if found else ""
    rest = text[: found.start()] if found else text
    struct, name = _struct_at(kind, path)
    if missing := _MISSING.match(rest):
        return invalid(_joined(path, missing["name"]), "nothing", "it is required")
    if path == _A_VARIABLE:
        # What could be made bytes is, and of the others the first is meant.
        value = next(value for value in args["env"].values() if not isinstance(value, bytes))
        rest = f"text, got {type(value).__name__}"
    given = "a wrong value" if path.startswith(_PRIVATE) else shown(_value_at(args, path))
    return invalid(path, given, _allowed(struct, name) or _plain(rest))


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _plain(expectation: str) -> str:
    return expectation.removeprefix("Expected ").replace("`", "")


def _struct_at(kind: type[Closed], path: str) -> tuple[type[Closed], str]:
    """The message that a path's last name belongs to, and that name without its index."""
    steps = _INDEX.sub("", path).split(".")
    for step in steps[:-1]:
        kind = _named(kind, step)
    return kind, steps[-1]


def _named(kind: type[Closed], name: str) -> type[Closed]:
    """The message inside a message."""
    if kind is Update and name == "limits":
        return message_limits.LimitsUpdate
    return _INNER.get(name, kind)


def _allowed(kind: type[Closed], name: str) -> str | None:
    """What the type says of itself: its description, or both bounds of a number."""
    hint = get_type_hints(kind, include_extras=True).get(name)
    for meta in _metas(hint):
        if meta.description:
            return meta.description
        if meta.ge is not None and meta.le is not None:
            return f"{meta.ge} to {meta.le}"
    return None


def _metas(hint: object) -> Iterator[Meta]:
    """What a type says of itself, then what the types inside it say: of a list, its items."""
    inner = get_args(hint)
    yield from (part for part in inner if isinstance(part, Meta))
    for part in inner:
        yield from _metas(part)


def _value_at(args: object, path: str) -> object:
    """What was given at a path such as `limits.io[0].path`."""
    value = args
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return value
    return value
