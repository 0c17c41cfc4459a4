"""Events that are packed by hand are the bytes that packing would make."""

from __future__ import annotations

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from runner.logs.reader import Chunk, Extent, Gap
from runner.server.outlet import FilePart
from runner.server.pieces import Packed, end_of, event_of, packed_event, packed_head

U64 = st.integers(0, 2**64 - 1)
RUNS = st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(1, 2**32 - 1), U64), max_size=50)


@given(U64, RUNS, st.integers(2**16, 2**16 + 9))
def test_a_packed_head_and_the_data_are_the_packed_event(
    offset: int, runs: list[tuple[int, int, int]], length: int
) -> None:
    data = b"x" * length
    head = packed_head(Extent(offset, runs, 5, 0, length, 0, (0, 0, 0)))
    assert head + data == msgpack.packb(event_of(Chunk(offset, runs, data)))


@given(U64, RUNS, st.binary(max_size=99))
def test_a_packed_event_is_what_packing_would_make(
    offset: int, runs: list[tuple[int, int, int]], data: bytes
) -> None:
    chunk = Chunk(offset, runs, data)
    assert packed_event(*chunk) == msgpack.packb(event_of(chunk))


def test_a_piece_ends_where_the_next_one_begins() -> None:
    assert end_of(Gap(5, 12, "removed")) == 12
    assert end_of(Chunk(7, [(1, 3, 1)], b"abc")) == 10
    assert end_of(Packed(7, b"head", FilePart(1, 99, 70_000))) == 70_007
