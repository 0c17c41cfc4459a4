"""Private networks on a host that makes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from isolation.network import private as private_network
from isolation.network.private import NetworkSettings, PrivateNetworks
from tests.unit.isolation.network.fake_host import PLAN, FakeHost

if TYPE_CHECKING:
    from isolation.network.private_host import PrivateHost


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def networks(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> PrivateNetworks:
    monkeypatch.setattr(private_network.resolver, "host_plan", lambda _: PLAN)
    made = PrivateNetworks(NetworkSettings("tests", linger_seconds=0))
    made._host = cast("PrivateHost", host)
    return made
