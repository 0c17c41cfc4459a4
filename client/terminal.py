"""A job's output made harmless for a terminal, a piece at a time. Pure.

Colours pass; whatever else could act on the terminal is shown as less(1) shows it: ^G for a
control character, <9B> for a byte that is not UTF-8, <U+202E> for a character. Short texts from
elsewhere (names, messages) are `client.text`'s; who asks for this, and when, is `client.cli`'s.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

RESET: Final = b"\x1b[0m"

# What a colour may be made of: ECMA-48 "select graphic rendition", with bounded parameters.
_PARAMETERS: Final = "[0-9;:]{0,64}"
_LONGEST_COLOUR: Final = 2 + 64
# Those of its numbers that change how text looks. Not 8, which hides it, nor 10 to 20: fonts,
# with 11 and 12 the Linux console shows other characters from then on (console_codes(4)).
_LOOK: Final = "0{0,2}(?:[0-79]|2[1-57-9]|3[0-79]|4[0-79]|5[1-59]|7[3-5]|9[0-7]|10[0-7])"
# Of 256 colours, or of red, green and blue: an 8 among their numbers hides nothing.
_MANY: Final = "[345]8(?:;5;[0-9]{0,3}|;2(?:;[0-9]{0,3}){3}|:5:[0-9]{0,3}|:2(?::[0-9]{0,3}){3,6})"
_SETTING: Final = f"(?:{_LOOK}|{_MANY}|4:[0-5])?"
# Most colours there are, found at once.
_COMMON: Final = "(?:[01]|(?:[01];)?[349][0-7])?m"
_COLOUR: Final = rf"\[(?:{_COMMON}|(?={_PARAMETERS}m){_SETTING}(?:;{_SETTING})*m)"
_PLAIN: Final = bytes([9, 10, *range(32, 127)])
_PLAIN_AND_CR: Final = bytes([13]) + _PLAIN
_CONTROLS: Final = "".join(map(chr, [*range(9), 11, 12, *range(14, 27), *range(28, 32), 127]))
_EIGHT_BIT_CONTROLS: Final = "".join(map(chr, range(0x80, 0xA0)))
# Unicode's marks, overrides and isolates change in which order text is shown, its separators
# where a line ends.
_TURNING: Final = (
    "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
# What decoding made of the bytes 0x80 to 0xFF that are not UTF-8 (PEP 383).
_UNDECODABLE: Final = "".join(map(chr, range(0xDC80, 0xDD00)))
_VISIBLE: Final = {
    **{char: f"^{chr(ord(char) ^ 0x40)}" for char in _CONTROLS + "\r\x1b"},
    **{char: f"<U+{ord(char):04X}>" for char in _EIGHT_BIT_CONTROLS + _TURNING},
    **{char: f"<{ord(char) - 0xDC00:02X}>" for char in _UNDECODABLE},
}
_ESCAPE: Final = rf"\x1b(?!{_COLOUR})"
_REST: Final = _CONTROLS + _EIGHT_BIT_CONTROLS + _TURNING + _UNDECODABLE
# Many in a row at once, but not so many that the matching takes much memory.
_IN_TEXT: Final = re.compile(f"(?:{_ESCAPE}|[{_REST}]){{1,999}}")
_IN_A_LINE: Final = re.compile(f"(?:{_ESCAPE}|[\r{_REST}]){{1,999}}")
_ESCAPE_ALONE: Final = re.compile(_ESCAPE.encode("ascii"))
_BEGUN: Final = re.compile(rf"\x1b(?:\[{_PARAMETERS})?")
_NO_COLOUR: Final = re.compile(rb"\x1b\[[0;:]*m")
_ABOVE_ASCII: Final = bytes(range(128, 256))


class Harmless:
    """Makes a stream of bytes harmless; where it is cut into pieces changes nothing.

    Of control characters tab, newline and carriage return pass, and sequences that set colours
    and the like (`ESC [ numbers m`), but none that hides text. With `utf8` false (a terminal of
    another encoding) every byte above 0x7E is shown as <XX>.
    """

    def __init__(self, *, utf8: bool = True) -> None:
        self._utf8 = utf8
        self._bytes = b""
        self._text = ""
        self.is_coloured = False

    def feed(self, data: bytes) -> bytes:
        """What to write for the next bytes. An unfinished character or sequence is kept back."""
        if not (self._bytes or self._text) and _is_plain(data, _PLAIN_AND_CR):
            return data
        text = self._text + self._decoded(data)
        begun = _begun(text)
        self._text = text[begun:]
        return self._shown(text[:begun])

    def finish(self) -> bytes:
        """What was kept back, and the reset of a colour that is left on. It may go on then."""
        text = self._text + self._bytes.decode("ascii", "surrogateescape")
        self._text, self._bytes = "", b""
        shown = self._shown(text)
        return shown + self.reset()

    def reset(self) -> bytes:
        """What ends a colour that is left on."""
        was_coloured, self.is_coloured = self.is_coloured, False
        return RESET if was_coloured else b""

    def _decoded(self, data: bytes) -> str:
        if not self._utf8:
            return data.decode("ascii", "surrogateescape")
        data = self._bytes + data
        text, used = codecs.utf_8_decode(data, "surrogateescape", False)  # noqa: FBT003  positional
        self._bytes = data[used:]
        return text

    def _shown(self, text: str) -> bytes:
        shown = _made_visible(text, _IN_TEXT, _PLAIN_AND_CR)
        if (last := shown.rfind(b"\x1b")) >= 0:
            self.is_coloured = _NO_COLOUR.match(shown, last) is None
        return shown


def harmless_line(line: bytes, *, utf8: bool = True) -> bytes:
    """A line without its newline. Carriage returns don't pass, but for a last one, which goes."""
    line = line.removesuffix(b"\r")
    if _is_plain(line, _PLAIN):
        return line
    text = line.decode("utf-8" if utf8 else "ascii", "surrogateescape")
    shown = _made_visible(text, _IN_A_LINE, _PLAIN)
    last = shown.rfind(b"\x1b")
    return shown if last < 0 or _NO_COLOUR.match(shown, last) else shown + RESET


def _is_plain(data: bytes, plain: bytes) -> bool:
    """Whether all of it may pass: two passes in C, and most output needs no more."""
    return data.isascii() and not data.translate(None, plain)


def _made_visible(text: str, acting: re.Pattern[str], plain: bytes) -> bytes:
    """The text with what `acting` finds made visible; colours and text in any script are quick."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        return acting.sub(_visible, text).encode("utf-8")
    rest = data.translate(None, plain + _ABOVE_ASCII)
    # 0xC2 begins the controls of 0x80 to 0x9F, and some letters.
    if rest.strip(b"\x1b") or b"\xc2" in data or any(char in text for char in _TURNING):
        return acting.sub(_visible, text).encode("utf-8")
    return _ESCAPE_ALONE.sub(b"^[", data) if rest else data


def _visible(found: re.Match[str]) -> str:
    return "".join(map(_VISIBLE.__getitem__, found[0]))


def _begun(text: str) -> int:
    """Where a colour begins that the end of `text` cuts; else the end."""
    last = text.rfind("\x1b", max(len(text) - _LONGEST_COLOUR, 0))
    return last if last >= 0 and _BEGUN.fullmatch(text, last) else len(text)
