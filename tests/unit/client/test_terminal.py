"""What a job wrote cannot act on a terminal, however it is cut into pieces."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from client.terminal import RESET, Harmless, harmless_line

COLOUR = re.compile(rb"\x1b\[[0-9;:]{0,64}m")
# Of 256 colours or of three parts: their numbers are no settings of their own.
MANY = re.compile(rb"[345]8(;5;[0-9]*|;2;[0-9]*;[0-9]*;[0-9]*|:[0-9:]*)")
ACTING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)

# Bytes as they come, and pieces of what matters, so that they meet.
PIECES = st.binary(max_size=6) | st.sampled_from(
    [
        *(b"\x1b", b"[", b"\x1b[", b"m", b"31", b";", b"\x1b[0m", b"\x1b[38:5:1m", b"9" * 70),
        *(b":", b"8", b"38", b"5", b"2", b"\x1b[38;5;"),
        *(b"\n", b"\r", b"\x7f", b"\x00", b"\x1b]", b"\xc2", b"\x9b", b"\xff"),
        *(b"\xe2\x80", b"\xae", b"\xf0\x9f\x99\x82", b"\xed\xa0\x80"),
        *(text.encode() for text in ("é", "\u202e", "\u2066")),
    ]
)
CUTS = st.lists(PIECES, max_size=12)


def whole(data: bytes, *, utf8: bool = True) -> bytes:
    harmless = Harmless(utf8=utf8)
    return harmless.feed(data) + harmless.finish()


def check_harmless(shown: bytes) -> None:
    assert not ACTING.search(COLOUR.sub(b"", shown).decode("utf-8"))
    for colour in COLOUR.findall(shown):
        settings = MANY.sub(b"", colour[2:-1]).split(b";")
        numbers = {int(number or 0) for number in settings if b":" not in number}
        # Hidden text, and fonts.
        assert not numbers & {8, *range(10, 21)}


@given(pieces=CUTS, utf8=st.booleans())
@example(pieces=[b"\x1b[1", b"m", b"\xe2", b"\x80", b"\xae"], utf8=True)
def test_where_it_is_cut_changes_nothing_and_nothing_acts(
    *, pieces: list[bytes], utf8: bool
) -> None:
    harmless = Harmless(utf8=utf8)
    shown = b"".join([harmless.feed(piece) for piece in pieces]) + harmless.finish()
    assert shown == whole(b"".join(pieces), utf8=utf8)
    check_harmless(shown)
    letter_by_letter = Harmless(utf8=utf8)
    single = [letter_by_letter.feed(bytes([byte])) for byte in b"".join(pieces)]
    assert b"".join(single) + letter_by_letter.finish() == shown


@given(CUTS)
def test_a_line_shows_the_same_but_for_carriage_returns(pieces: list[bytes]) -> None:
    line = b"".join(pieces).replace(b"\n", b"")
    shown = harmless_line(line)
    check_harmless(shown)
    assert b"\r" not in shown
    assert shown == whole(line.removesuffix(b"\r")).replace(b"\r", b"^M")


@given(st.text().filter(lambda text: not re.search(ACTING.pattern + "|[\r\ud800-\udfff]", text)))
def test_text_in_any_script_passes(text: str) -> None:
    assert whole(text.encode()) == text.encode() == harmless_line(text.encode())


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        (b"plain\ttext\r\n", b"plain\ttext\r\n"),
        (b"\x1b[1;31mred\x1b[0m", b"\x1b[1;31mred\x1b[0m"),
        (b"\x1b[38:2::1:2:3mred\x1b[m", b"\x1b[38:2::1:2:3mred\x1b[m"),
        (b"\x1b[31mleft on", b"\x1b[31mleft on" + RESET),
        (b"\x1b[2J\x1b[H", b"^[[2J^[[H"),
        (b"\x1b]0;title\x07", b"^[]0;title^G"),
        (b"\x1b[?1049h", b"^[[?1049h"),
        (b"\x1b[" + b"1;" * 32 + b"m", b"\x1b[" + b"1;" * 32 + b"m" + RESET),
        (b"\x1b[" + b"1;" * 32 + b"1m", b"^[[" + b"1;" * 32 + b"1m"),
        (b"\x1b[8mhidden\x1b[m", b"^[[8mhidden\x1b[m"),
        (b"\x1b[1;08mhidden", b"^[[1;08mhidden"),
        (b"\x1b[38;5;1;8mhidden", b"^[[38;5;1;8mhidden"),
        (b"\x1b[38;8;5;1m", b"^[[38;8;5;1m"),
        (b"\x1b[8:1m\x1b[4:8m", b"^[[8:1m^[[4:8m"),
        (b"\x1b[11m\x1b[264m", b"^[[11m^[[264m"),
        (b"\x1b[38;5;8;48;2;8;8;8;4:3m\x1b[m", b"\x1b[38;5;8;48;2;8;8;8;4:3m\x1b[m"),
        (b"\x1b[1", b"^[[1"),
        (b"\x1b\x1b[m", b"^[\x1b[m"),
        (b"\0\x08\x0b\x0c\x7f", b"^@^H^K^L^?"),
        (b"\x9b31m", b"<9B>31m"),
        (b"\xc2\x9b31m", b"<U+009B>31m"),
        (b"caf\xe9!", b"caf<E9>!"),
        (b"\xe2\x80", b"<E2><80>"),
        (b"\xed\xa0\x80", b"<ED><A0><80>"),
        ("abc\u202ecba\u2069".encode(), b"abc<U+202E>cba<U+2069>"),
        (
            "a\u061cb\u200ec\u200fd\u2028e\u2029".encode(),
            b"a<U+061C>b<U+200E>c<U+200F>d<U+2028>e<U+2029>",
        ),
        ("日本 é".encode(), "日本 é".encode()),
    ],
)
def test_what_acts_is_shown_as_less_shows_it(given_: bytes, shown: bytes) -> None:
    assert whole(given_) == shown


def test_on_a_terminal_of_another_encoding_only_ascii_passes() -> None:
    # U+06DB contains the byte 0x9B, which begins a sequence on an 8-bit terminal.
    assert whole("a\u06dbz".encode(), utf8=False) == b"a<DB><9B>z"
    assert harmless_line("a\u06dbz".encode(), utf8=False) == b"a<DB><9B>z"


def test_a_colour_is_known_to_be_on_until_it_is_reset() -> None:
    harmless = Harmless()
    harmless.feed(b"\x1b[31mred")
    assert harmless.is_coloured
    assert harmless.reset() == RESET
    assert harmless.reset() == b""
    harmless.feed(b"\x1b[31mred\x1b[00m")
    assert harmless.finish() == b""


def test_a_line_ends_without_a_colour() -> None:
    assert harmless_line(b"\x1b[31mred\r") == b"\x1b[31mred" + RESET
    assert harmless_line(b"50%\r100%\r") == b"50%^M100%"
    assert harmless_line(b"\x1b[31mred\x1b[m") == b"\x1b[31mred\x1b[m"


def test_no_more_is_kept_back_than_a_colour_may_have() -> None:
    harmless = Harmless()
    assert harmless.feed(b"\x1b[" + b"1" * 64) == b""
    assert harmless.feed(b"1") == b"^[[" + b"1" * 65
    assert harmless.feed(b"\xf0\x9f\x99") == b""
    assert harmless.feed(b"\x82") == b"\xf0\x9f\x99\x82"
