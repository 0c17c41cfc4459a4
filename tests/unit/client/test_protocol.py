"""Frames and text of the wire: what comes back, and what is refused before it costs anything."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import protocol
from client.protocol import (
    ITEMS_PER_CONTAINER,
    MAX_ARGUMENT_BYTES,
    MAX_ARGUMENTS,
    MAX_ARRAY_ITEMS,
    MAX_DEPTH,
    MAX_FRAME_BYTES,
    MAX_MAP_ITEMS,
    MAX_REQUEST_CONTAINERS,
    FrameError,
    decode_body,
    encode_frame,
    environment_bytes,
    frame_length,
    to_bytes,
    to_text,
    to_wire,
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=15,
)
messages = st.dictionaries(st.text(max_size=8), values, max_size=6)


@settings(max_examples=50)
@given(messages)
def test_what_is_encoded_comes_back(message: dict[str, Any]) -> None:
    frame = encode_frame(message)
    assert frame_length(frame[:4]) == len(frame) - 4
    for kind in (bytes, bytearray, memoryview):
        assert decode_body(kind(frame[4:])) == message


@settings(max_examples=50)
@given(messages, st.data())
def test_a_body_cut_short_or_with_more_behind_it_is_refused(
    message: dict[str, Any], data: st.DataObject
) -> None:
    body = encode_frame(message)[4:]
    cut = data.draw(st.integers(0, len(body) - 1))
    for wrong in (body[:cut], body + b"\xc0"):
        with pytest.raises(FrameError):
            decode_body(wrong)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_frame_error(body: bytes) -> None:
    try:
        message = decode_body(body)
    except FrameError:
        return
    assert isinstance(message, dict)


@settings(max_examples=50)
@given(messages, st.integers(0), st.integers(0, 255))
def test_a_garbled_byte_is_never_another_exception(
    message: dict[str, Any], place: int, byte: int
) -> None:
    body = bytearray(encode_frame(message)[4:])
    body[place % len(body)] = byte
    try:
        decode_body(body)
    except FrameError:
        return


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused(length: int) -> None:
    with pytest.raises(FrameError, match=str(length)):
        frame_length(protocol.HEADER.pack(length))


def test_lengths_at_the_bounds_are_taken() -> None:
    assert frame_length(protocol.HEADER.pack(1)) == 1
    assert frame_length(protocol.HEADER.pack(MAX_FRAME_BYTES)) == MAX_FRAME_BYTES
    assert frame_length(protocol.HEADER.pack(10), 10) == 10
    with pytest.raises(FrameError, match="1 to 10"):
        frame_length(protocol.HEADER.pack(11), 10)


def test_a_message_that_is_too_long_is_not_sent() -> None:
    # The map, its key and the head of the data take eight bytes.
    assert len(encode_frame({"a": bytes(MAX_FRAME_BYTES - 8)})) == 4 + MAX_FRAME_BYTES
    with pytest.raises(FrameError, match="at most 4194304"):
        encode_frame({"a": bytes(MAX_FRAME_BYTES - 7)})


@pytest.mark.parametrize("value", [None, 1, "x", b"x", [], [{}], 1.5, True])
def test_what_is_no_map_is_no_message(value: object) -> None:
    with pytest.raises(FrameError, match="holds a map"):
        decode_body(msgpack.packb(value))


def nested(depth: int, kind: str = "list") -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth - 1):
        value = [value] if kind == "list" else {"k": value}
    return {"k": value}


@pytest.mark.parametrize("kind", ["list", "map"])
def test_nesting_is_taken_to_its_bound_and_no_deeper(kind: str) -> None:
    deepest = nested(MAX_DEPTH, kind)
    assert decode_body(encode_frame(deepest)[4:]) == deepest
    with pytest.raises(FrameError, match=f"deeper than {MAX_DEPTH}"):
        decode_body(encode_frame(nested(MAX_DEPTH + 1, kind))[4:])


@given(st.integers(1, 2 * MAX_DEPTH), st.sampled_from(["list", "map"]), st.text(max_size=100),
       st.integers(0, 6000))  # fmt: skip
def test_how_deep_a_message_is_does_not_depend_on_what_else_is_in_it(
    depth: int, kind: str, text: str, padding: int
) -> None:
    """Text of other scripts has the bytes that begin a map; a long body is looked at otherwise."""
    message = {"text": text, "padding": bytes(padding), "nested": nested(depth, kind)["k"]}
    body = encode_frame(message)[4:]
    for made in (body, memoryview(body)):
        if depth <= MAX_DEPTH:
            assert decode_body(made) == message
        else:
            with pytest.raises(FrameError, match="deeper"):
                decode_body(made)


@pytest.mark.parametrize("depth", [200, 600, 100_000])
def test_nesting_that_would_exhaust_the_stack_is_refused(depth: int) -> None:
    for opening in (b"\x91", b"\x81\xa1k"):
        with pytest.raises(FrameError):
            decode_body(b"\x81\xa1k" + opening * depth + b"\xc0")


def test_arrays_and_maps_are_bounded_in_their_items() -> None:
    for fits, too_many in (
        ({"a": [0] * MAX_ARRAY_ITEMS}, {"a": [0] * (MAX_ARRAY_ITEMS + 1)}),
        (
            {"a": dict.fromkeys(range(MAX_MAP_ITEMS), 0)},
            {"a": dict.fromkeys(range(MAX_MAP_ITEMS + 1), 0)},
        ),
    ):
        assert decode_body(encode_frame(fits)[4:]) == fits
        with pytest.raises(FrameError):
            decode_body(encode_frame(too_many)[4:])


@pytest.mark.parametrize(
    "head", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"]
)
def test_a_size_that_is_only_announced_costs_nothing(head: bytes) -> None:
    with pytest.raises(FrameError):
        decode_body(b"\x81\xa1k" + head)


def test_arrays_and_maps_together_are_counted() -> None:
    body = encode_frame({"a": [[]] * 8})[4:]
    assert decode_body(body, 10) == {"a": [[]] * 8}
    with pytest.raises(FrameError, match="more than 9 arrays and maps"):
        decode_body(body, 9)


def test_items_are_counted_over_all_arrays_and_maps() -> None:
    fits = {"argv": ["x"] * MAX_ARGUMENTS, "env": dict.fromkeys(map(str, range(4096)), "")}
    assert decode_body(encode_frame(fits)[4:], MAX_REQUEST_CONTAINERS) == fits
    bomb = {"a": [["ab"] * MAX_ARRAY_ITEMS] * 100}
    most = MAX_REQUEST_CONTAINERS * ITEMS_PER_CONTAINER
    with pytest.raises(FrameError, match=f"more than {most} items"):
        decode_body(encode_frame(bomb)[4:], MAX_REQUEST_CONTAINERS)


@pytest.mark.parametrize("wrong", [{b"": b"x"}, {b"A=": b"x"}, {b"A\0": b"x"}, {b"A": b"\0"}])
def test_an_environment_is_measured_in_one_piece_only_where_each_variable_is_right(
    wrong: dict[bytes, bytes],
) -> None:
    right = {b"PATH": b"/bin", b"EMPTY": b""}
    assert environment_bytes(right) == len("PATH=/bin" + "EMPTY=")
    assert environment_bytes(right | wrong) is None
    assert environment_bytes({b"A": b"x" * MAX_ARGUMENT_BYTES}) is None


EXTENSIONS = {
    "fixext 1": b"\xd4\x05\x00",
    "fixext 4": b"\xd6\x05\0\0\0\0",
    "ext 8": b"\xc7\x01\x05\x00",
    "ext 8 of no bytes": b"\xc7\x00\x05",
    "ext 32 of no bytes": b"\xc9\x00\x00\x00\x00\x05",
    "timestamp 32": b"\xd6\xff\0\0\0\0",
    "timestamp 64": b"\xd7\xff" + bytes(8),
    "timestamp of no bytes": b"\xc7\x00\xff",
}


@pytest.mark.parametrize("extension", EXTENSIONS.values(), ids=EXTENSIONS)
def test_extension_types_are_refused(extension: bytes) -> None:
    with pytest.raises(FrameError):
        decode_body(b"\x81\xa1k" + extension)
    with pytest.raises(FrameError):
        decode_body(b"\x81" + extension + b"\x01")


@pytest.mark.parametrize(
    "body",
    [
        b"\x81\xa1k\xa1\xff",  # str that is not UTF-8
        b"\x81\xa1k\xa3\xed\xa0\x80",  # a surrogate, as CESU-8 would write it
        b"\x81\xa1\xff\x01",
        b"\x81\x90\x01",  # an array as a key
        b"\x81\x80\x01",
        b"\x81\xa1k\xc1",  # the byte that msgpack never uses
    ],
)
def test_what_python_could_not_hold_or_send_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        decode_body(body)


def test_text_with_surrogates_must_be_bytes_before_it_is_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_frame({"a": "caf\udce9"})
    encode_frame({"a": to_wire("caf\udce9")})


def test_numbers_that_are_none_survive() -> None:
    assert math.isnan(decode_body(encode_frame({"a": math.nan})[4:])["a"])


@given(st.binary())
def test_text_of_the_system_survives_the_wire_byte_for_byte(raw: bytes) -> None:
    wire = to_wire(raw)
    assert isinstance(wire, str) == (raw == raw.decode("utf-8", "ignore").encode())
    assert to_bytes(wire) == raw
    assert to_bytes(decode_body(encode_frame({"a": wire})[4:])["a"]) == raw
    assert to_wire(to_text(raw)) == wire
    assert to_bytes(to_text(raw)) == raw


@given(st.text())
def test_text_in_utf_8_stays_text(text: str) -> None:
    assert to_wire(text) == text
    assert to_text(text) == text
    assert to_bytes(text) == text.encode()
