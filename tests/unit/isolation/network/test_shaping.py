"""Messages of traffic control: what is asked for is what reads back."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.network import netlink, shaping

BITS = st.integers(8_000, 10**12)
INDEX = st.integers(1, 2**31 - 1)


@given(INDEX, BITS)
def test_a_limit_reads_back_as_whole_bytes(index: int, bits: int) -> None:
    asked = shaping.limit(index, bits).data
    read = shaping.bits_per_second([asked], index)
    assert read == bits // 8 * 8
    assert shaping.agrees(bits, read)
    assert shaping.bits_per_second([asked], index + 1) is None


@given(BITS)
def test_bursts_and_queues_fit_the_kernels_fields(bits: int) -> None:
    data = shaping.limit(1, bits).data
    options = netlink.attributes(netlink.attributes(data[36:])[2])
    (burst,) = struct.unpack("=I", options[6])
    queue, _, _ = struct.unpack("=III", options[1][24:])
    assert 8192 <= burst <= queue


@pytest.mark.parametrize("bits", [-8, 0, 7])
def test_no_rate_is_not_a_limit(bits: int) -> None:
    with pytest.raises(ValueError, match="no rate"):
        shaping.limit(1, bits)


@pytest.mark.parametrize(
    ("wanted", "read", "agree"),
    [(None, None, True), (None, 8, False), (8, None, False), (15, 8, True), (16, 8, False)],
)
def test_limits_agree_or_not(wanted: int | None, read: int | None, agree: bool) -> None:  # noqa: FBT001
    assert shaping.agrees(wanted, read) is agree


@given(st.lists(st.binary(max_size=100)))
def test_any_dump_is_read(frames: list[bytes]) -> None:
    assert shaping.bits_per_second(frames, 1) is None or frames


def test_another_queue_is_no_limit_of_ours() -> None:
    data = shaping.limit(7, 8000).data.replace(b"tbf\0", b"fq\0\0")
    assert shaping.bits_per_second([data], 7) is None


def test_a_description_that_is_too_short_is_an_error() -> None:
    body = struct.pack("=BxxxiIII", 0, 7, 0, 0xFFFFFFFF, 0) + netlink.attribute(1, b"tbf\0")
    with pytest.raises(OSError, match="too short"):
        shaping.bits_per_second([bytes(16) + body], 7)
