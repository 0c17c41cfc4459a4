"""The event loop's side of private networks, as far as it goes without any right."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys

import pytest

from isolation.network import private as private_network
from isolation.network.errors import PrivateNetworkError, from_os_error
from isolation.network.private import NetworkSettings, PrivateNetworks, WantedNetwork
from isolation.network.published import Publish
from tests.unit.isolation.network.fake_host import FakeHost, run


def test_nothing_heavy_is_imported_before_the_first_network() -> None:
    program = (
        "import asyncio, sys\n"
        "from isolation.network.private import NetworkSettings, PrivateNetworks\n"
        "async def main():\n"
        "    networks = PrivateNetworks(NetworkSettings('nobody else'))\n"
        "    assert await networks.recover({}) == []\n"
        "    await networks.release('job')\n"
        "    await networks.close()\n"
        "asyncio.run(main())\n"
        "sys.exit(bool({'pyroute2', 'isolation.syscalls.nftables'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 0


def test_a_lease_has_a_descriptor_an_address_and_files(networks: PrivateNetworks) -> None:
    wanted = WantedNetwork(hostname="builder", allow_egress=("192.0.2.0/24:443",))
    (lease,) = run(networks, lambda: networks.acquire("job", wanted))
    assert lease.address == "10.213.0.2"
    assert lease.files[b"/etc/resolv.conf"] == b"nameserver 192.0.2.53\n"
    assert b"10.213.0.2 builder\n" in lease.files[b"/etc/hosts"]
    os.close(lease.fd)


def test_what_is_asked_for_reaches_the_host(networks: PrivateNetworks, host: FakeHost) -> None:
    wanted = WantedNetwork("1000/db", (Publish(None, 8080, 80),), (), 8000, 16000)
    (lease,) = run(networks, lambda: networks.acquire("job", wanted))
    os.close(lease.fd)
    made = host.jobs["job"]
    assert made.network is not None
    assert "db" not in made.network
    assert made.permissions is not None
    assert made.permissions() == ()
    assert (made.published, made.egress_bits, made.ingress_bits) == (wanted.publish, 8000, 16000)


@pytest.mark.parametrize(
    "wanted",
    [WantedNetwork(allow_egress=("*",)), WantedNetwork(publish=(Publish("x", 1, 1),))],
)
def test_words_that_mean_nothing_are_refused(
    networks: PrivateNetworks, host: FakeHost, wanted: WantedNetwork
) -> None:
    with pytest.raises(PrivateNetworkError) as caught:
        run(networks, lambda: networks.acquire("job", wanted))
    assert caught.value.errno == errno.EINVAL
    assert host.jobs == {}


def test_a_failure_reaches_who_asked(networks: PrivateNetworks, host: FakeHost) -> None:
    host.error = PrivateNetworkError(errno.EADDRINUSE, "publish port 80/tcp", "taken", "go away")
    with pytest.raises(PrivateNetworkError, match=r"publish port 80/tcp: taken.*; go away"):
        run(networks, lambda: networks.acquire("job", WantedNetwork()))


def test_a_release_waits_until_the_link_is_gone(networks: PrivateNetworks, host: FakeHost) -> None:
    lease, _, _ = run(
        networks,
        lambda: networks.acquire("job", WantedNetwork()),
        lambda: networks.release("job"),
        lambda: networks.release("job"),
    )
    os.close(lease.fd)
    assert (host.leaving, host.forced) == (0, False)


def test_a_link_that_stays_is_removed(
    networks: PrivateNetworks, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_network, "_GONE_SECONDS", 0.02)
    host.leaving = 10**6
    lease, _ = run(
        networks,
        lambda: networks.acquire("job", WantedNetwork()),
        lambda: networks.release("job"),
    )
    os.close(lease.fd)
    assert host.forced


def test_closing_keeps_the_networks_of_running_jobs(
    networks: PrivateNetworks, host: FakeHost
) -> None:
    (lease,) = run(networks, lambda: networks.acquire("job", WantedNetwork()))
    os.close(lease.fd)
    assert host.dismantled == 0
    assert "job" in host.jobs


def test_after_the_last_job_the_host_is_put_back(networks: PrivateNetworks, host: FakeHost) -> None:
    async def dismantled() -> None:
        while not host.dismantled:
            await asyncio.sleep(0)

    lease, *_ = run(
        networks,
        lambda: networks.acquire("job", WantedNetwork()),
        lambda: networks.release("job"),
        lambda: asyncio.wait_for(dismantled(), 10),
    )
    os.close(lease.fd)


def test_a_cancelled_request_leaves_nothing(networks: PrivateNetworks, host: FakeHost) -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def cancelled(turns: int) -> None:
        task = asyncio.ensure_future(networks.acquire("job", WantedNetwork()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(result, BaseException):
            os.close(result.fd)
            await networks.release("job")
        await asyncio.gather(*networks._tasks)
        assert host.jobs == {}

    run(networks, *(lambda turns=turns: cancelled(turns) for turns in range(12)))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("subnet", ["10.213.0.0", "10.213.0.1/16", "fd00::/64", "x"])
def test_a_subnet_that_is_none_is_refused_at_once(subnet: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        PrivateNetworks(NetworkSettings("x", subnet))


def test_an_error_says_what_failed_why_and_what_to_do() -> None:
    error = from_os_error(OSError(errno.EPERM, "Operation not permitted"), "add link x", "be root")
    assert str(error) == "cannot add link x: Operation not permitted (EPERM); be root"
    assert (
        str(PrivateNetworkError(errno.ENODEV, "use x")) == "cannot use x: No such device (ENODEV)"
    )
