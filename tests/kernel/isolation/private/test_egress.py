"""Lists of what a job may connect to: all else is refused, and at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isolation.network.errors import PrivateNetworkError
from tests.kernel.isolation.private import outside
from tests.kernel.isolation.private.jobs import GATEWAY, Networks
from tests.kernel.isolation.private.outside import (
    HOST,
    METADATA,
    REJECTED,
    SECOND,
    WORLD,
    ask,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_list_lets_through_what_it_names_and_refuses_all_else_at_once(
    networks: Networks,
) -> None:
    job = networks.job(allow_egress=(f"{WORLD}:80",))
    assert job.inside(lambda: ask(WORLD, 80)) == HOST
    for address, port in ((WORLD, 443), (SECOND, 80), (HOST, 7777), (GATEWAY, 53)):
        refused = outside.refused_by(lambda a=address, p=port: job.inside(lambda: ask(a, p)))
        assert refused == REJECTED, (address, port)
    assert "refused" in outside.refused_datagram(job.fd, WORLD, 53)


def test_a_list_of_networks_and_ranges_of_ports(networks: Networks) -> None:
    job = networks.job(allow_egress=("192.0.2.0/31:1-65535", "192.0.2.3/32:400-500/tcp"))
    assert outside.refused_by(lambda: job.inside(lambda: ask(WORLD, 80))) == REJECTED
    assert job.inside(lambda: ask(SECOND, 443)) == HOST
    assert outside.refused_by(lambda: job.inside(lambda: ask(SECOND, 80))) == REJECTED


def test_an_empty_list_lets_nothing_through(networks: Networks) -> None:
    job = networks.job(allow_egress=())
    assert outside.refused_by(lambda: job.inside(lambda: ask(WORLD, 80))) == REJECTED


def test_a_host_name_is_resolved_at_the_start_and_pinned(
    networks: Networks, resolv_conf: Path
) -> None:
    job = networks.job(allow_egress=("example.org:80",))
    assert f"{WORLD} example.org\n".encode() in job.lease.files[b"/etc/hosts"]
    assert job.inside(lambda: ask(WORLD, 80)) == HOST
    # Not even a question to the nameserver, which others could answer.
    assert outside.refused_datagram(job.fd, WORLD, 53) == "refused"


def test_an_unknown_host_name_is_refused_by_name(networks: Networks, resolv_conf: Path) -> None:
    resolv_conf.write_text("nameserver 127.0.0.99\noptions timeout:1 attempts:1\n")
    with pytest.raises(PrivateNetworkError, match=r"nowhere\.invalid"):
        networks.job(allow_egress=("nowhere.invalid",))


@pytest.mark.parametrize("listed", ["0.0.0.0/0", "{address}"])
def test_a_list_opens_nothing_that_a_private_network_keeps_closed(
    networks: Networks, listed: str
) -> None:
    other = networks.job()
    targets = {"the host": HOST, "the gateway": GATEWAY, "the machine's credentials": METADATA}
    with outside.tcp_server(7777):
        for what, address in {**targets, "another's job": other.address}.items():
            job = networks.job(allow_egress=(listed.format(address=address),))
            for port in (80, 7777):
                refused = outside.refused_by(
                    lambda j=job, a=address, p=port: j.inside(lambda: ask(a, p))
                )
                assert refused.startswith(REJECTED), (what, port, refused)
