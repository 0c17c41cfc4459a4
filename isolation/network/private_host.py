"""Private networks on the host: made, limited, removed and found again. Blocking.

Everything of one runnerd, for one thread and the network namespace that it is in. Which
rules there are is `isolation.network.nft_rules`'s; the event loop's side, and what a user's words
mean, is `isolation.network.private`'s. What exists is asked of the kernel: an interface's
name has its job's address, its alias the job's id.
"""

from __future__ import annotations

import errno
import os
import random
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from isolation.network import host_network, job_namespace, nft_rules
from isolation.network import links as network_links
from isolation.network.addresses import (
    AddressPool,
    PoolExhaustedError,
    hardware_address,
    names_for,
)
from isolation.network.bandwidth import Bandwidth
from isolation.network.errors import PrivateNetworkError, from_os_error
from isolation.network.host_bridge import HostBridge, index_of, send, subnet_of, unchangeable
from isolation.network.job_network import Attached, JobNetwork, Leaving
from isolation.network.netlink import Netlink
from isolation.network.nft_base import Layout
from isolation.network.nft_rules import Port
from isolation.network.published import PublishedPorts
from isolation.network.rule_tables import RuleTables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv4Network

    from isolation.network.links import Link
    from isolation.network.netlink import Message
    from isolation.network.resolver import Plan


class _Job(NamedTuple):
    port: Port
    wanted: JobNetwork


class PrivateHost:
    """The private networks of the runnerd with this identity. Raises OSError when made."""

    def __init__(self, identity: str, subnet: IPv4Network) -> None:
        self._names = names_for(identity)
        self._pool = AddressPool(subnet, random.randrange(subnet.num_addresses))  # noqa: S311
        self._jobs: dict[str, _Job] = {}
        self._ports = PublishedPorts()
        # What the rules in the kernel say of the host's nameservers; None: never written.
        self._plan: tuple[tuple[IPv4Address, ...], IPv4Address | None] | None = None
        self._rules = RuleTables(self._names)
        self._netlink = Netlink()
        self._bridge = HostBridge(self._names, self._netlink)
        self._bandwidth = Bandwidth(self._names, self._netlink)

    @property
    def has_jobs(self) -> bool:
        """Whether any job has a network."""
        return bool(self._jobs)

    def addresses(self) -> dict[str, IPv4Address]:
        """The address of each job that has a network."""
        return {job_id: job.port.address for job_id, job in self._jobs.items()}

    def attach(self, job_id: str, wanted: JobNetwork, plan: Plan) -> Attached:
        """Make a job's network, all of it or nothing. Raises PrivateNetworkError."""
        if job_id in self._jobs:
            raise PrivateNetworkError(errno.EEXIST, "make a private network", "the job has one")
        permissions = None if wanted.permissions is None else wanted.permissions()
        self._prepare(plan)
        with ExitStack() as undo:
            self._ports.reserve(job_id, wanted.published)
            undo.callback(self._ports.release, job_id)
            address = self._take()
            undo.callback(self._pool.give_back, address)
            offset = self._pool.offset(address)
            port = Port(offset, address, wanted.network, wanted.published, permissions)
            fd = self._connect(job_id, port, undo)
            self._jobs[job_id] = _Job(port, wanted)
            undo.callback(self._unplug, job_id)
            self._plug(port)
            undo.callback(self._bandwidth.forget, offset)
            if (wanted.egress_bits, wanted.ingress_bits) != (None, None):
                self._bandwidth.set(offset, wanted.egress_bits, wanted.ingress_bits)
            undo.pop_all()
        return Attached(fd, address, self._pool.gateway)

    def set_bandwidth(
        self, job_id: str, egress_bits: int | None, ingress_bits: int | None
    ) -> tuple[int | None, int | None]:
        """Change a job's limits, both or none; what reads back. Raises PrivateNetworkError."""
        job = self._jobs.get(job_id)
        if job is None:
            why = "the job has no private network"
            raise PrivateNetworkError(errno.ENOENT, "limit its bandwidth", why)
        read = self._bandwidth.set(job.port.offset, egress_bits, ingress_bits)
        changed = job.wanted._replace(egress_bits=egress_bits, ingress_bits=ingress_bits)
        self._jobs[job_id] = job._replace(wanted=changed)
        return read

    def detach(self, job_id: str) -> Leaving | None:
        """Take a job's rules, limits and ports away; its link is left to `finish`.

        None when it had no network. Raises PrivateNetworkError.
        """
        job = self._jobs.get(job_id)
        if job is None:
            return None
        self._unplug(job_id)
        self._ports.release(job_id)
        self._bandwidth.forget(job.port.offset)
        index = self._bridge.index
        if index is not None:
            self._send_anyway(network_links.forget_neighbour(index, job.port.address))
        return Leaving(self._names.port(job.port.offset), job.port.address)

    def finish(self, leaving: Leaving, *, force: bool) -> bool:
        """Whether a link is gone, and made so with `force`; then its address is free."""
        if force:
            self._remove_link(leaving.name)
        if index_of(leaving.name) is not None:
            return False
        self._pool.give_back(leaving.address)
        return True

    def verify(self) -> None:
        """Write the rules again if somebody dropped them. Raises PrivateNetworkError."""
        if self._jobs and not self._rules.complete:
            self._write_rules(anew=True)

    def dismantle(self) -> None:
        """With no job left, leave the host as it was. Raises PrivateNetworkError."""
        if not self._jobs:
            self._rules.remove()
            self._bridge.close_uplinks(self._rules.opened_by_others)
            self._bridge.remove()

    def close(self) -> None:
        """Let go of sockets. Networks of running jobs go on."""
        self._ports.close()
        self._rules.close()
        self._netlink.close()

    # A job's link

    def _take(self) -> IPv4Address:
        try:
            return self._pool.take()
        except PoolExhaustedError as error:
            remedy = "wait for jobs to end, or set a larger network.subnet"
            raise PrivateNetworkError(errno.ENOSPC, "get an address", str(error), remedy) from error

    def _connect(self, job_id: str, port: Port, undo: ExitStack) -> int:
        bridge_index = self._bridge.index
        if bridge_index is None:
            raise PrivateNetworkError(errno.ENODEV, f"use bridge {self._names.bridge}")
        name = self._names.port(port.offset)
        peer = (job_namespace.INTERFACE, hardware_address(port.address))
        undo.callback(self._remove_link, name)
        fd = job_namespace.make(
            self._netlink,
            lambda namespace: network_links.add_pair(
                name, bridge_index, self._bridge.mtu, peer, namespace
            ),
            port.address,
            self._pool.gateway,
        )
        undo.callback(os.close, fd)
        self._isolate(job_id, name, bridge_index, port.address)
        return fd

    def _isolate(self, job_id: str, name: str, bridge_index: int, address: IPv4Address) -> None:
        index = index_of(name)
        if index is None:
            raise PrivateNetworkError(errno.ENODEV, f"use link {name}")
        try:
            host_network.without_ipv6(name)
        except OSError as error:
            raise unchangeable(error) from error
        hardware = hardware_address(address)
        send(
            self._netlink,
            network_links.isolate_and_raise(index, job_id),
            network_links.forwarding_entry(index, hardware),
            network_links.neighbour(bridge_index, address, hardware),
        )

    def _remove_link(self, name: str) -> None:
        index = index_of(name)
        if index is not None:
            self._send_anyway(network_links.remove_link(index, name))

    def _send_anyway(self, message: Message) -> None:
        """Something that may be gone already."""
        try:
            send(self._netlink, message)
        except PrivateNetworkError as error:
            if error.errno not in {errno.ENODEV, errno.ENOENT, errno.EINVAL}:
                raise

    # Rules

    def _prepare(self, plan: Plan) -> None:
        """The bridge, the tables and what they say of the host's own network, as of now."""
        wanted = (plan.servers, plan.forward_to)
        is_new = self._bridge.index is None
        if is_new:
            self._bridge.make(self._pool.subnet, self._pool.gateway)
        elif self._plan is None:
            self._bridge.adopt()
        is_opened = self._bridge.open_uplinks(self._rules.opened_by_others)
        if is_new or is_opened or wanted != self._plan:
            self._plan = wanted
            self._write_rules(anew=is_new)

    def _plug(self, port: Port) -> None:
        try:
            self._rules.run(nft_rules.plug(self._names, port))
        except PrivateNetworkError:
            # Dropped by somebody? The job is among those that are written.
            if self._rules.complete:
                raise
            self._write_rules(anew=True)

    def _unplug(self, job_id: str) -> None:
        job = self._jobs.pop(job_id)
        last = job.port.network not in {each.port.network for each in self._jobs.values()}
        try:
            self._rules.run(nft_rules.unplug(self._names, job.port, last_of_network=last))
        except PrivateNetworkError:
            # Somebody changed our tables: they are written again, without the job.
            self._write_rules(anew=not self._rules.complete)

    def _write_rules(self, *, anew: bool) -> None:
        """All rules, of all jobs. `anew`: none are there, or they don't matter."""
        servers, forward_to = self._plan or ((), None)
        pool, opened = self._pool, self._bridge.opened
        layout = Layout(self._names, pool.subnet, pool.gateway, servers, forward_to, opened)
        chains = set() if anew else self._rules.job_chains()
        for job_id, job in self._jobs.items():
            if job.port.has_chain and nft_rules.egress_chain(job.port.offset) not in chains:
                self._jobs[job_id] = _resolved(job)
        ports = [job.port for job in self._jobs.values()]
        self._rules.run(nft_rules.everything(layout, ports, chains, anew=anew))

    # After a restart

    def adopt(self, running: Mapping[str, JobNetwork], plan: Plan) -> list[str]:
        """Go on with the networks of jobs that run, and remove everything else of ours.

        What is worth knowing, in sentences. Raises PrivateNetworkError.
        """
        links = self._links()
        self._bridge.opened = self._rules.opened()
        kept = [link for link in links if self._is_kept(link, running)]
        remarks = []
        if kept:
            self._go_on(subnet_of(links, self._names.bridge), plan)
            remarks = [self._keep(link, running) for link in kept]
        for link in links:
            self._remove_stray(link)
        if self._jobs:
            self._bridge.open_uplinks(self._rules.opened_by_others)
            self._write_rules(anew=not self._rules.complete)
            self._restore_bandwidth()
        else:
            self.dismantle()
        return [remark for remark in remarks if remark]

    def _links(self) -> list[Link]:
        try:
            dumped = self._netlink.dump(network_links.GET_LINKS, network_links.links_body())
            return [network_links.parse_link(frame) for frame in dumped]
        except OSError as error:
            raise from_os_error(error, "list the host's interfaces") from error

    def _is_kept(self, link: Link, running: Mapping[str, JobNetwork]) -> bool:
        offset = self._names.offset_of(link.name)
        is_port = offset is not None and link.name == self._names.port(offset)
        return is_port and link.alias in running and self._bridge.index is not None

    def _go_on(self, subnet: IPv4Network | None, plan: Plan) -> None:
        """The subnet is that of the jobs, even if another one is configured by now."""
        self._bridge.adopt()
        self._plan = (plan.servers, plan.forward_to)
        if subnet is not None and subnet != self._pool.subnet:
            self._pool = AddressPool(subnet)

    def _keep(self, link: Link, running: Mapping[str, JobNetwork]) -> str:
        offset = self._names.offset_of(link.name)
        if offset is None or link.alias is None or link.alias in self._jobs:
            return f"{link.name} is a second link of a job, and is removed"
        address = self._pool.claim(offset)
        if address is None:
            return f"{link.name} has no address of {self._pool.subnet}, and is removed"
        wanted = running[link.alias]
        # What a job may connect to stays as it was resolved at its start.
        permissions = None if wanted.permissions is None else ()
        has_chain = permissions is not None
        port = Port(offset, address, wanted.network, wanted.published, permissions, has_chain)
        self._jobs[link.alias] = _Job(port, wanted)
        lost = ", ".join(map(str, self._ports.adopt(link.alias, wanted.published)))
        return f"job {link.alias}: a program on the host uses its port {lost}" if lost else ""

    def _remove_stray(self, link: Link) -> None:
        offset = self._names.offset_of(link.name)
        if offset is None:
            return
        owner = next((job for job in self._jobs.values() if job.port.offset == offset), None)
        is_shaper = link.name == self._names.shaper(offset)
        if owner is None or (is_shaper and owner.wanted.egress_bits is None):
            self._remove_link(link.name)

    def _restore_bandwidth(self) -> None:
        for job in self._jobs.values():
            wanted = job.wanted
            self._bandwidth.set(job.port.offset, wanted.egress_bits, wanted.ingress_bits)


def _resolved(job: _Job) -> _Job:
    """A job whose permissions the kernel lost: they are looked up again, or there are none."""
    try:
        permissions = () if job.wanted.permissions is None else job.wanted.permissions()
    except PrivateNetworkError:
        permissions = ()
    return job._replace(port=job.port._replace(permissions=permissions, has_chain=False))
