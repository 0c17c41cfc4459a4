"""The bandwidth limits of jobs on the host: set, changed, read back, forgotten.

The messages are `isolation.network.shaping`'s. What a job sends is limited on a device of its own,
which lives no longer than the limit.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from isolation.network import links as network_links
from isolation.network import shaping
from isolation.network.errors import PrivateNetworkError, from_os_error
from isolation.network.host_bridge import index_of, send

if TYPE_CHECKING:
    from isolation.network.addresses import Names
    from isolation.network.netlink import Message, Netlink

Limits = tuple[int | None, int | None]


class Bandwidth:
    """For the namespace that the socket is of, and one thread."""

    def __init__(self, names: Names, netlink: Netlink) -> None:
        self._names = names
        self._netlink = netlink

    def read(self, offset: int) -> Limits:
        """(egress, ingress) of a job in bits a second, as the kernel has them. None: no limit."""
        return self._read(self._names.shaper(offset)), self._read(self._names.port(offset))

    def set(self, offset: int, egress_bits: int | None, ingress_bits: int | None) -> Limits:
        """Limit what a job sends and receives, both or none; what reads back.

        None lifts a limit. Raises PrivateNetworkError.
        """
        if (
            egress_bits is None
            and ingress_bits is None
            and index_of(self._names.shaper(offset)) is None
        ):
            before: Limits = (None, self._read(self._names.port(offset)))
        else:
            before = self.read(offset)
        try:
            self._change(offset, before, (egress_bits, ingress_bits))
            return self._checked(offset, (egress_bits, ingress_bits))
        except (PrivateNetworkError, ValueError):
            self._change(offset, self.read(offset), before)
            raise

    def forget(self, offset: int) -> None:
        """Remove the device that a limit needed. The rest goes with the job's link."""
        name = self._names.shaper(offset)
        index = index_of(name)
        if index is not None:
            send(self._netlink, network_links.remove_link(index, name))

    def _change(self, offset: int, now: Limits, wanted: Limits) -> None:
        if now == wanted:
            return
        port = index_of(self._names.port(offset))
        if port is None:
            raise PrivateNetworkError(errno.ENODEV, "limit its bandwidth", "its link is gone")
        self._change_egress(offset, port, now[0], wanted[0])
        if wanted[1] is not None:
            self._send(shaping.limit(port, wanted[1]))
        elif now[1] is not None:
            self._send(shaping.lift(port))

    def _change_egress(self, offset: int, port: int, now: int | None, wanted: int | None) -> None:
        name = self._names.shaper(offset)
        shaper = index_of(name)
        if wanted is None:
            if shaper is not None:
                self._send(shaping.stop_redirecting(port))
                self.forget(offset)
        elif shaper is None:
            self._make_shaper(offset, port, wanted)
        elif now != wanted:
            self._send(shaping.limit(shaper, wanted))

    def _make_shaper(self, offset: int, port: int, bits_per_second: int) -> None:
        name = self._names.shaper(offset)
        self._send(network_links.add_ifb(name))
        index = index_of(name)
        if index is None:
            raise PrivateNetworkError(errno.ENODEV, f"use device {name}")
        # Limited before anything comes through it.
        self._send(shaping.limit(index, bits_per_second), *shaping.redirect(port, index))

    def _send(self, *messages: Message) -> None:
        send(self._netlink, *messages)

    def _checked(self, offset: int, wanted: Limits) -> Limits:
        if wanted == (None, None):
            return wanted
        read = self.read(offset)
        if not all(map(shaping.agrees, wanted, read)):
            why = f"{wanted} bits a second read back as {read}"
            raise PrivateNetworkError(errno.EIO, "limit its bandwidth", why)
        return read

    def _read(self, name: str) -> int | None:
        index = index_of(name)
        if index is None:
            return None
        try:
            dumped = list(self._netlink.dump(shaping.GET_QDISCS, shaping.every_interface()))
            return shaping.bits_per_second(dumped, index)
        except OSError as error:
            raise from_os_error(error, "read its limit of bandwidth") from error
