"""A refusal as a gRPC status: its name, its sentence, and the details that programs read. Pure.

The details are a google.rpc.Status with ErrorInfo, BadRequest and RetryInfo, as clients of any
language know them, and a runnerd.v1.Refusal with all there is. Those of google.rpc are so few and
so settled that they are written here field by field. Sources: google/rpc/status.proto,
google/rpc/error_details.proto, protobuf.dev "Encoding".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration

from client.errors import RequestRefused, describe
from gateway.codes import RETRY_AFTER_SECONDS, code_of
from gateway.proto.runnerd.v1.errors_pb2 import NamedGroup, Refusal

if TYPE_CHECKING:
    from google.protobuf.message import Message

DETAILS_KEY: Final = "grpc-status-details-bin"
RETRY_KEY: Final = "retry-after"
_DOMAIN: Final = "runnerd"
_TYPES: Final = "type.googleapis.com/"
# Clients take 8 KiB of trailing metadata: the details a third longer, for base64, and the sentence
# once more, up to three times as long.
_MAX_BYTES: Final = 480
_MAX_CANDIDATES: Final = 20


class Status(NamedTuple):
    """What a call ends with that is refused."""

    code: grpc.StatusCode
    text: str
    metadata: tuple[tuple[str, str | bytes], ...]


def status_of(refused: RequestRefused) -> Status:
    """The status of a refusal; `gateway.codes.as_refusal` makes one of anything else."""
    code = grpc.StatusCode[code_of(refused.code).grpc]
    text, seconds = _short(describe(refused)), _retry_after(refused)
    details = _details(code.value[0], text, refused, seconds)
    metadata: list[tuple[str, str | bytes]] = [(DETAILS_KEY, details)]
    if seconds is not None:
        metadata.append((RETRY_KEY, str(max(1, round(seconds)))))
    return Status(code, text, tuple(metadata))


def _retry_after(refused: RequestRefused) -> float | None:
    own: float | None = getattr(refused, "retry_after_seconds", None)
    return own if own is not None else RETRY_AFTER_SECONDS.get(refused.code)


def _details(number: int, text: str, refused: RequestRefused, seconds: float | None) -> bytes:
    parts = [_any("google.rpc.ErrorInfo", _error_info(refused))]
    if refused.code == "invalid-argument" and refused.field:
        parts.append(_any("google.rpc.BadRequest", _bad_request(refused.field, text)))
    if seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(round(seconds * 1e9))
        parts.append(_any("google.rpc.RetryInfo", _part(1, delay.SerializeToString())))
    parts.append(_packed(_refusal(refused, seconds)))
    return bytes((1 << 3, number)) + _text(2, text) + b"".join(_part(3, each) for each in parts)


def _error_info(refused: RequestRefused) -> bytes:
    """The reason as its form is prescribed: UPPER_SNAKE_CASE."""
    return _text(1, refused.code.upper().replace("-", "_")) + _text(2, _DOMAIN)


def _bad_request(field: str, text: str) -> bytes:
    return _part(1, _text(1, _short(field)) + _text(2, text))


def _refusal(refused: RequestRefused, seconds: float | None) -> Refusal:
    group = refused.group
    return Refusal(
        code=refused.code,
        field=_short(refused.field),
        given=_short(refused.given),
        allowed=_short(refused.allowed),
        detail=_short(refused.detail),
        candidates=refused.candidates[:_MAX_CANDIDATES],
        group=group and NamedGroup(group=group.group, kind=group.kind, jobs=group.jobs),
        retry_after_seconds=seconds,
    )


def _short(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    text = "" if value is None else str(value)
    return text.encode("utf-8", "replace")[:_MAX_BYTES].decode("utf-8", "ignore")


def _packed(message: Message) -> bytes:
    packed = Any()
    packed.Pack(message)
    return packed.SerializeToString()


def _any(name: str, body: bytes) -> bytes:
    return Any(type_url=_TYPES + name, value=body).SerializeToString()


def _text(number: int, text: str) -> bytes:
    return _part(number, text.encode())


def _part(number: int, body: bytes) -> bytes:
    """A field of the kind LEN: its key, its length, itself."""
    return bytes((number << 3 | 2,)) + _length(len(body)) + body


def _length(number: int) -> bytes:
    low = bytearray()
    while number > 127:  # noqa: PLR2004  seven bits in each byte
        low.append(number & 127 | 128)
        number >>= 7
    low.append(number)
    return bytes(low)
