"""Frames come out as they went in, however the bytes were cut, and nothing longer is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.frames import FrameBuffer
from client.protocol import HEADER, MAX_FRAME_BYTES, MAX_GREETING_BYTES, FrameError


def taken(buffer: FrameBuffer) -> list[bytes]:
    found = []
    while (body := buffer.take()) is not None:
        found.append(bytes(body))
    return found


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.data())
def test_bodies_come_out_whole_and_in_order_however_they_are_cut(
    bodies: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(HEADER.pack(len(body)) + body for body in bodies)
    buffer, found = FrameBuffer(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        buffer.add(stream[:size])
        stream = stream[size:]
        found += taken(buffer)
    assert found == bodies
    assert buffer.held_bytes == 0


def test_a_frame_without_its_end_is_held_and_counted() -> None:
    buffer = FrameBuffer()
    buffer.add(HEADER.pack(1) + b"a" + HEADER.pack(9) + b"half")
    assert taken(buffer) == [b"a"]
    assert buffer.held_bytes == HEADER.size + 4


@pytest.mark.parametrize("length", [0, MAX_GREETING_BYTES + 1])
def test_a_length_that_is_not_allowed_is_refused_by_its_header_alone(length: int) -> None:
    buffer = FrameBuffer()
    buffer.add(HEADER.pack(length))
    with pytest.raises(FrameError):
        buffer.take()


def test_after_the_greeting_frames_may_be_long() -> None:
    buffer = FrameBuffer()
    buffer.greeted()
    buffer.add(HEADER.pack(MAX_GREETING_BYTES + 1))
    assert buffer.take() is None
    buffer = FrameBuffer()
    buffer.greeted()
    buffer.add(HEADER.pack(MAX_FRAME_BYTES + 1))
    with pytest.raises(FrameError):
        buffer.take()
