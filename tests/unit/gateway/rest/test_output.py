"""Output as records: nothing is lost or invented, and text stays text wherever it is cut."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from client.cursors import parse
from client.log_position import LogChunk, LogGap
from gateway.following import Batch
from gateway.rest import output
from gateway.rest.answers_output import Record


def data_of(record: dict[str, Any]) -> bytes:
    if "text" in record:
        return str(record["text"]).encode()
    return base64.b64decode(record["base64"])


def batch_of(*runs: tuple[int, bytes], attempt: int = 1) -> Batch:
    items: list[LogChunk | LogGap] = []
    offset = 0
    for stream, data in runs:
        items.append(LogChunk(offset, stream, data, 17))
        offset += len(data)
    return Batch(attempt, offset, items)


_RUNS = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=40)))


@given(_RUNS, st.integers(1, 9))
def test_records_have_every_byte_once_and_in_order(
    runs: list[tuple[int, bytes]], attempt: int
) -> None:
    batch = batch_of(*runs, attempt=attempt)
    if not runs:
        return
    place = 0
    for record in output.records(batch):
        msgspec.convert(record, Record)
        assert record["offset"] == place
        place += len(data_of(record))
        assert parse(record["cursor"]) == (attempt, place)
    assert place == batch.cursor
    for stream in (1, 2):
        joined = b"".join(map(data_of, output.records(batch, stream)))
        assert joined == output.raw(batch, stream)
    assert output.raw(batch) == b"".join(data for _, data in runs)


@given(st.text(min_size=1), st.data())
def test_text_that_is_cut_inside_a_character_stays_text_around_it(text: str, data: Any) -> None:
    whole = text.encode("utf-8", "replace")
    cut = data.draw(st.integers(0, len(whole)))
    runs = [(1, part) for part in (whole[:cut], whole[cut:]) if part]
    odd = [record for record in output.records(batch_of(*runs)) if "base64" in record]
    assert len(odd) in (0, 2)
    assert sum(len(data_of(record)) for record in odd) <= 4


def test_long_runs_are_several_records() -> None:
    found = list(output.records(batch_of((1, b"x" * 200_000))))
    assert [len(data_of(record)) for record in found] == [65536, 65536, 65536, 3392]


def test_gaps_and_attempts_are_records_of_their_own() -> None:
    gap = Batch(1, 100, [LogGap(90, 100, "removed")])
    assert list(output.records(gap, 1)) == [
        {"kind": "gap", "cursor": "100", "attempt": 1, "offset": 100, "gap_bytes": 90,
         "why": "removed"}
    ]  # fmt: skip
    assert list(output.records(Batch(2, 0, []))) == [
        {"kind": "attempt", "cursor": "2:0", "attempt": 2, "offset": 0}
    ]


@given(_RUNS, st.integers(1, 100))
def test_a_cut_batch_has_so_many_bytes_and_goes_on_behind_them(
    runs: list[tuple[int, bytes]], most: int
) -> None:
    whole = batch_of(*runs)
    part, size = output.cut(whole, most)
    assert size == min(most, whole.cursor)
    assert output.cut(whole, most, len(whole.items))[0] == part
    assert output.raw(part) == output.raw(whole)[:most]
    assert part.cursor == size


@given(_RUNS, st.integers(1, 5))
def test_a_page_of_small_pieces_has_so_many_of_them(
    runs: list[tuple[int, bytes]], most: int
) -> None:
    whole = batch_of(*runs)
    part, size = output.cut(whole, 10**6, most)
    assert len(part.items) == min(most, len(runs))
    assert output.raw(part) == output.raw(whole)[:size]
    assert part.cursor == size


def test_a_gap_that_is_left_for_the_next_page_is_not_passed_over() -> None:
    items: list[LogChunk | LogGap] = [LogChunk(0, 1, b"ab", 1), LogGap(8, 10, "damaged")]
    part, _ = output.cut(Batch(1, 10, items), 100, 1)
    assert part.cursor == 2
