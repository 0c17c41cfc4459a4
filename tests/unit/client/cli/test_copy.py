"""A job's output on our descriptors, and what is said of the part that is missing."""

from __future__ import annotations

import itertools
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cli import copy
from client.cli.copy import Gaps, write_all, write_batch
from client.logstream import LogChunk, LogGap

OUT, ERR = 1, 2


def _letters(parts: list[tuple[int, bytes] | str]) -> list[tuple[int, int] | str]:
    letters: list[tuple[int, int] | str] = []
    for part in parts:
        letters += [part] if isinstance(part, str) else [(part[0], byte) for byte in part[1]]
    return letters


@given(
    st.lists(
        st.tuples(st.sampled_from([OUT, ERR]), st.binary(min_size=1, max_size=4)) | st.just("gap"),
    )
)
def test_a_batch_is_written_in_its_order_neighbours_of_a_stream_at_once(
    parts: list[tuple[int, bytes] | str],
) -> None:
    items = [
        LogGap(1, 1) if isinstance(part, str) else LogChunk(0, part[0], part[1], 0)
        for part in parts
    ]
    written: list[tuple[int, bytes] | str] = []
    write_batch(
        items, lambda _gap: written.append("gap"), lambda fd, data: written.append((fd, data))
    )
    assert _letters(written) == _letters(parts)
    for one, next_ in itertools.pairwise(written):
        assert one == "gap" or next_ == "gap" or one[0] != next_[0]


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("removed", "1 MiB of older output was removed by retention"),
        ("dropped", "1 MiB of output was dropped because the disk was full"),
        ("damaged", "1 MiB of output is damaged and cannot be shown"),
        ("lost in the post", "1 MiB of output is missing (lost in the post)"),
    ],
)
def test_each_gap_is_said_with_its_size_and_why(why: str, said: str) -> None:
    lines: list[str] = []
    gaps = Gaps(lines.append)
    gaps.add(LogGap(1024 * 1024, 0, why))
    gaps.add(LogGap(1024 * 1024, 0, why))
    gaps.tick()
    gaps.flush()
    assert lines == [said, said]


def test_many_gaps_are_said_as_their_sum_once_in_an_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(copy.time, "monotonic", lambda: now[0])
    lines: list[str] = []
    gaps = Gaps(lines.append, 1.0)
    for _ in range(40):
        gaps.add(LogGap(10, 0))
        now[0] += 1 / 16
    gaps.add(LogGap(7, 0, "dropped"))
    gaps.flush()
    gaps.flush()
    retention = "of older output was removed by retention"
    assert lines == [
        f"10 B {retention}",
        f"160 B {retention}",
        f"160 B {retention}",
        f"70 B {retention}",
        "7 B of output was dropped because the disk was full",
    ]


def test_what_was_added_is_said_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(copy.time, "monotonic", lambda: now[0])
    lines: list[str] = []
    gaps = Gaps(lines.append, 1.0)
    gaps.add(LogGap(1, 0))
    gaps.add(LogGap(2, 0))
    gaps.tick()
    assert len(lines) == 1
    now[0] += 1
    gaps.tick()
    assert lines[1:] == ["2 B of older output was removed by retention"]


def test_everything_is_written_to_a_pipe_that_does_not_block() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = os.urandom(1 << 20)
    read: list[bytes] = []

    def drain() -> None:
        while part := os.read(reader, 65536):
            read.append(part)

    thread = threading.Thread(target=drain)
    thread.start()
    write_all(writer, data)
    os.close(writer)
    thread.join(20)
    os.close(reader)
    assert b"".join(read) == data
