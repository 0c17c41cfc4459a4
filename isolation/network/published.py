"""Ports of the host that lead to jobs: who has which, and that nobody else gets them.

A port that is published is also listened on by the daemon, as container engines do: the
kernel then refuses it to others. Nothing ever arrives at that socket, because rules lead
every packet on (`isolation.network.nft_rules`). While no daemon runs the rules go on working and
only the reservation is missing.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from isolation.network.errors import PrivateNetworkError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Publish(NamedTuple):
    """`host_port` of the host, at one of its IPv4 addresses or all, leads to the job's `port`."""

    host_address: str | None
    host_port: int
    port: int
    protocol: str = "tcp"

    @property
    def at(self) -> str | None:
        """The address, or None for every one."""
        return None if self.host_address in {None, "0.0.0.0"} else self.host_address  # noqa: S104

    def __str__(self) -> str:
        where = f"{self.at}:" if self.at else ""
        return f"{where}{self.host_port}/{self.protocol}"


class PublishedPorts:
    """The ports of all jobs of one daemon. For one thread."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[Publish, ...]] = {}
        self._sockets: dict[str, list[socket.socket]] = {}

    def reserve(self, job_id: str, wanted: Iterable[Publish]) -> None:
        """Take the ports for the job, all or none.

        Raises PrivateNetworkError, which names the port: EADDRINUSE when the host or another
        job has it, EADDRNOTAVAIL when the address is not one of the host's.
        """
        entries = tuple(wanted)
        for index, entry in enumerate(entries):
            self._check_free(entry, entries[:index])
        opened: list[socket.socket] = []
        try:
            opened.extend(_bound(entry) for entry in entries)
        except PrivateNetworkError:
            _close(opened)
            raise
        self._taken[job_id] = entries
        self._sockets[job_id] = opened

    def adopt(self, job_id: str, published: Iterable[Publish]) -> list[Publish]:
        """Take ports that lead to the job already; those that could not be reserved again."""
        entries = tuple(published)
        missing: list[Publish] = []
        opened: list[socket.socket] = []
        for entry in entries:
            try:
                opened.append(_bound(entry))
            except PrivateNetworkError:
                missing.append(entry)
        self._taken[job_id] = entries
        self._sockets[job_id] = opened
        return missing

    def release(self, job_id: str) -> None:
        """Give the job's ports back. Harmless to repeat."""
        self._taken.pop(job_id, None)
        _close(self._sockets.pop(job_id, []))

    def close(self) -> None:
        """Give all reservations back; whose ports they are stays known."""
        for sockets in self._sockets.values():
            _close(sockets)
        self._sockets.clear()

    def _check_free(self, wanted: Publish, earlier: tuple[Publish, ...]) -> None:
        others = (entry for entries in self._taken.values() for entry in entries)
        if any(_overlap(wanted, other) for other in others):
            raise _in_use(wanted, "another job has published it")
        if any(_overlap(wanted, other) for other in earlier):
            raise _in_use(wanted, "it is asked for twice")


def _overlap(one: Publish, other: Publish) -> bool:
    same_port = one.host_port == other.host_port and one.protocol == other.protocol
    return same_port and (one.at is None or other.at is None or one.at == other.at)


def _bound(entry: Publish) -> socket.socket:
    """A socket that has the port. Raises PrivateNetworkError."""
    is_tcp = entry.protocol == "tcp"
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM)
    try:
        if is_tcp:
            # Otherwise connections that ended a minute ago would count as the port's owner.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((entry.at or "", entry.host_port))
        if is_tcp:
            made.listen(1)
    except OSError as error:
        made.close()
        raise _refused(entry, error) from error
    return made


def _refused(entry: Publish, error: OSError) -> PrivateNetworkError:
    number = error.errno or errno.EIO
    if number == errno.EADDRINUSE:
        return _in_use(entry, "a program on the host has it")
    if number == errno.EADDRNOTAVAIL:
        why = f"{entry.at} is not an address of this host"
        return PrivateNetworkError(number, f"publish port {entry}", why, "leave the address out")
    return PrivateNetworkError(number, f"publish port {entry}", os.strerror(number))


def _in_use(entry: Publish, why: str) -> PrivateNetworkError:
    return PrivateNetworkError(
        errno.EADDRINUSE, f"publish port {entry}", why, "choose another port of the host"
    )


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
