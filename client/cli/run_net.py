"""The options of `run` for a job's network, and their fields. Bandwidth is among the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli import params
from client.cli.run_limits import NETWORK, limit_options
from client.cli.sections import all_of, option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from client.records import Net, Publish

_NONE: Final = "none"

WORDS: Final = {
    "network": "--net",
    "net.name": "--network",
    "net.publish": "--publish",
    "net.publish.host_address": "--publish",
    "net.publish.host_port": "--publish",
    "net.publish.port": "--publish",
    "net.publish.protocol": "--publish",
    "net.allow_egress": "--allow-egress",
}

network_options: Final = all_of([
    option("--net", NETWORK, type=click.Choice(["none", "host", "private"]), metavar="MODE",
           help="none: loopback only (the default); host: the host's; private: one of its own "
                "behind NAT, implied by the options below."),
    option("--network", NETWORK, metavar="NAME",
           help="Private, and jobs of the same NAME reach each other."),
    option("--publish", NETWORK, type=params.PUBLISH, multiple=True,
           metavar="[ADDR:]HOST:PORT",
           help="A port of the host leads to one of the job's: 8080:80, 53:53/udp. "
                "May be repeated."),
    option("--allow-egress", NETWORK, type=params.ITEMS, multiple=True, metavar="LIST",
           help="Reach this and nothing else: 10.0.0.0/8,example.org:443; or none."),
    limit_options(NETWORK),
])  # fmt: skip


def asked_net(options: Mapping[str, Any]) -> Net | None:
    """The fields that were typed, if any."""
    net: Net = {}
    if options["network"] is not None:
        net["name"] = options["network"]
    if options["publish"]:
        net["publish"] = [_publish(port) for port in options["publish"]]
    if options["allow_egress"]:
        net["allow_egress"] = _destinations(options["allow_egress"])
    return net or None


def _destinations(lists: Sequence[list[str]]) -> list[str]:
    """What may be reached; nothing when the only word is none."""
    items = [item for items in lists for item in items]
    if _NONE not in items:
        return items
    if other := next((item for item in items if item != _NONE), None):
        given = f"{_NONE} and {other!a}"
        raise click.UsageError(f"--allow-egress: {given} given; none is allowed alone only")
    return []


def _publish(port: params.Port) -> Publish:
    publish: Publish = {"host_port": port.host_port, "port": port.port, "protocol": port.protocol}
    if port.address is not None:
        publish["host_address"] = port.address
    return publish
