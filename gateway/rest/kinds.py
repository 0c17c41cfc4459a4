"""What JSON bodies are made of: text of the operating system, names, references, closed messages.

Bounds are restated here so that the OpenAPI document knows them; runnerd checks each of them again
(docs/PROTOCOL.md), and a test holds both together. Nothing here decides or connects.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, UnsetType

_T = TypeVar("_T")
# What may be left out, or be null, which runnerd takes for the same.
Maybe: TypeAlias = _T | UnsetType | None

MIB: Final = 2**20
PIB: Final = 2**50
LARGEST: Final = 2**63 - 1
MOST_SECONDS: Final = 315_360_000


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a request: a field that it does not know is refused."""


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an answer: a newer runnerd may say more."""


_Encoded = Annotated[
    bytes,
    Meta(
        extra_json_schema={
            "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
        }
    ),
]


class Base64(Closed, frozen=True):
    """Bytes that are not UTF-8, as base64 (RFC 4648, with padding)."""

    base64: _Encoded


# Arguments, values of the environment and paths are bytes to the kernel.
Text: TypeAlias = str | Base64


class Variable(Closed, frozen=True, kw_only=True):
    """A variable of the environment whose name or value may be any bytes."""

    name: Text
    value: Text


# As many as a message to runnerd may have (`client.protocol.MAX_MAP_ITEMS`), less those of a login.
_MOST_VARIABLES: Final = 4000
_Values = Annotated[dict[str, Text], Meta(max_length=_MOST_VARIABLES)]
_Variables = Annotated[list[Variable], Meta(max_length=_MOST_VARIABLES)]
Environment: TypeAlias = _Values | _Variables

_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=_NAME,
        description="At most 64 letters, digits, '.', '_' and '-', the first a letter or digit.",
        examples=["nightly-build"],
    ),
]
JobRef = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        description="A job: its id, 4 or more characters of it, or its name; of a group's job "
        "`GROUP.INDEX` or `GROUP.STEP`.",
        examples=["3f2a9c1e"],
    ),
]
GroupRef = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        description="An array or a flow: its id, 4 or more characters of it, or its name.",
        examples=["sweep"],
    ),
]
ScheduleRef = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="A schedule: its id, 4 or more characters of it, or its name.",
        examples=["backup"],
    ),
]
Number = Annotated[int, Meta(ge=0, le=2**32 - 2)]
_Account = Annotated[str, Meta(min_length=1, max_length=256)]
User = _Account | Number
Priority = Annotated[int, Meta(ge=-1000, le=1000)]
UnixNs = Annotated[
    int, Meta(ge=0, le=LARGEST, description="Unix time in nanoseconds, a 64 bit integer.")
]
Seconds = Annotated[float, Meta(ge=0, le=MOST_SECONDS)]
Span = Annotated[float, Meta(ge=0.001, le=MOST_SECONDS)]
Grace = Annotated[
    float, Meta(ge=0, le=3600, description="Seconds from SIGTERM to SIGKILL; default runnerd's.")
]
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]
MaxRunning = Annotated[
    int, Meta(ge=1, le=2**31 - 1, description="So many of the group run at once at most.")
]
LabelName = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
]
LabelValue = Annotated[str, Meta(max_length=256, pattern=r"^[ -~]*$")]
Labels = Annotated[dict[LabelName, LabelValue], Meta(max_length=32)]
Key = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[!-~]*$",
        description="The same key gives the same job; see the header Idempotency-Key.",
    ),
]
State = Literal["queued", "starting", "running", "paused", "ended"]
Network = Literal["none", "host", "private"]
On = Literal["ok", "any", "fail", "started"]
HookEvent = Literal["started", "paused", "resumed", "retry", "ended", "ok", "fail"]
Reason = Literal[
    "exit", "signal", "oom", "timeout", "cpu-time", "output-limit", "stopped", "launch-error",
    "log-error", "deadline", "dependency", "lost",
]  # fmt: skip
RetryReason = Literal[
    "exit", "signal", "oom", "timeout", "cpu-time", "output-limit", "launch-error", "log-error",
    "lost",
]  # fmt: skip
Argv = Annotated[
    list[Text],
    Meta(min_length=1, max_length=4096, description="The command and its arguments; no shell."),
]
