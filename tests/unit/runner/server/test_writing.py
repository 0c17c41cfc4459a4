"""Answers on their way out: gathered in a turn, at once otherwise, none once it is closing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from client.protocol import encode_frame
from runner.server import writing
from runner.server.outlet import FilePart
from runner.server.writing import GATHERED_BYTES, Writer
from tests.unit.runner.promising import Ground

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Transport:
    """What is written to it, write by write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def ground() -> Ground:
    return Ground()


@pytest.fixture
def writer(transport: Any, ground: Ground) -> Writer:
    return Writer(transport, asyncio.Protocol(), lambda: None, ground.settling)


ONE, TWO = {"id": 1, "ok": {}}, {"id": 2, "ok": {}}


def test_outside_of_a_turn_each_message_goes_at_once(transport: Transport, writer: Writer) -> None:
    writer.send(ONE)
    writer.send(TWO)
    writer.flush()
    assert transport.writes == [encode_frame(ONE), encode_frame(TWO)]


def test_those_of_a_turn_go_in_one_piece_and_in_order(transport: Transport, writer: Writer) -> None:
    writer.gathers = True
    writer.send(ONE)
    writer.send(TWO)
    assert transport.writes == []
    writer.flush()
    writer.flush()
    assert transport.writes == [encode_frame(ONE) + encode_frame(TWO)]


def test_what_becomes_long_goes_before_the_turn_is_over(
    transport: Transport, writer: Writer
) -> None:
    writer.gathers = True
    long_one = {"data": bytes(GATHERED_BYTES // 2)}
    for _ in range(4):
        writer.send(long_one)
    assert [len(data) for data in transport.writes] == [2 * len(encode_frame(long_one))] * 2


def test_a_message_that_cannot_be_packed_harms_no_other(
    transport: Transport, writer: Writer
) -> None:
    writer.gathers = True
    writer.send(ONE)
    with pytest.raises(TypeError):
        writer.send({"no": object()})
    writer.send(TWO)
    writer.flush()
    assert transport.writes == [encode_frame(ONE) + encode_frame(TWO)]


def test_nothing_is_said_once_the_connection_is_closing(
    transport: Transport, writer: Writer
) -> None:
    transport.closing = True
    writer.send(ONE)
    writer.flush()
    assert transport.writes == []


class Pausing(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause_writing(self) -> None:
        self.told.append("paused")

    def resume_writing(self) -> None:
        self.told.append("resumed")


class HeldOutlet:
    """One whose parts all wait for the client to read."""

    let_go: Callable[[], None]

    def __init__(self, _transport: object, on_through: Callable[[], None]) -> None:
        HeldOutlet.let_go = on_through

    def send(self, _head: bytes, _part: FilePart) -> bool:
        return False


def test_a_part_on_its_way_holds_events_and_pauses_who_is_answered_meanwhile(
    transport: Any, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "Outlet", HeldOutlet)
    protocol = Pausing()
    writer = Writer(transport, protocol, lambda: protocol.told.append("held"), ground.settling)
    writer.send_part(b"head", FilePart(0, 0, 1))
    assert protocol.told == ["held"]
    writer.send(ONE)
    assert transport.writes == []
    assert protocol.told == ["held", "paused"]
    HeldOutlet.let_go()
    assert protocol.told == ["held", "paused", "resumed"]
    assert transport.writes == [encode_frame(ONE)]


# Before what may be told of is on disk


def test_nothing_is_written_before_all_is_settled_and_then_all_in_its_order(
    transport: Transport, writer: Writer, ground: Ground
) -> None:
    writer.send(ONE)
    ground.promise()
    writer.send(TWO)
    writer.gathers = True
    writer.send(ONE)
    writer.gathers = False
    writer.flush()
    assert transport.writes == [encode_frame(ONE)]
    ground.rest()
    assert transport.writes[1:] == [encode_frame(TWO) + encode_frame(ONE)]
    writer.send(TWO)
    assert transport.writes[2:] == [encode_frame(TWO)]


def test_what_is_sent_when_all_is_settled_comes_after_what_still_waits(
    transport: Transport, writer: Writer, ground: Ground
) -> None:
    ground.promise()
    writer.send(ONE)
    ground.settling.now()
    writer.send(TWO)
    ground.rest()
    assert b"".join(transport.writes) == encode_frame(ONE) + encode_frame(TWO)


@pytest.mark.parametrize("gathers", [False, True])
def test_what_becomes_long_is_synced_and_goes(
    transport: Transport, writer: Writer, ground: Ground, *, gathers: bool
) -> None:
    ground.promise()
    writer.gathers = gathers
    long_one = {"data": bytes(GATHERED_BYTES // 2)}
    writer.send(long_one)
    assert transport.writes == []
    writer.send(long_one)
    assert ground.done == ["sync"]
    assert len(transport.writes) == 1


def test_who_is_closed_is_sent_what_waited_once_it_is_on_disk(
    transport: Transport, writer: Writer, ground: Ground
) -> None:
    ground.promise()
    writer.finish()
    assert ground.done == []
    writer.send(ONE)
    writer.finish()
    assert (ground.done, transport.writes) == (["sync"], [encode_frame(ONE)])
    ground.rest()
    assert len(transport.writes) == 1


def test_who_is_lost_is_sent_nothing(transport: Transport, writer: Writer, ground: Ground) -> None:
    ground.promise()
    writer.send(ONE)
    writer.close()
    ground.rest()
    assert transport.writes == []


def test_a_sync_that_failed_sends_nothing_whatever_happens(
    transport: Transport, writer: Writer, ground: Ground
) -> None:
    ground.promise()
    writer.send(ONE)
    ground.is_failing = True
    ground.rest()
    writer.send({"data": bytes(GATHERED_BYTES)})
    writer.finish()
    writer.flush()
    assert transport.writes == []
    assert ground.done == ["failed: it cannot be synced"]


@pytest.mark.parametrize("length", [3, GATHERED_BYTES])
def test_a_part_comes_after_what_waits_for_the_disk(
    transport: Transport, writer: Writer, ground: Ground, tmp_path: Path, length: int
) -> None:
    path = tmp_path / "log"
    path.write_bytes(bytes(length))
    with path.open("rb") as file:
        ground.promise()
        writer.send(ONE)
        writer.send_part(b"head", FilePart(file.fileno(), 0, length))
        assert len(transport.writes) == (length == GATHERED_BYTES)
        writer.send(TWO)
    ground.rest()
    sent = encode_frame(ONE) + b"head" + bytes(length) + encode_frame(TWO)
    assert b"".join(transport.writes) == sent


def test_what_a_job_wrote_waits_for_no_disk_when_nothing_before_it_does(
    transport: Any, writer: Writer, ground: Ground
) -> None:
    ground.promise()
    writer.send_frame(b"output", is_output=True)
    assert transport.writes == [b"output"]
    writer.send(ONE)
    writer.send_frame(b"more", is_output=True)
    assert (transport.writes, ground.done) == ([b"output"], [])
    ground.rest()
    assert transport.writes[1:] == [encode_frame(ONE) + b"more"]


@pytest.mark.parametrize("length", [1, GATHERED_BYTES])
def test_a_part_alone_goes_from_the_file_and_waits_for_no_disk(
    transport: Any, ground: Ground, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(writing, "Outlet", HeldOutlet)
    protocol = Pausing()
    writer = Writer(transport, protocol, lambda: protocol.told.append("held"), ground.settling)
    ground.promise()
    writer.send_part(b"head", FilePart(0, 0, length))
    assert (ground.done, protocol.told) == ([], ["held"])
    writer.send(ONE)
    HeldOutlet.let_go()
    assert transport.writes == []
    ground.rest()
    assert transport.writes == [encode_frame(ONE)]


def test_what_is_settled_while_a_part_is_on_its_way_waits_for_that(
    transport: Any, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "Outlet", HeldOutlet)
    writer = Writer(transport, Pausing(), lambda: None, ground.settling)
    writer.send_part(b"head", FilePart(0, 0, 1))
    ground.promise()
    writer.send(ONE)
    ground.rest()
    assert transport.writes == []
    HeldOutlet.let_go()
    assert transport.writes == [encode_frame(ONE)]
