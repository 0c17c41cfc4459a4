"""Answers on their way out: gathered in a turn, at once otherwise, none once it is closing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from client.protocol import encode_frame
from runner.server.writing import GATHERED_BYTES, Writer


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
    return Writer(transport, asyncio.Protocol())


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
