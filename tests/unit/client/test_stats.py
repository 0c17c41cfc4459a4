"""`stats` of the library: what is asked, what is given, what is no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from client.api import Client
from client.errors import ProtocolError, RequestRefused

if TYPE_CHECKING:
    from tests.unit.client.conftest import FakeDaemon

ANSWER: dict[str, Any] = {"submitted": 3, "cpu_usec": 5, "memory_bytes": 7, "ends": {"exit": 1}}


def test_the_totals_are_given_as_they_came(daemon: FakeDaemon) -> None:
    daemon.answer("stats", ANSWER)
    with Client(daemon.path) as client:
        assert client.stats() == ANSWER
    assert daemon.args("stats") == [{}]


@pytest.mark.parametrize("field", ["submitted", "cpu_usec", "memory_bytes"])
def test_an_answer_without_totals_is_none(daemon: FakeDaemon, field: str) -> None:
    daemon.answer("stats", {**ANSWER, field: "many"})
    with Client(daemon.path) as client, pytest.raises(ProtocolError):
        client.stats()


def test_a_refusal_is_told(daemon: FakeDaemon) -> None:
    daemon.refuse("stats", "not-permitted")
    with Client(daemon.path) as client, pytest.raises(RequestRefused) as caught:
        client.stats()
    assert caught.value.code == "not-permitted"
