"""After the end of a daemon, expected or not: running jobs keep all they had, the rest goes."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from isolation.network.errors import PrivateNetworkError
from isolation.network.private import NetworkSettings, PrivateNetworks, WantedNetwork
from isolation.network.published import Publish
from isolation.network.rule_tables import RuleTables
from tests.kernel.isolation.private import outside
from tests.kernel.isolation.private.jobs import SUBNET, Job, Networks
from tests.kernel.isolation.private.outside import HOST, REJECTED, SECOND, WORLD, World, ask

if TYPE_CHECKING:
    from pathlib import Path

BITS = 10_000_000
WEB = WantedNetwork(
    name="n", publish=(Publish(None, 8080, 80),), egress_bits=BITS, ingress_bits=2 * BITS
)
PEER = WantedNetwork(name="n", allow_egress=("example.org:80",))
PLAIN = WantedNetwork()


def asked(wanted: WantedNetwork) -> dict[str, object]:
    return wanted._asdict()


def restarted(before: Networks, jobs: dict[str, tuple[Job, WantedNetwork]]) -> Networks:
    """Another daemon, which is told of these running jobs."""
    after = Networks()
    remarks = after.do(
        after.networks.recover({job_id: wanted for job_id, (_, wanted) in jobs.items()})
    )
    assert remarks == []
    after.jobs = {job_id: job for job_id, (job, _) in jobs.items()}
    after.count = before.count
    return after


def test_running_jobs_keep_everything_and_the_others_lose_it(
    world: World, resolv_conf: Path
) -> None:
    before = Networks()
    web, peer, plain, gone = (before.job(**asked(each)) for each in (WEB, PEER, PLAIN, WEB_TOO))
    before.crash()
    # A name has another address by now: what the job may connect to was decided at its start.
    resolv_conf.write_text("nameserver 127.0.0.99\n")
    after = restarted(before, {web.id: (web, WEB), peer.id: (peer, PEER), plain.id: (plain, PLAIN)})
    try:
        os.close(gone.fd)
        with web.serving(80):
            assert world.inside(lambda: ask(HOST, 8080)) == WORLD
            assert peer.inside(lambda: ask(web.address, 80)) == peer.address
            assert refused(plain, web.address) == REJECTED
            assert outside.refused_by(lambda: world.inside(lambda: ask(HOST, 8082))) == (
                "Connection refused"
            )
        assert peer.inside(lambda: ask(WORLD, 80)) == HOST
        assert refused(peer, SECOND) == REJECTED
        assert plain.inside(lambda: ask(WORLD, 80)) == HOST
        read = after.do(after.networks.set_bandwidth(web.id, BITS, 2 * BITS))
        assert read == (BITS, 2 * BITS)
        resolv_conf.write_text(f"nameserver {WORLD}\n")
        fresh = after.job()
        assert fresh.address not in {web.address, peer.address, plain.address}
        with pytest.raises(OSError, match="another job has published it"):
            after.job(publish=(Publish(None, 8080, 81),))
    finally:
        after.close()


WEB_TOO = WantedNetwork(name="m", publish=(Publish(None, 8082, 80),), egress_bits=BITS)


def refused(job: Job, address: str) -> str:
    return outside.refused_by(lambda: job.inside(lambda: ask(address, 80, 2)))


def test_without_running_jobs_the_host_is_as_it_was(world: World) -> None:
    before = Networks()
    job = before.job(**asked(WEB))
    before.job(**asked(PEER))
    before.crash()
    for each in before.jobs.values():
        os.close(each.fd)
    after = Networks(linger_seconds=0)
    assert after.do(after.networks.recover({})) == []
    after.close()
    assert job.id in before.jobs


def test_a_connection_goes_on_while_the_daemon_is_replaced(world: World) -> None:
    before = Networks()
    job = before.job(**asked(WEB))

    def echo(peer: outside.socket.socket, name: object) -> None:
        while data := peer.recv(100):
            peer.sendall(data)

    with job.serving(80, echo):
        client = world.inside(
            lambda: outside.socket.create_connection((HOST, 8080), timeout=outside.SECONDS)
        )
        with client:
            client.sendall(b"one")
            assert client.recv(100) == b"one"
            before.crash()
            client.sendall(b"two")
            assert client.recv(100) == b"two"
            after = restarted(before, {job.id: (job, WEB)})
            client.sendall(b"three")
            assert client.recv(100) == b"three"
    after.close()


def test_rules_that_were_lost_meanwhile_are_made_again(world: World) -> None:
    before = Networks()
    peer = before.job(**asked(PEER))
    before.crash()
    outside.run("nft", "flush", "ruleset")
    after = restarted(before, {peer.id: (peer, PEER)})
    try:
        assert peer.inside(lambda: ask(WORLD, 80)) == HOST
        assert refused(peer, SECOND) == REJECTED
    finally:
        after.close()


def test_a_recovery_that_fails_leaves_running_jobs_alone_and_is_made_up_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Networks()
    web, plain = before.job(**asked(WEB)), before.job()
    before.crash()
    after = Networks(linger_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(RuleTables, "run", refuse)
        with pytest.raises(PrivateNetworkError, match="not now"):
            after.do(after.networks.recover({web.id: WEB, plain.id: PLAIN}))
        with pytest.raises(PrivateNetworkError, match="not now"):
            after.do(after.networks.acquire("early", PLAIN))
    assert plain.inside(lambda: ask(WORLD, 80)) == HOST
    after.jobs, after.count = {web.id: web, plain.id: plain}, before.count
    fresh = after.job()
    assert fresh.address not in {web.address, plain.address}
    with web.serving(80):
        assert world.inside(lambda: ask(HOST, 8080)) == WORLD
    for job in (plain, fresh):
        assert job.inside(lambda: ask(WORLD, 80)) == HOST
    with pytest.raises(OSError, match="another job has published it"):
        after.job(publish=WEB.publish)
    after.close()


def refuse(_: RuleTables, script: str) -> None:
    raise PrivateNetworkError(errno.EIO, "change or read the rules", f"not now: {script[:9]}")


def test_a_changed_subnet_waits_for_the_jobs_of_the_old_one(world: World) -> None:
    before = Networks()
    job = before.job()
    before.crash()
    after = Networks(subnet="10.77.0.0/16")
    assert after.do(after.networks.recover({job.id: PLAIN})) == []
    after.jobs, after.count = {job.id: job}, before.count
    assert after.job().address.startswith("10.213.")
    assert job.inside(lambda: ask(WORLD, 80)) == HOST
    after.close()


def test_two_daemons_on_one_host_do_not_meet(world: World) -> None:
    first, second = Networks("one"), Networks("two", subnet="10.77.0.0/16")
    one, two = first.job(), second.job()
    with one.serving(80):
        assert refused(two, one.address) == REJECTED
    first.crash()
    other = Networks("one")
    assert other.do(other.networks.recover({})) == []
    os.close(one.fd)
    assert two.inside(lambda: ask(WORLD, 80)) == HOST
    other.close()
    second.close()


def test_a_process_that_holds_on_to_a_network_does_not_keep_it(networks: Networks) -> None:
    job = networks.job()
    held = os.dup(job.fd)
    try:
        networks.release(job)
        assert outside.inside(
            held, lambda: [name for _, name in outside.socket.if_nameindex()]
        ) == ["lo"]
    finally:
        os.close(held)


def test_release_is_idempotent_and_knows_no_strangers(networks: Networks) -> None:
    job = networks.job()
    networks.release(job)
    networks.do(networks.networks.release(job.id))
    networks.do(networks.networks.release("another"))


def test_nothing_stays_some_time_after_the_last_job(world: World) -> None:
    networks = Networks(linger_seconds=0.05)
    job = networks.job()
    networks.release(job)

    async def gone() -> None:
        import asyncio

        deadline = time.monotonic() + 10
        while any(name.startswith("rd") for _, name in outside.socket.if_nameindex()):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    networks.do(gone())
    assert networks.job().inside(lambda: ask(WORLD, 80)) == HOST
    networks.close()


def test_a_cancelled_request_leaves_nothing(world: World) -> None:
    import asyncio

    networks = Networks()
    networks.release(networks.job())

    async def cancelled(turns: int) -> None:
        task = asyncio.ensure_future(networks.networks.acquire(f"cancelled-{turns}", PLAIN))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(results[0], BaseException):
            os.close(results[0].fd)
            await networks.networks.release(f"cancelled-{turns}")
        await asyncio.gather(*networks.networks._tasks)

    for turns in range(12):
        networks.do(cancelled(turns))
    host = networks.networks._host
    assert host is not None
    assert not host.has_jobs
    networks.close()


def test_nothing_is_touched_before_the_first_network(world: World) -> None:
    networks = PrivateNetworks(NetworkSettings("idle", SUBNET))
    other = Networks()
    assert other.do(networks.recover({})) == []
    assert networks._worker is None
    other.do(networks.close())
    other.close()


def test_networks_asked_for_at_once_are_all_made(world: World) -> None:
    import asyncio

    networks = Networks()

    async def many() -> list[str]:
        made = await asyncio.gather(
            *(networks.networks.acquire(f"many-{number}", PLAIN) for number in range(20))
        )
        for lease in made:
            os.close(lease.fd)
        await asyncio.gather(*(networks.networks.release(f"many-{n}") for n in range(20)))
        return [lease.address for lease in made]

    assert len(set(networks.do(many()))) == 20
    networks.close()
