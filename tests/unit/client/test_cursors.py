"""Cursors as text: what was written is read again, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cursors import Cursor, parse


@pytest.mark.parametrize(
    ("text", "cursor"),
    [("0", Cursor(1, 0)), ("17", Cursor(1, 17)), ("1:17", Cursor(1, 17)), ("3:0", Cursor(3, 0))],
)
def test_a_cursor_is_an_offset_perhaps_of_a_later_attempt(text: str, cursor: Cursor) -> None:
    assert parse(text) == cursor


@given(attempt=st.integers(1, 1_000_000), offset=st.integers(0, 2**63 - 1))
def test_what_was_written_is_read_again(attempt: int, offset: int) -> None:
    cursor = Cursor(attempt, offset)
    assert parse(str(cursor)) == cursor
    assert (":" in str(cursor)) == (attempt > 1)


@pytest.mark.parametrize(
    "text",
    ["", ":", "3:", ":3", "-1", "1:-1", "0:5", "1000001:0", "1:2:3", " 1", "1\n", "1.5", "x", "٣",
     "9223372036854775808", "1:9223372036854775808", "99999999999999999999"],
)  # fmt: skip
def test_anything_else_is_refused_with_what_it_should_be(text: str) -> None:
    with pytest.raises(ValueError, match="ATTEMPT:OFFSET"):
        parse(text)


@given(st.text(max_size=30))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        found = parse(text)
    except ValueError:
        return
    assert found.attempt >= 1
    assert found.offset >= 0
