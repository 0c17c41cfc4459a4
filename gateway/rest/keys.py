"""Headers that may be there once, and of them Idempotency-Key: in quotes, or plain.

Source: draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from client.errors import RequestRefused

if TYPE_CHECKING:
    from multidict import MultiMapping

    from client.protocol import Message

HEADER: Final = "Idempotency-Key"
FIELD: Final = "idempotency_key"
# A string of RFC 9651: printable ASCII in quotes, of which `"` and `\` are escaped.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_KEY: Final = re.compile(r"[!-~]{1,128}", re.ASCII)


def only(headers: MultiMapping[str], name: str) -> str | None:
    """A header that may be there once; None: it is not. Raises RequestRefused."""
    given = headers.getall(name, [])
    if len(given) > 1:
        raise RequestRefused("invalid-argument", field=name, detail="it is given twice")
    return given[0] if given else None


def idempotency_key(headers: MultiMapping[str], args: Message) -> None:
    """Put the key of the header into the submission. Raises RequestRefused.

    A key in the body as well has to be the same.
    """
    if (text := only(headers, HEADER)) is None:
        return
    key = _key(text.strip())
    if args.setdefault(FIELD, key) != key:
        raise RequestRefused(
            "invalid-argument",
            field=FIELD,
            given=args[FIELD],
            detail=f"the header {HEADER} has another key; give it once",
        )


def _key(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    key = text if quoted is None else re.sub(r"\\(.)", r"\1", quoted[1])
    is_torn = quoted is None and text.startswith('"')
    if is_torn or _KEY.fullmatch(key) is None:
        raise RequestRefused(
            "invalid-argument",
            field=HEADER,
            given=text,
            allowed="1 to 128 printable ASCII characters without spaces, in quotes or not",
        )
    return key
