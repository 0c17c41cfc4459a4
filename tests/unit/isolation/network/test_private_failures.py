"""Private networks on a host that fails: what is done later, told, and never left half done."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

import pytest

from isolation.network import private as private_network
from isolation.network.errors import PrivateNetworkError
from isolation.network.private import PrivateNetworks, WantedNetwork
from tests.unit.isolation.network.fake_host import FakeHost, run


@pytest.fixture
def restarted(networks: PrivateNetworks, monkeypatch: pytest.MonkeyPatch) -> PrivateNetworks:
    """On a host that has interfaces of an earlier daemon."""
    stem = private_network.names_for("tests").stem
    monkeypatch.setattr(private_network.socket, "if_nameindex", lambda: [(7, stem)])
    return networks


BROKEN = PrivateNetworkError(errno.EIO, "change or read the rules", "nft is broken")
RUNNING = {"old": WantedNetwork(), "other": WantedNetwork()}


async def fails(work: Any) -> None:
    with pytest.raises(PrivateNetworkError, match="nft is broken"):
        await work


def test_a_recovery_that_failed_is_done_before_another_network_is_made(
    restarted: PrivateNetworks, host: FakeHost
) -> None:
    host.error = BROKEN

    async def mended() -> None:
        host.error = None

    *_, lease = run(
        restarted,
        lambda: fails(restarted.recover(RUNNING)),
        lambda: fails(restarted.acquire("new", WantedNetwork())),
        lambda: fails(restarted.set_bandwidth("old", 1, 1)),
        mended,
        lambda: restarted.acquire("new", WantedNetwork()),
    )
    os.close(lease.fd)
    assert host.adopted == [["old", "other"]] * 4
    assert set(host.jobs) == {"old", "other", "new"}


def test_networks_asked_for_at_once_recover_what_was_left_once(
    restarted: PrivateNetworks, host: FakeHost
) -> None:
    host.error = BROKEN

    async def both() -> None:
        host.error = None
        wanted = WantedNetwork()
        for lease in await asyncio.gather(
            restarted.acquire("one", wanted), restarted.acquire("two", wanted)
        ):
            os.close(lease.fd)

    run(restarted, lambda: fails(restarted.recover(RUNNING)), both)
    assert len(host.adopted) == 2
    assert set(host.jobs) == {"old", "other", "one", "two"}


def test_a_job_that_ends_before_its_network_is_recovered_is_left_out(
    restarted: PrivateNetworks, host: FakeHost
) -> None:
    host.error = BROKEN

    async def mended() -> None:
        host.error = None

    run(
        restarted,
        lambda: fails(restarted.recover(RUNNING)),
        lambda: fails(restarted.release("old")),
        lambda: restarted.release("old"),
        mended,
        lambda: restarted.release("other"),
    )
    assert host.adopted == [["old", "other"], ["other"], []]
    assert host.jobs == {}


def test_without_a_recovery_nothing_of_running_jobs_is_dismantled(
    restarted: PrivateNetworks, host: FakeHost
) -> None:
    host.error = BROKEN

    async def mended() -> None:
        host.error = None
        restarted._linger_if_idle()
        assert restarted._linger is None

    run(restarted, lambda: fails(restarted.recover(RUNNING)), mended)
    assert host.dismantled == 0


def test_rules_that_stay_are_told_after_all_else_is_given_back(
    networks: PrivateNetworks, host: FakeHost
) -> None:
    host.failure = BROKEN
    (lease, *_) = run(
        networks,
        lambda: networks.acquire("job", WantedNetwork()),
        lambda: fails(networks.release("job")),
        lambda: networks.release("job"),
    )
    os.close(lease.fd)
    assert host.leaving == 0


def test_the_end_of_a_daemon_survives_a_host_that_cannot_be_put_back(
    networks: PrivateNetworks, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    host.error = BROKEN
    run(networks)
    assert "what private networks needed stays: cannot change" in caplog.text
    assert networks._host is None


def test_a_job_whose_files_cannot_be_written_gets_no_network(
    networks: PrivateNetworks, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> dict[bytes, bytes]:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(private_network.resolver, "files", broken)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="too many open files"):
        run(networks, lambda: networks.acquire("job", WantedNetwork()))
    assert host.jobs == {}
    assert len(os.listdir("/proc/self/fd")) == before


def test_rules_are_looked_at_again_after_a_look_that_failed(
    networks: PrivateNetworks, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_network, "_VERIFY_SECONDS", 0)

    async def twice() -> None:
        while host.verified < 2:
            await asyncio.sleep(0)

    (lease, _) = run(
        networks,
        lambda: networks.acquire("job", WantedNetwork()),
        lambda: asyncio.wait_for(twice(), 10),
    )
    os.close(lease.fd)
