"""Text that came from elsewhere, made safe and plain for a person's terminal. Pure.

Job names, commands and error details hold bytes that somebody else chose: an escape
sequence among them must not reach a terminal (it could rewrite what is on the screen).
A job's own output is not its business: `client.terminal` and `client.cli.copy`.
"""

from __future__ import annotations

from typing import Any, Final

# Characters after which a shell would read a word otherwise than it stands there.
_PLAIN: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_"
)

# What undecodable bytes 0x80 to 0xFF have become (PEP 383).
_SURROGATES: Final = range(0xDC80, 0xDD00)


def printable(value: Any) -> str:  # noqa: ANN401  whatever the wire carried
    """`value` as text in which everything that is not printable is escaped, as in a literal."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    text = value if isinstance(value, str) else repr(value)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    if code in _SURROGATES:
        return f"\\x{code - _SURROGATES.start + 0x80:02x}"
    return char.encode("unicode_escape").decode("ascii")


def command_line(argv: list[str | bytes]) -> str:
    """A command for people to read: printable, words that need it in quotes, one line."""
    return " ".join(_word(printable(item)) for item in argv)


def _word(text: str) -> str:
    if text and (_PLAIN.issuperset(text) or not text.isascii()) and " " not in text:
        return text
    return "'" + text.replace("'", "'\\''") + "'"


def width(text: str) -> int:
    """Columns that printable `text` takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    from unicodedata import combining, east_asian_width

    if combining(char):
        return 0
    return 2 if east_asian_width(char) in ("W", "F") else 1


def cut(text: str, columns: int) -> str:
    """`text`, ended with "..." when it would take more than `columns` (at least 3)."""
    if width(text) <= columns:
        return text
    room = max(columns - 3, 0)
    used = 0
    for index, char in enumerate(text):
        used += 1 if char.isascii() else _char_width(char)
        if used > room:
            return text[:index] + "..."
    return text
