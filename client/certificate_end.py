"""Until when a certificate counts, read from its file without a library for certificates.

Only as much of DER (X.690) is known as lies before the date. Nothing here decides about trust.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Final

_MOST_BYTES: Final = 1024 * 1024
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
# Of RFC 5280, 4.1.2.5: a year of two digits is one from 1950 to 2049.
_FORMS: Final = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
_MIDDLE_YEAR: Final = 2050
_LONG: Final = 0x80


def certificate_end(path: str) -> int | None:
    """The end of the first certificate of a PEM file, Unix seconds; None: it cannot be read."""
    try:
        with open(path, "rb") as file:
            text = file.read(_MOST_BYTES).decode("ascii", "replace")
        begin = text.index(_BEGIN)
        end = text.index(_END, begin) + len(_END)
        return _not_after(ssl.PEM_cert_to_DER_cert(text[begin:end]))
    except (OSError, ValueError, IndexError):
        return None


def _not_after(der: bytes) -> int:
    """Raises ValueError, IndexError."""
    rest, _ = _inside(*_inside(der, 0, _SEQUENCE), _SEQUENCE)
    data, at = rest, 0
    if data[at] == _VERSION:
        at = _next(data, at)
    # The number, the algorithm and the issuer.
    for _ in range(3):
        at = _next(data, at)
    validity, _ = _inside(data, at, _SEQUENCE)
    at = _next(validity, 0)
    tag, (start, end) = validity[at], _bounds(validity, at)
    found = datetime.strptime(validity[start:end].decode("ascii"), _FORMS.get(tag, "")).replace(
        tzinfo=UTC
    )
    if tag == min(_FORMS) and found.year >= _MIDDLE_YEAR:
        found = found.replace(year=found.year - 100)
    return int(found.timestamp())


def _inside(data: bytes, at: int, tag: int) -> tuple[bytes, int]:
    """What a value of that tag holds, and where to begin in it. Raises ValueError."""
    if data[at] != tag:
        raise ValueError("not a certificate")
    start, end = _bounds(data, at)
    return data[start:end], 0


def _next(data: bytes, at: int) -> int:
    return _bounds(data, at)[1]


def _bounds(data: bytes, at: int) -> tuple[int, int]:
    """Where the contents of the value at that place begin and end. Raises ValueError."""
    start, length = at + 2, data[at + 1]
    if length >= _LONG:
        start += length - _LONG
        length = int.from_bytes(data[at + 2 : start], "big")
    if start + length > len(data):
        raise ValueError("cut short")
    return start, start + length
