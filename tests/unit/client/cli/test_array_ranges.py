"""`--array`: what is read, what is refused in words, nothing expanded."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cli.array_ranges import parse_array


@pytest.mark.parametrize(
    ("text", "ranges", "most"),
    [
        ("0-99", [(0, 99, 1)], None),
        ("7", [(7, 7, 1)], None),
        ("1,3,5-7", [(1, 1, 1), (3, 3, 1), (5, 7, 1)], None),
        ("0-99:2", [(0, 99, 2)], None),
        ("0-99%4", [(0, 99, 1)], 4),
        (" 1 , 2-3:1 %10", [(1, 3, 1)], 10),
        ("1,2,3,4,8", [(1, 4, 1), (8, 8, 1)], None),
        ("0-4:2,5", [(0, 4, 2), (5, 5, 1)], None),
        ("3,2", [(3, 3, 1), (2, 2, 1)], None),
        # Ten thousand million of them: the daemon's to refuse.
        ("0-2147483647", [(0, 2147483647, 1)], None),
        ("5-5:2147483647%2147483647", [(5, 5, 2147483647)], 2147483647),
    ],
)  # fmt: skip
def test_ranges_are_read(text: str, ranges: list[tuple[int, int, int]], most: int | None) -> None:
    assert parse_array(text) == (ranges, most)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' given; indexes and ranges are allowed"),
        ("%4", "'%4' given; indexes"),
        ("a", "'a' given; indexes"),
        ("-1", "'-1' given; indexes"),
        ("1,,2", "'' given; indexes"),
        ("1-", "'1-' given; indexes"),
        ("1:2", "'1:2' given; indexes"),
        ("1-2-3", "'1-2-3' given; indexes"),
        ("0x5", "'0x5' given; indexes"),
        ("٣", "'\\u0663' given; indexes"),
        ("99999999999", "'99999999999' given; indexes"),
        ("2147483648", "'2147483648' given; an index is at most 2147483647"),
        ("5-3", "'5-3' given; the first index of a range is not above its last"),
        ("0-9:0", "'0-9:0' given; a stride is 1 to"),
        ("0-9%", "'%' given; %N is allowed"),
        ("0-9%0", "'%0' given; %N is allowed"),
        ("0-9%-1", "'%-1' given; %N is allowed"),
        ("0-9%4%5", "'%4%5' given; %N is allowed"),
        ("0-9%9999999999", "'%9999999999' given; %N is allowed"),
        ("x" * 500, f"'{'x' * 40}...' given"),
        (",".join(str(2 * n) for n in range(65)), "65 ranges given; at most 64 are allowed"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_array(text)


_indexes = st.integers(0, 2**31 - 1)
_ranges = st.builds(
    lambda ends, stride: (min(ends), max(ends), stride), st.tuples(_indexes, _indexes),
    st.integers(1, 2**31 - 1),
)  # fmt: skip


def expanded(ranges: list[tuple[int, int, int]]) -> list[int]:
    return [index for first, last, stride in ranges for index in range(first, last + 1, stride)]


@given(st.lists(_ranges, min_size=1, max_size=64), st.none() | st.integers(1, 2**31 - 1))
def test_whatever_is_written_down_is_read_again(
    ranges: list[tuple[int, int, int]], most: int | None
) -> None:
    text = ",".join(f"{first}-{last}:{stride}" for first, last, stride in ranges)
    read = parse_array(text + ("" if most is None else f"%{most}"))
    assert read.max_running == most
    assert sum((b - a) // s + 1 for a, b, s in read.ranges) == sum(
        (b - a) // s + 1 for a, b, s in ranges
    )


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60))
def test_putting_ranges_together_changes_no_index(indexes: list[int]) -> None:
    assert expanded(parse_array(",".join(map(str, indexes))).ranges) == indexes


@given(st.text(max_size=40))
def test_anything_else_is_a_value_error(text: str) -> None:
    try:
        found = parse_array(text)
    except ValueError as error:
        assert str(error).isprintable()
    else:
        assert found.ranges
