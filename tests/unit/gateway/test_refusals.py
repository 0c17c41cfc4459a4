"""Refused connections in the log, once a second at most: gateway.refusals."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from gateway import refusals
from gateway.refusals import Refusals

if TYPE_CHECKING:
    import pytest


def test_a_flood_is_counted_whole_and_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(refusals, "_EVERY_SECONDS", 0.01)
    counted = Counter[str]()

    async def body() -> None:
        told = Refusals(lambda reason: counted.update([reason]))
        for number in range(1000):
            told.add("not-tls", f"192.0.2.{number % 9}", "it does not speak TLS")
        async with asyncio.timeout(10):
            while len(caplog.records) < 2:
                await asyncio.sleep(0.001)
        told.close()

    asyncio.run(body())
    assert counted == {"not-tls": 1000}
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "refused a connection, not-tls, from 192.0.2.0: it does not speak TLS"
    assert second.endswith("from 192.0.2.1: it does not speak TLS (999 such in a second)")


def test_what_was_not_told_yet_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        told = Refusals(lambda _reason: None)
        told.add("closed", "192.0.2.1", "one")
        told.add("closed", "192.0.2.1", "two")
        told.close()
        told.close()

    asyncio.run(body())
    assert [record.getMessage()[-3:] for record in caplog.records] == ["one", "two"]
