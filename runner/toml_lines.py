"""On which line each key of a TOML text stands, for error messages.

tomllib gives values without their places. This reads the text again, after tomllib has
accepted it: so it only has to tell keys from everything that looks like one (in strings
over several lines, in comments, in values) and checks nothing. It knows no key of ours.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str, ...]

# https://toml.io/en/v1.0.0. Up to two quotes may stand right before the three that close.
_TOKEN: Final = re.compile(
    r"""
      (?P<space>    [ \t\r]+ | \#[^\n]* )
    | (?P<newline>  \n )
    | (?P<text>     \"{3} (?: [^"\\] | \\. | "{1,2}(?!") )* "{3,5}
                  | '{3}  (?: [^'] | '{1,2}(?!') )* '{3,5}
                  | " (?: [^"\\\n] | \\. )* "
                  | ' [^'\n]* ' )
    | (?P<mark>     [][{}=,.] )
    | (?P<bare>     [^][{}=,.\s\#"']+ )
    """,
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of each key and table header, by the whole path of the key.

    `text` must be valid TOML. A key that is there more than once (a table that is opened
    twice) has its first line. Items of an array of tables share the path of the array.
    """
    return _Scanner(text).scan()


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup and match.lastgroup != "space":
            yield _Token(match.lastgroup, match[0], line)
        line += match[0].count("\n")
    yield _Token("newline", "", line)


class _Scanner:
    """One pass over the tokens: headers, keys, and values that are skipped."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._lines: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        for token in self._tokens:
            if token.text == "[":
                table = self._key((), next(self._tokens), "]")
            elif token.kind != "newline" and token.text != "]":
                self._value(self._key(table, token, "="))
        return self._lines

    def _key(self, path: Path, token: _Token, end: str) -> Path:
        """Read a dotted key from its first token to its end; note each path on the way."""
        while token.text != end:
            if token.kind in {"bare", "text"}:
                path = (*path, _name(token))
                self._lines.setdefault(path, token.line)
            token = next(self._tokens)
        return path

    def _value(self, path: Path) -> None:
        """Skip the value of the key `path`, but note the keys of the tables within it."""
        brackets: list[tuple[str, Path]] = []
        key_next = False
        for token in self._tokens:
            if token.kind == "newline" and not brackets:
                return
            if token.text in {"[", "{"}:
                brackets.append((token.text, path))
                key_next = token.text == "{"
            elif token.text == ",":
                bracket, path = brackets[-1]
                key_next = bracket == "{"
            elif token.text in {"]", "}"}:
                path = brackets.pop()[1]
            elif key_next and token.kind != "newline":
                path = self._key(path, token, "=")
                key_next = False


def _name(token: _Token) -> str:
    """The key that a token stands for: escapes are resolved by tomllib itself."""
    return token.text if token.kind == "bare" else str(tomllib.loads(f"k={token.text}")["k"])
