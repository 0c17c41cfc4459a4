"""Time zones by name: those of this host, and no other file."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from runner import zones

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    zones.local.cache_clear()
    yield
    zones.local.cache_clear()


def test_a_zone_is_found_by_its_name() -> None:
    assert str(zones.named("Europe/Berlin")) == "Europe/Berlin"


@pytest.mark.parametrize(
    "name",
    ["", ".", "Europe", "Europe/Nowhere", "../../etc/passwd", "/etc/passwd", "zone.tab", "a\0b",
     "x" * 5000, "\ud800"],
)  # fmt: skip
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a time zone of this host"):
        zones.named(name)


def test_the_hosts_own_zone_is_that_of_tz_when_it_names_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", ":Asia/Tokyo")
    assert str(zones.local()) == "Asia/Tokyo"


def test_else_that_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC0CET")
    monkeypatch.setattr(zones, "_LOCAL", "/usr/share/zoneinfo/Europe/Paris")
    found = zones.local()
    assert str(found).endswith("Paris")
    assert found.utcoffset(datetime(2026, 7, 1)) is not None  # noqa: DTZ001


def test_else_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setattr(zones, "_LOCAL", os.devnull)
    assert str(zones.local()) == "UTC"
