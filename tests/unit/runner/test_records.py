"""Records: what was packed is read, and nothing torn, garbled or newer ever is."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import records

if TYPE_CHECKING:
    from pathlib import Path

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(), inner, max_size=4),
    max_leaves=10,
)
maps = st.dictionaries(st.text().filter(lambda key: key != "version"), values, max_size=5)


@settings(max_examples=50)
@given(maps)
def test_what_was_packed_is_unpacked(fields: dict[str, object]) -> None:
    assert records.unpack(records.pack(fields)) == {"version": 1, **fields}


@settings(max_examples=50)
@given(maps, st.data())
def test_a_torn_record_is_refused_at_whatever_byte(
    fields: dict[str, object], data: st.DataObject
) -> None:
    packed = records.pack(fields)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(records.RecordError):
        records.unpack(packed[:cut])


@settings(max_examples=50)
@given(maps)
def test_bytes_after_a_record_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(records.RecordError):
        records.unpack(records.pack(fields) + b"\0")


@given(st.binary())
def test_garbage_is_refused_or_a_map_of_this_version(data: bytes) -> None:
    try:
        fields = records.unpack(data)
    except records.RecordError:
        return
    assert fields["version"] == records.VERSION


@settings(max_examples=50)
@given(maps, st.integers(0), st.integers(0, 255))
def test_a_garbled_byte_is_never_another_exception(
    fields: dict[str, object], place: int, byte: int
) -> None:
    packed = bytearray(records.pack(fields))
    packed[place % len(packed)] = byte
    try:
        records.unpack(bytes(packed))
    except records.RecordError:
        return


@pytest.mark.parametrize(
    "value", [{}, {"version": 2}, {"version": None}, [1], 1, None, {"Version": 1}]
)
def test_another_version_or_no_map_is_refused(value: object) -> None:
    with pytest.raises(records.RecordError, match="version 1"):
        records.unpack(msgpack.packb(value))


@pytest.mark.parametrize("depth", [600, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(records.RecordError):
        records.unpack(b"\x81\xa1x" + b"\x91" * depth + b"\xc0")


@pytest.mark.parametrize("body", [b"\x81\xd6\xff\xff\xff\xff\xff\x01", b"\x81\x90\x01"])
def test_a_key_that_cannot_be_one_is_refused(body: bytes) -> None:
    with pytest.raises(records.RecordError):
        records.unpack(body)


def test_a_control_record_is_written_whole_and_carries_the_largest_values() -> None:
    assert records.CONTROL_RECORD.size <= select.PIPE_BUF
    largest = (records.CONTROL_STOP, 2**32 - 1, 2**32 - 1)
    assert records.CONTROL_RECORD.unpack(records.CONTROL_RECORD.pack(*largest)) == largest


def test_text_with_undecodable_bytes_is_packed_as_something_readable() -> None:
    """A detail may name a path that is not UTF-8; the record must not fail for it."""
    fields = records.unpack(records.pack({"detail": "caf\udce9: not found"}))
    assert "not found" in fields["detail"]


@pytest.mark.parametrize("kind", ["FIFO", "link"])
def test_what_is_no_file_is_never_waited_for(tmp_path: Path, kind: str) -> None:
    if kind == "FIFO":
        os.mkfifo(tmp_path / "spec")
    else:
        (tmp_path / "spec").symlink_to("/etc/passwd")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises((OSError, records.RecordError)):
            records.read(fd, "spec", 100)
    finally:
        os.close(fd)
