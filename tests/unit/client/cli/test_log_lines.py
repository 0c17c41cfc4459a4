"""Which bytes were asked for, and the lines that they make."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from client.cli.log_lines import Line, Lines, select
from client.logstream import LogChunk, LogGap

OUT, ERR = 1, 2
TEXT = st.binary(max_size=30) | st.sampled_from([b"\n", b"ab\n", b"x" * 20, b"\r\n", b"\n\n"])


def cut(lines: Lines, *chunks: tuple[int, bytes, int]) -> list[Line]:
    return [
        line
        for stream, data, time in chunks
        for line in lines.feed(LogChunk(0, stream, data, time))
    ]


def test_a_line_has_the_time_of_its_first_byte_and_comes_when_it_is_complete() -> None:
    lines = Lines()
    found = cut(
        lines, (OUT, b"one\ntw", 1), (ERR, b"error", 2), (OUT, b"o\n", 3), (ERR, b"!\n\n", 4)
    )
    assert found == [
        Line(OUT, b"one", 1, 1),
        Line(OUT, b"two", 1, 3),
        Line(ERR, b"error!", 2, 4),
        Line(ERR, b"", 4, 4),
    ]
    assert not list(lines.finish())


def test_lines_without_an_end_come_at_the_end_and_only_once() -> None:
    lines = Lines()
    assert not cut(lines, (ERR, b"second", 5), (OUT, b"third", 6))
    assert list(lines.finish()) == [Line(ERR, b"second", 5, 6), Line(OUT, b"third", 6, 6)]
    assert not list(lines.finish())
    assert cut(lines, (OUT, b"x\n", 7)) == [Line(OUT, b"x", 7, 7)]


def test_a_line_that_is_too_long_is_several() -> None:
    lines = Lines(4)
    found = cut(lines, (OUT, b"abcd", 1), (OUT, b"efghij", 2), (OUT, b"kl\n", 3), (OUT, b"m\n", 4))
    assert found == [
        Line(OUT, b"abcd", 1, 2), Line(OUT, b"efgh", 2, 2), Line(OUT, b"ijkl", 2, 3),
        Line(OUT, b"m", 4, 4),
    ]  # fmt: skip


def test_what_was_written_before_a_time_is_left_out_wherever_it_is() -> None:
    gap = LogGap(4, 9, "removed")
    chunks = [LogChunk(0, OUT, b"abc", 5), LogChunk(3, ERR, b"d", 9), LogChunk(4, OUT, b"e", 7)]
    assert select([*chunks, gap], {OUT: 0, ERR: 0}, 7) == [chunks[1], chunks[2], gap]
    assert select([*chunks, gap], {OUT: 0}, 7) == [chunks[2], gap]


@given(st.lists(st.tuples(st.sampled_from([OUT, ERR]), TEXT)), st.integers(1, 40))
def test_lines_are_the_same_however_their_bytes_arrive(
    chunks: list[tuple[int, bytes]], longest: int
) -> None:
    lines = Lines(longest)
    found = [*cut(lines, *((stream, data, 0) for stream, data in chunks)), *lines.finish()]
    for stream in (OUT, ERR):
        *whole, rest = b"".join(data for of, data in chunks if of == stream).split(b"\n")
        texts = whole + [rest] * bool(rest)
        pieces = [
            text[begin : begin + longest]
            for text in texts
            for begin in range(0, max(len(text), 1), longest)
        ]
        assert [line.text for line in found if line.stream == stream] == pieces


def test_no_more_than_the_longest_line_is_kept() -> None:
    lines = Lines(1000)
    for _ in range(100):
        list(lines.feed(LogChunk(0, OUT, b"x" * 999, 0)))
        assert sum(len(part.text) for part in lines._parts.values()) <= 1000


def test_only_the_streams_and_bytes_that_were_asked_for_are_selected() -> None:
    items = [
        LogChunk(0, OUT, b"0123", 1),
        LogGap(6, 10),
        LogChunk(10, ERR, b"abcd", 2),
        LogChunk(14, OUT, b"4567", 3),
        LogChunk(18, ERR, b"ef", 4),
    ]
    assert select(items, {OUT: 0, ERR: 0}) == items
    assert select(items, {ERR: 0}) == [LogGap(6, 10), items[2], items[4]]
    assert select(items, {OUT: 16, ERR: 14}) == [
        LogGap(6, 10), LogChunk(16, OUT, b"67", 3), items[4],
    ]  # fmt: skip
    assert select(items, {OUT: 4, ERR: 18}) == [LogGap(6, 10), items[3], items[4]]


@given(
    st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.binary(min_size=1, max_size=5))),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_selected_bytes_are_those_from_their_streams_beginning(
    runs: list[tuple[int, bytes]], out_begin: int, err_begin: int
) -> None:
    begins, position, chunks, wanted = {OUT: out_begin, ERR: err_begin}, 0, [], []
    for stream, data in runs:
        chunks.append(LogChunk(position, stream, data, 0))
        for byte in data:
            if position >= begins[stream]:
                wanted.append((stream, position, byte))
            position += 1
    selected = [
        (item.stream, item.offset + index, byte)
        for item in select(chunks, begins)
        if isinstance(item, LogChunk)
        for index, byte in enumerate(item.data)
    ]
    assert selected == wanted
