"""The kinds that requests are made of: text of the system, paths, and closed messages.

No verbs here (`runner.messages`) and no checks beyond a value's own bounds: what belongs
together is looked at in `runner.message_checks`.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from client import protocol

MIB: Final = 1024 * 1024
PIB: Final = 2**50


class OsText(bytes):
    """Text of the operating system, whichever way it came: what the kernel will see."""

    __slots__ = ()


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A message that refuses fields it does not know."""


# An id, a dot and the name of a step are 85; of what is beyond the rest there is nothing.
MOST_REF_CHARS: Final = 128
JobRef = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MOST_REF_CHARS,
        description="an id, 4 or more characters of one, or a name, or of a group one of these, "
        f"'.' and an index or a step, at most {MOST_REF_CHARS} characters",
    ),
]
# Of a user or a group. The one above is -1 to the kernel, which means "leave it as it is".
Number = Annotated[int, Meta(ge=0, le=2**32 - 2)]
Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=protocol.MAX_NAME_CHARS,
        pattern=rf"\A{protocol.NAME_PATTERN}\Z",
        description="at most 64 letters, digits, '.', '_' and '-', the first a letter or digit",
    ),
]
User = (
    Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            description="a user's name, or a number from 0 to 4294967294",
        ),
    ]
    | Number
)
