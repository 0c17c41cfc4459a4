from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.logs.format import (
    INDEX_RECORD,
    MAX_OFFSET,
    Record,
    index_name,
    log_name,
    parse_name,
    visible_records,
    whole_runs,
)

offsets = st.integers(0, MAX_OFFSET)
lengths = st.lists(st.tuples(st.integers(1, 2**32 - 1), st.sampled_from([1, 2])), max_size=12)


def _records(start: int, parts: list[tuple[int, int]]) -> list[Record]:
    ends = itertools.accumulate((length for length, _ in parts), initial=start)
    return [
        Record(7, offset, length, stream)
        for offset, (length, stream) in zip(ends, parts, strict=False)
    ]


def _index(records: list[Record]) -> bytes:
    return b"".join(INDEX_RECORD.pack(*record) for record in records)


def test_a_record_is_24_little_endian_bytes_with_three_zeros_at_the_end() -> None:
    packed = INDEX_RECORD.pack(0x0102030405060708, 0x1112131415161718, 0x21222324, 2)
    assert packed.hex() == "080706050403020118171615141312112423222102000000"


@given(offsets)
def test_a_name_gives_back_its_offset(start: int) -> None:
    assert parse_name(log_name(start)) == (start, ".log")
    assert parse_name(index_name(start)) == (start, ".idx")


@given(offsets, offsets)
def test_names_sort_as_their_offsets_do(one: int, other: int) -> None:
    assert (log_name(one) < log_name(other)) == (one < other)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".log",
        "0.log",
        "0" * 20,
        "0" * 20 + ".txt",
        "0" * 20 + ".log~",
        "0" * 20 + ".LOG",
        "0" * 21 + ".log",
        "+" + "0" * 19 + ".log",
        "-" + "0" * 19 + ".log",
        "1_" + "0" * 18 + ".log",
        " " + "0" * 19 + ".log",
        "\u0661" * 20 + ".log",
        "\u00b2" * 20 + ".log",
        "18446744073709551616.log",
        "../" + "0" * 17 + ".log",
    ],
)
def test_a_foreign_name_is_no_segment(name: str) -> None:
    assert parse_name(name) is None


@given(st.integers(0, 2**60), lengths, st.data())
def test_a_torn_index_shows_its_whole_records(
    start: int, parts: list[tuple[int, int]], data: st.DataObject
) -> None:
    records = _records(start, parts)
    index = _index(records)
    cut = data.draw(st.integers(0, len(index)))
    assert list(visible_records(index[:cut], start)) == records[: cut // INDEX_RECORD.size]


@pytest.mark.parametrize(
    "bad",
    [
        Record(7, 100, 0, 1),
        Record(7, 100, 5, 0),
        Record(7, 100, 5, 3),
        Record(7, 99, 5, 1),
        Record(7, 101, 5, 1),
        Record(0, 0, 0, 0),
    ],
)
def test_a_record_that_is_not_sane_ends_the_visible_part(bad: Record) -> None:
    good, after = Record(7, 60, 40, 2), Record(7, 105, 5, 1)
    assert list(visible_records(_index([good, bad, after]), 60)) == [good]


def test_records_that_do_not_begin_at_the_start_are_not_shown() -> None:
    assert list(visible_records(_index([Record(7, 60, 40, 2)]), 0)) == []


@given(st.binary(max_size=200), offsets)
def test_any_bytes_give_contiguous_records_or_none(index: bytes, start: int) -> None:
    for record in visible_records(index, start):
        assert record.offset == start
        start = record.end


@given(st.integers(0, 2**60), lengths, st.binary(max_size=60))
def test_whole_runs_are_those_of_the_records_when_all_are_visible(
    start: int, parts: list[tuple[int, int]], rest: bytes
) -> None:
    index = _index(_records(start, parts)) + rest
    seen = list(visible_records(index, start))
    expected = [(record.stream, record.length, record.time_ns) for record in seen]
    is_whole = len(seen) * INDEX_RECORD.size == len(index)
    assert whole_runs(index, start) == (expected if is_whole else None)
