"""Frames out of a byte stream, however it was cut, and what is held meanwhile."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.frames import FrameBuffer
from client.protocol import (
    HEADER,
    MAX_FRAME_BYTES,
    MAX_GREETING_BYTES,
    MAX_REQUEST_CONTAINERS,
    FrameError,
    decode_body,
    encode_frame,
)
from runner.server.framing import FramePacker

if TYPE_CHECKING:
    from collections.abc import Iterator

Message = dict[str, Any]

messages = st.lists(
    st.dictionaries(st.text(max_size=4), st.integers(0, 2**32) | st.binary(max_size=40)),
    max_size=6,
)


def greeted() -> FrameBuffer:
    buffer = FrameBuffer()
    buffer.greeted()
    return buffer


def fed(buffer: FrameBuffer, data: bytes) -> Iterator[Message]:
    for body in buffer.feed(data):
        yield decode_body(body, MAX_REQUEST_CONTAINERS)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in itertools.pairwise(places)]


@given(sent=messages, cuts=st.lists(st.integers(0)))
def test_however_a_stream_is_cut_the_messages_are_the_same(
    sent: list[Message], cuts: list[int]
) -> None:
    buffer = greeted()
    stream = b"".join(map(encode_frame, sent))
    got = [message for piece in pieces(stream, cuts) for message in fed(buffer, piece)]
    assert got == sent
    assert buffer.held_bytes == 0


@given(sent=messages, tail=st.integers(1, 30))
def test_a_frame_without_its_end_is_partial_until_the_end_comes(
    sent: list[Message], tail: int
) -> None:
    last = encode_frame({"last": b"0123456789"})
    cut = len(last) - tail % len(last)
    cut = max(1, cut)
    buffer = greeted()
    assert list(fed(buffer, b"".join(map(encode_frame, sent)) + last[:cut])) == (
        [*sent, {"last": b"0123456789"}] if cut == len(last) else sent
    )
    assert buffer.held_bytes == (cut if cut < len(last) else 0)
    if buffer.held_bytes:
        assert list(fed(buffer, last[cut:])) == [{"last": b"0123456789"}]
        assert buffer.held_bytes == 0


@given(sent=messages, cuts=st.lists(st.integers(0)))
def test_between_reads_no_more_than_one_frame_is_held(sent: list[Message], cuts: list[int]) -> None:
    buffer = greeted()
    frames = list(map(encode_frame, sent))
    longest = max(map(len, frames), default=0)
    for piece in pieces(b"".join(frames), cuts):
        list(fed(buffer, piece))
        assert buffer.held_bytes < max(longest, 1)


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 2**31, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused_by_its_header_alone(length: int) -> None:
    buffer = greeted()
    with pytest.raises(FrameError, match=str(length)):
        list(fed(buffer, HEADER.pack(length)))
    assert buffer.held_bytes <= HEADER.size


def test_a_frame_of_the_full_length_is_taken() -> None:
    data = bytes(MAX_FRAME_BYTES - 8)
    frame = encode_frame({"a": data})
    assert len(frame) == HEADER.size + MAX_FRAME_BYTES
    buffer = greeted()
    assert list(fed(buffer, frame[:-1])) == []
    assert list(fed(buffer, frame[-1:])) == [{"a": data}]


@pytest.mark.parametrize("body", [b"\xc1", b"\x93\x01", b"\x01", b"\x80\x80", b"\xff" * 9])
def test_messages_before_a_bad_frame_are_given_and_then_the_error(body: bytes) -> None:
    good = {"id": 1}
    buffer = greeted()
    feed = fed(buffer, encode_frame(good) + HEADER.pack(len(body)) + body)
    assert next(feed) == good
    with pytest.raises(FrameError):
        next(feed)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_garbage_is_messages_or_a_frame_error_and_nothing_else(parts: list[bytes]) -> None:
    buffer = greeted()
    try:
        for part in parts:
            assert all(isinstance(message, dict) for message in fed(buffer, part))
    except FrameError:
        return


def test_before_the_greeting_a_frame_is_short() -> None:
    header = HEADER.pack(MAX_GREETING_BYTES + 1)
    with pytest.raises(FrameError, match=str(MAX_GREETING_BYTES)):
        list(fed(FrameBuffer(), header))
    assert list(fed(greeted(), header)) == []
    fits = encode_frame({"a": bytes(MAX_GREETING_BYTES - 6)})
    assert len(fits) == HEADER.size + MAX_GREETING_BYTES
    assert len(list(fed(FrameBuffer(), fits))) == 1


def test_a_greeting_and_a_long_frame_may_come_in_one_piece() -> None:
    buffer = FrameBuffer()
    long_one = {"a": bytes(2 * MAX_GREETING_BYTES)}
    feed = fed(buffer, encode_frame({"id": 1}) + encode_frame(long_one))
    assert next(feed) == {"id": 1}
    buffer.greeted()
    assert list(feed) == [long_one]


def test_a_frame_of_many_small_arrays_is_refused_for_what_they_would_cost() -> None:
    most = {"a": [[]] * (MAX_REQUEST_CONTAINERS - 2)}
    assert list(fed(greeted(), encode_frame(most))) == [most]
    with pytest.raises(FrameError, match="arrays and maps"):
        list(fed(greeted(), encode_frame({"a": [[]] * (MAX_REQUEST_CONTAINERS - 1)})))


# Out


@given(sent=messages)
def test_a_packer_makes_the_frames_that_everybody_makes(sent: list[Message]) -> None:
    packer = FramePacker()
    assert [packer.frame(message) for message in sent] == list(map(encode_frame, sent))


@pytest.mark.parametrize("wrong", [{"no": object()}, {"text": "caf\udce9"}, {"a": 2**64}])
def test_what_cannot_be_packed_leaves_nothing_behind(wrong: Message) -> None:
    packer = FramePacker()
    with pytest.raises((TypeError, ValueError, OverflowError)):
        packer.frame({"before": [1, 2, 3], **wrong})
    assert packer.frame({"a": 1}) == encode_frame({"a": 1})


def test_a_frame_has_the_full_length_and_no_more() -> None:
    packer = FramePacker()
    assert len(packer.frame({"a": bytes(MAX_FRAME_BYTES - 8)})) == HEADER.size + MAX_FRAME_BYTES
    with pytest.raises(FrameError, match="at most"):
        packer.frame({"a": bytes(MAX_FRAME_BYTES - 7)})
    assert packer.frame({"a": 1}) == encode_frame({"a": 1})
