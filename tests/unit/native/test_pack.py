"""msgpack in C: reads what the Python one writes, writes the same bytes, never beyond a bound."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.native.frames import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BAD = -errno.EBADMSG

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=30,
)
anything = st.recursive(
    plain | st.floats() | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def pack(driver: Callable[..., str]) -> Iterator[Driver]:
    with Driver(driver("pack", "pack")) as process:
        yield process


def copied(pack: Driver, data: bytes, kind: bytes = b"r") -> tuple[int, bool, bool, bytes]:
    """The error, whether there was no room, whether all was read, and what was written."""
    error, full, read, *written = pack.ask(kind + data).split(b" ")
    return int(error), full == b"1", read == b"1", bytes.fromhex(written[0].decode())


def skipped(pack: Driver, data: bytes) -> tuple[int, int]:
    """The error, and how many bytes are left."""
    error, left = pack.ask(b"s" + data).split()
    return int(error), int(left)


def packed(value: object) -> bytes:
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data


@given(plain)
def test_what_python_packs_is_read_and_written_again_byte_by_byte(
    pack: Driver, value: object
) -> None:
    data = packed(value)
    assert copied(pack, data) == (0, False, True, data)


@pytest.mark.parametrize(
    "number",
    [edge + step for bits in (5, 7, 8, 15, 16, 31, 32, 63, 64) for step in (-1, 0, 1)
     for edge in (2**bits, -(2**bits)) if -(2**63) <= edge + step < 2**64],
)  # fmt: skip
def test_a_number_takes_its_shortest_form(pack: Driver, number: int) -> None:
    assert copied(pack, packed(number)) == (0, False, True, packed(number))


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 4000])
def test_texts_and_lists_and_maps_of_each_size_have_their_head(pack: Driver, size: int) -> None:
    for value in ("x" * size, [1] * size, dict.fromkeys(range(size))):
        assert copied(pack, packed(value)) == (0, False, True, packed(value))


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0xD0, 0xD1, 0xD2, 0xD3]))
def test_a_number_in_a_longer_form_than_needed_is_the_same_number(
    pack: Driver, number: int, head: int
) -> None:
    size = 1 << (head - 0xD0)
    low = number % 2 ** (8 * size - 1)
    for value in (low, low - 2 ** (8 * size - 1)):
        data = bytes([head]) + value.to_bytes(size, "big", signed=True)
        assert copied(pack, data) == (0, False, True, packed(value))


@given(anything, st.binary(max_size=5))
def test_one_whole_value_is_skipped_and_not_a_byte_more(
    pack: Driver, value: object, rest: bytes
) -> None:
    assert skipped(pack, packed(value) + rest) == (0, len(rest))


@given(anything, st.data())
def test_a_torn_value_is_refused_at_whatever_byte(
    pack: Driver, value: object, data: st.DataObject
) -> None:
    whole = packed(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert skipped(pack, whole[:cut])[0] == BAD


@settings(max_examples=500)
@given(st.binary())
def test_garbage_is_refused_where_python_refuses_it(pack: Driver, data: bytes) -> None:
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
    unpacker.feed(data)
    error, left = skipped(pack, data)
    copied(pack, data)
    if error:
        return
    with suppress(TypeError):  # a map as a key: well formed, of no use to Python
        unpacker.skip()
        assert unpacker.tell() == len(data) - left
    assert error == 0


@given(st.binary(min_size=1, max_size=8))
def test_text_is_utf8_as_python_has_it(pack: Driver, data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        wanted = BAD
    else:
        wanted = 0
    assert skipped(pack, bytes([0xA0 | len(data)]) + data)[0] == wanted


@given(st.text(min_size=1, max_size=4), st.data())
def test_text_with_one_byte_changed_is_judged_as_python_judges(
    pack: Driver, text: str, data: st.DataObject
) -> None:
    raw = bytearray(text.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        raw.decode()
    except UnicodeDecodeError:
        wanted = BAD
    else:
        wanted = 0
    assert skipped(pack, bytes([0xA0 | len(raw)]) + raw)[0] == wanted


@pytest.mark.parametrize("data", [b"\xc1", b"\xc7\x00\x01", b"\xd4\x01\x00", b"\xc9\0\0\0\0\x01"])
def test_what_no_record_holds_is_refused(pack: Driver, data: bytes) -> None:
    assert skipped(pack, data)[0] == BAD


def test_lists_in_lists_are_read_32_deep_and_no_deeper(pack: Driver) -> None:
    assert skipped(pack, b"\x91" * 31 + b"\x90") == (0, 0)
    assert skipped(pack, b"\x91" * 32 + b"\xc0") == (0, 0)
    assert skipped(pack, b"\x91" * 32 + b"\x90")[0] == BAD
    assert skipped(pack, b"\x91" * 100000)[0] == BAD


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf", b"\xc6", b"\xdb"])
def test_a_size_that_the_rest_cannot_hold_is_refused_at_once(pack: Driver, head: bytes) -> None:
    for size in (b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x05"):
        assert skipped(pack, head + size + b"\xc0\xc0")[0] == BAD


@given(plain)
def test_what_finds_no_room_is_left_out_whole_and_said(pack: Driver, value: object) -> None:
    data = packed(value)
    error, full, read, written = copied(pack, data, b"t")
    assert error == 0
    assert read
    assert full == (len(data) > 16)
    assert data.startswith(written)


@given(st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False))
def test_a_number_of_any_kind_is_a_real_one(pack: Driver, number: float) -> None:
    error, _, unreal, real = pack.ask(b"v" + packed(number)).split()
    assert (int(error), int(unreal), float(real)) == (0, 0, float(number))


@given(st.floats(allow_nan=False, width=32))
def test_a_single_is_the_number_that_it_is(pack: Driver, number: float) -> None:
    data = msgpack.packb(number, use_single_float=True)
    assert float(pack.ask(b"v" + data).split()[3]) == number


@pytest.mark.parametrize("value", [None, True, "1", b"1", [], {}])
def test_what_is_no_number_is_no_real_one(pack: Driver, value: object) -> None:
    assert int(pack.ask(b"v" + packed(value)).split()[2]) == BAD


@pytest.mark.parametrize(
    ("value", "expected"),
    [("version", 1), ("versio", 0), ("versions", 0), ("", 0), (b"version", 0), (7, 0)],
)
def test_a_word_is_that_text_and_no_other(pack: Driver, value: object, expected: int) -> None:
    assert int(pack.ask(b"v" + packed(value)).split()[1]) == expected
