"""What reaches a terminal is printable, whatever a submitter chose."""

from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st

from client.text import command_line, cut, printable, width

_anything = st.one_of(st.text(), st.binary())


@given(_anything)
def test_everything_becomes_printable(value: str | bytes) -> None:
    assert printable(value).isprintable()


@given(st.text().filter(str.isprintable))
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_escape_sequences_direction_marks_and_wild_bytes_are_spelt_out() -> None:
    assert printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"
    assert printable("\u202egnp.exe") == "\\u202egnp.exe"
    assert printable(b"caf\xc3\xa9 \xff") == "caf\u00e9 \\xff"


@given(st.lists(st.text(alphabet="ab c'\"$\\;*", max_size=8), min_size=1, max_size=4))
def test_a_plain_command_reads_as_a_shell_would_read_it(argv: list[str]) -> None:
    assert shlex.split(command_line(list(argv))) == argv


@given(st.lists(_anything, max_size=4))
def test_a_command_is_one_printable_line(argv: list[str | bytes]) -> None:
    assert command_line(argv).isprintable()


@given(st.text().map(printable), st.integers(3, 40))
def test_a_cut_text_fits(text: str, columns: int) -> None:
    assert width(cut(text, columns)) <= columns


def test_only_what_is_too_long_is_cut() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abc..."
    assert cut("\u6f22\u5b57\u6f22\u5b57", 6) == "\u6f22..."
