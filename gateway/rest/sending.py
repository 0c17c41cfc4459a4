"""From JSON to what runnerd is sent, and back: bytes, maps, and what is left out.

Text that is not UTF-8 is `{"base64": …}` in JSON and bytes to runnerd, in both directions. What an
answer says beyond our types goes through: a newer runnerd may know more than we do.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgpack
import msgspec
from msgspec import UNSET

from client.protocol import to_wire
from gateway.rest.kinds import Base64, Variable

if TYPE_CHECKING:
    from client.protocol import Message
    from gateway.rest.submissions import FlowSubmission


def fields_of(struct: msgspec.Struct, *, nulls: bool = False) -> Message:
    """The fields that were given; those that are null only where that means something."""
    values = ((name, getattr(struct, name)) for name in struct.__struct_fields__)
    return {
        name: sent(value, nulls=nulls)
        for name, value in values
        if value is not UNSET and (nulls or value is not None)
    }


def sent(value: object, *, nulls: bool = False) -> Any:  # noqa: ANN401  any field
    """A value of a request as msgpack carries it."""
    if isinstance(value, Base64):
        return to_wire(value.base64)
    if isinstance(value, msgspec.Struct):
        return fields_of(value, nulls=nulls)
    if isinstance(value, dict):
        return {key: sent(item, nulls=nulls) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], Variable):
            return {sent(item.name): sent(item.value) for item in value}
        return [sent(item, nulls=nulls) for item in value]
    return value


def flow(asked: FlowSubmission) -> Message:
    """The fields of `submit_flow`, of which each step is encoded by itself."""
    fields = fields_of(asked)
    fields["steps"] = [msgpack.packb(step, use_bin_type=True) for step in fields["steps"]]
    return fields


def shown(value: object) -> Any:  # noqa: ANN401  any value of an answer
    """A value of an answer as JSON has it: bytes become `{"base64": …}`."""
    if isinstance(value, dict):
        return {key_of(key): shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return text_of(bytes(value))
    return value


def key_of(key: object) -> str:
    """The key of a map; JSON has none but text."""
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)


def text_of(data: bytes) -> str | dict[str, str]:
    """Bytes as text, or as base64 where they are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}
