"""Numbered lines: whole, in the order of their ends, in pieces where they are long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.rpc.lines import MAX_LINE_BYTES, Line, Lines


def test_a_line_belongs_to_one_stream_however_mixed_they_are() -> None:
    lines = Lines()
    found = [*lines.add(1, b"on"), *lines.add(2, b"err\nmo"), *lines.add(1, b"e\n"), *lines.end()]
    assert found == [Line(1, 2, b"err"), Line(2, 1, b"one"), Line(3, 2, b"mo")]
    assert lines.count == 3


def test_empty_lines_count_and_no_output_is_none() -> None:
    lines = Lines()
    assert list(lines.add(1, b"\n\n")) == [Line(1, 1, b""), Line(2, 1, b"")]
    assert list(lines.end()) == []


def test_a_long_line_comes_in_pieces_under_one_number() -> None:
    lines = Lines()
    found = [*lines.add(1, b"x" * (2 * MAX_LINE_BYTES + 5)), *lines.add(1, b"y\nz\n")]
    assert [(line.number, len(line.text), line.partial) for line in found] == [
        (1, MAX_LINE_BYTES, True), (1, MAX_LINE_BYTES, True), (1, 6, False), (2, 1, False),
    ]  # fmt: skip


def test_a_piece_that_is_the_end_of_the_output_is_no_longer_partial() -> None:
    lines = Lines()
    found = [*lines.add(1, b"x" * (MAX_LINE_BYTES + 1)), *lines.end()]
    assert [(line.number, line.partial) for line in found] == [(1, True), (1, False)]


def test_no_character_is_cut_in_two() -> None:
    found = list(Lines().add(1, b"x" + "é".encode() * MAX_LINE_BYTES))
    assert all(line.text.decode() for line in found)


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=30))
def test_all_that_was_written_is_in_the_lines(parts: list[tuple[int, bytes]]) -> None:
    lines = Lines()
    found = [line for stream, data in parts for line in lines.add(stream, data)]
    found += lines.end()
    for stream in (1, 2):
        written = b"".join(data for each, data in parts if each == stream)
        texts = [line.text for line in found if line.stream == stream]
        assert b"\n".join(texts) == written.removesuffix(b"\n")
    assert [line.number for line in found] == list(range(1, lines.count + 1))


@given(st.lists(st.binary(max_size=3), max_size=9), st.integers(1, 7))
def test_what_is_held_is_bounded(ends: list[bytes], size: int) -> None:
    lines = Lines()
    for end in ends:
        list(lines.add(1, bytes([128]) * (size * MAX_LINE_BYTES // 4) + end))
        assert all(len(rest) <= MAX_LINE_BYTES for rest in lines._rest.values())
