"""Answers on their way out: gathered in a turn, at once otherwise, none once it is closing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from client.protocol import encode_frame
from runner.server import writing
from runner.server.outlet import FilePart
from runner.server.writing import GATHERED_BYTES, Writer

if TYPE_CHECKING:
    from collections.abc import Callable


class Transport:
    """What is written to it, write by write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.writes.append(data)


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def writer(transport: Any) -> Writer:
    return Writer(transport, asyncio.Protocol(), lambda: None)


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
    transport: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "Outlet", HeldOutlet)
    transport.get_write_buffer_size = lambda: 0
    protocol = Pausing()
    writer = Writer(transport, protocol, lambda: protocol.told.append("held"))
    writer.send_part(b"head", FilePart(0, 0, 1))
    assert protocol.told == ["held"]
    writer.send(ONE)
    assert transport.writes == []
    assert protocol.told == ["held", "paused"]
    HeldOutlet.let_go()
    assert protocol.told == ["held", "paused", "resumed"]
    assert transport.writes == [encode_frame(ONE)]
