"""Between the messages of the protos and the maps of docs/PROTOCOL.md. Pure.

Both call things by the same names: one rule for all of them, and the few exceptions, in two
tables. Bounds are runnerd's to check; that what it answers has a field here, is a test's.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from client.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.descriptor import Descriptor, EnumDescriptor
    from google.protobuf.message import Message


_ID_DIGITS: Final = len(str(2**32))
# What is converted of one request: items of lists and maps, and messages, which are so many each.
_MOST_ITEMS: Final = 100_000
_MESSAGE_ITEMS: Final = 5


class _Shape(Enum):
    MAP = 1
    LIST = 2
    MESSAGE = 3
    SCALAR = 4


class _Field(NamedTuple):
    """What is to be known of a field. `enum` and `kind` are those of its values."""

    name: str
    shape: _Shape
    enum: _Names | None
    kind: Descriptor | None
    is_text: bool


class _Names(NamedTuple):
    """The values of an enum: by number as the protocol says them, and the other way round."""

    texts: Mapping[int, str]
    numbers: Mapping[str, int]


# To the protocol


def to_args(message: Message) -> Any:  # noqa: ANN401  a map, but for the exceptions
    """What the protocol calls it: fields that were given. Raises RequestRefused."""
    return _Given().args(message)


def id_or_name(text: str) -> str | int:
    """A user or group: digits alone are its number, as for the commands of Linux."""
    is_number = text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS
    return int(text) if is_number else text


class _Given:
    """What one request has; in two bytes there may be a message that costs much more than that."""

    def __init__(self) -> None:
        self._left = _MOST_ITEMS

    def args(self, message: Message) -> Any:  # noqa: ANN401  a map, but for the exceptions
        self._count(_MESSAGE_ITEMS)
        given = {
            field.name: self._value(_field(field), value) for field, value in message.ListFields()
        }
        special = _TO_ARGS.get(message.DESCRIPTOR.full_name)
        return special(given) if special else given

    def _count(self, items: int) -> None:
        self._left -= items
        if self._left < 0:
            raise RequestRefused(
                "invalid-argument", detail="the request has more parts than any job can have"
            )

    def _value(self, field: _Field, value: Any) -> Any:  # noqa: ANN401  as the field says
        if field.shape is _Shape.MAP:
            self._count(len(value))
            return {key: self._single(field, value[key]) for key in value}
        if field.shape is _Shape.LIST:
            self._count(len(value))
            return [self._single(field, each) for each in value]
        return self._single(field, value)

    def _single(self, field: _Field, value: Any) -> Any:  # noqa: ANN401  as the field says
        if field.kind is not None:
            return self.args(value)
        if field.enum is None:
            return value
        if (text := field.enum.texts.get(value)) is None:
            allowed = ", ".join(field.enum.numbers)
            raise RequestRefused(
                "invalid-argument", field=field.name, given=str(value), allowed=allowed
            )
        return text


def _submission(given: dict[str, Any]) -> dict[str, Any]:
    for name in ("argv", "cwd"):
        if (raw := given.pop(f"{name}_bytes", None)) is not None:
            given[name] = raw
    if (raw := given.pop("env_bytes", None)) is not None:
        given["env"] = {**given.get("env", {}), **raw}
    return _with_ids(given, "user", "group")


def _selection(given: dict[str, Any]) -> dict[str, Any]:
    if names := given.pop("label_names", None):
        given["labels"] = {**dict.fromkeys(names), **given.get("labels", {})}
    return _with_ids(given, "user")


def _with_ids(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: id_or_name(value) if key in names else value for key, value in given.items()}


_TO_ARGS: Final[Mapping[str, Callable[[dict[str, Any]], Any]]] = {
    "runnerd.v1.Egress": lambda given: given.get("destinations", []),
    "runnerd.v1.IndexRange": lambda given: [
        given.get("first", 0), given.get("last", 0), given.get("stride", 1)
    ],
    "runnerd.v1.PruneJobsRequest": lambda given: _with_ids(given, "user"),
    "runnerd.v1.Rlimit": lambda given: [given.get("soft"), given.get("hard")],
    "runnerd.v1.Selection": _selection,
    "runnerd.v1.Submission": _submission,
}  # fmt: skip


# From the protocol


def fill(message: Message, given: Any) -> None:  # noqa: ANN401  what runnerd answered
    """Set the fields that runnerd's answer has a value for. What has no field is left out."""
    special = _FROM_ANSWER.get(message.DESCRIPTOR.full_name)
    if special is not None:
        given = special(given)
    for field in _fields(message.DESCRIPTOR):
        value = given if field.name in _FLATTENED else given.get(field.name)
        if value is not None:
            _set(message, field, value)


def text_of(value: object) -> str:
    """Text of the operating system; bytes that are not UTF-8 as backslash, x and two digits."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _set(message: Message, field: _Field, value: Any) -> None:  # noqa: ANN401  as the field says
    if field.shape is _Shape.SCALAR:
        setattr(message, field.name, _scalar(field, value))
        return
    inner = getattr(message, field.name)
    if field.shape is _Shape.MESSAGE:
        inner.SetInParent()
        fill(inner, value)
    elif field.shape is _Shape.MAP:
        _set_map(inner, field, value)
    elif field.kind is not None:
        for each in value:
            fill(inner.add(), each)
    else:
        inner.extend(_scalar(field, each) for each in value)


def _set_map(inner: Any, field: _Field, value: dict[Any, Any]) -> None:  # noqa: ANN401  its map
    for key, each in value.items():
        if field.kind is not None:
            fill(inner[text_of(key)], each)
        else:
            inner[text_of(key)] = _scalar(field, each)


def _scalar(field: _Field, value: Any) -> Any:  # noqa: ANN401  as the field says
    if field.enum is not None:
        # What a newer runnerd says is not specified here.
        return value if isinstance(value, int) else field.enum.numbers.get(value, 0)
    return text_of(value) if field.is_text else value


def _with_raw(given: dict[str, Any]) -> dict[str, Any]:
    """A job, with its text as bytes too where that is not UTF-8."""
    raw: dict[str, Any] = {}
    argv, cwd = given.get("argv", ()), given.get("cwd")
    if any(isinstance(word, bytes) for word in argv):
        raw["argv_bytes"] = [_bytes(word) for word in argv]
    if isinstance(cwd, bytes):
        raw["cwd_bytes"] = cwd
    return {**given, **raw} if raw else given


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


# Of these messages the field holds what the protocol says beside the other fields.
_FLATTENED: Final = frozenset({"summary"})
_FROM_ANSWER: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "runnerd.v1.Egress": lambda given: {"destinations": given},
    "runnerd.v1.Event": lambda given: {**given, "kind_name": given.get("kind")},
    "runnerd.v1.GetScheduleResponse": lambda given: {**given, "submission": given.get("submit")},
    "runnerd.v1.GroupMember": lambda given: {**given, "job": given},
    "runnerd.v1.JobSummary": _with_raw,
    "runnerd.v1.Rlimit": lambda given: {"soft": given[0], "hard": given[1]},
    "runnerd.v1.Submission": _with_raw,
}


# What the descriptors say


@cache
def _fields(kind: Descriptor) -> tuple[_Field, ...]:
    return tuple(_field(field) for field in kind.fields)


@cache
def _field(field: FieldDescriptor) -> _Field:
    if not field.is_repeated:
        shape = _Shape.SCALAR if field.message_type is None else _Shape.MESSAGE
        return _described(field, field.name, shape)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _described(field.message_type.fields_by_name["value"], field.name, _Shape.MAP)
    return _described(field, field.name, _Shape.LIST)


def _described(value: FieldDescriptor, name: str, shape: _Shape) -> _Field:
    enum = None if value.enum_type is None else _names(value.enum_type)
    return _Field(name, shape, enum, value.message_type, value.type == FieldDescriptor.TYPE_STRING)


@cache
def _names(enum: EnumDescriptor) -> _Names:
    """`JOB_STATE_QUEUED` is "queued": the enum's own name and what is not specified left out."""
    cut = len(enum.values_by_number[0].name) - len("UNSPECIFIED")
    texts = {
        number: value.name[cut:].lower().replace("_", "-")
        for number, value in enum.values_by_number.items()
        if number != 0
    }
    return _Names(texts, {text: number for number, text in texts.items()})
