"""Names in a private network: which nameservers a job asks, and the files that say so.

A nameserver on the host's loopback is out of a job's reach. Where systemd-resolved is one,
its own file names those behind it; else the gateway's port 53 is led to it by a rule
(`isolation.network.nft_rules`). Also resolves the host names of `--allow-egress`.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.network.errors import PrivateNetworkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RESOLV_CONF: Final = "/etc/resolv.conf"
# What systemd-resolved asks itself; its stub, 127.0.0.53, answers the host alone.
_BEHIND_RESOLVED: Final = "/run/systemd/resolve/resolv.conf"
# MAXNS of resolv.h.
_MOST_SERVERS: Final = 3
RESOLVE_SECONDS: Final = 10.0
# All files of a job travel in one message.
MOST_FILE_BYTES: Final = 4096
_MOST_PINNED: Final = 4
_THIS_HOST: Final = IPv4Address("127.0.0.1")


class Plan(NamedTuple):
    """How jobs resolve names.

    `servers` are addresses they can reach. When there is none, `forward_to` is the
    resolver on the host's loopback that the gateway's port 53 leads to.
    """

    servers: tuple[IPv4Address, ...]
    forward_to: IPv4Address | None
    other_lines: tuple[str, ...]


def host_plan(configured: Sequence[str]) -> Plan:
    """What the host's files and the configured nameservers (IPv4) come to.

    Raises PrivateNetworkError when there are nameservers and a job can use none of them.
    """
    behind = _read(_BEHIND_RESOLVED)
    return plan(_read(RESOLV_CONF), behind, configured)


def _read(path: str) -> str:
    """The text of a file; a file that is not there is an empty one to resolv.conf(5)."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""


def plan(resolv_conf: str, behind_resolved: str, configured: Sequence[str]) -> Plan:
    """As `host_plan`, of texts in the format of resolv.conf(5)."""
    others = _other_lines(resolv_conf)
    named = tuple(configured) or _nameservers(resolv_conf)
    reachable, loopback = _sorted(named)
    if not reachable and loopback:
        reachable, _ = _sorted(_nameservers(behind_resolved))
    if reachable:
        return Plan(reachable[:_MOST_SERVERS], None, others)
    if named and not loopback:
        why = f"every nameserver of {RESOLV_CONF} is IPv6, and private networks have IPv4 only"
        remedy = "set network.nameservers in the configuration"
        raise PrivateNetworkError(errno.EAFNOSUPPORT, "resolve names in it", why, remedy)
    # resolv.conf(5): without a nameserver the one on this machine is asked.
    on_host = next((address for address in loopback if address.is_loopback), _THIS_HOST)
    return Plan((), on_host, others)


def _nameservers(text: str) -> tuple[str, ...]:
    words = (line.split() for line in text.splitlines())
    return tuple(parts[1] for parts in words if len(parts) > 1 and parts[0] == "nameserver")


def _other_lines(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.splitlines())
    return tuple(
        line for line in lines if line.split()[:1] in (["search"], ["options"], ["domain"])
    )


def _sorted(named: Iterable[str]) -> tuple[tuple[IPv4Address, ...], tuple[IPv4Address, ...]]:
    """Those that another machine could ask, and those on loopback; IPv6 ones are neither."""
    found = [address for address in map(_address, named) if address is not None]
    reachable = tuple(address for address in found if not _is_local(address))
    return reachable, tuple(address for address in found if _is_local(address))


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None


def _is_local(address: IPv4Address) -> bool:
    # 0.0.0.0 means this machine to connect(2).
    return address.is_loopback or address.is_unspecified


def resolv_conf(found: Plan, gateway: IPv4Address) -> bytes:
    """The text of a job's /etc/resolv.conf."""
    servers = found.servers or (gateway,)
    lines = [f"nameserver {address}" for address in servers]
    return "\n".join([*lines, *found.other_lines, ""]).encode()


def hosts(
    address: IPv4Address, hostname: str | None, resolved: Mapping[str, Sequence[str]]
) -> bytes:
    """The text of a job's /etc/hosts, with the names that it may connect to."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    if hostname is not None:
        lines.append(f"{address} {hostname}")
    for name, addresses in resolved.items():
        lines.extend(f"{pinned} {name}" for pinned in addresses[:_MOST_PINNED])
    return "\n".join([*lines, ""]).encode()


def files(
    found: Plan,
    gateway: IPv4Address,
    address: IPv4Address,
    hostname: str | None,
    resolved: Mapping[str, Sequence[str]],
) -> dict[bytes, bytes]:
    """Contents by path. Raises PrivateNetworkError when they are too long to hand over."""
    made = {
        b"/etc/resolv.conf": resolv_conf(found, gateway),
        b"/etc/hosts": hosts(address, hostname, resolved),
    }
    total = sum(len(path) + len(content) for path, content in made.items())
    if total > MOST_FILE_BYTES:
        why = f"the job's resolv.conf and hosts would have {total} bytes of {MOST_FILE_BYTES}"
        remedy = "allow fewer host names, or networks instead"
        raise PrivateNetworkError(errno.E2BIG, "name its hosts", why, remedy)
    return made


def resolve(names: Sequence[str], seconds: float = RESOLVE_SECONDS) -> dict[str, tuple[str, ...]]:
    """The IPv4 addresses of host names, by the host's own resolver, all at once. Blocks.

    Raises PrivateNetworkError, which names the host, when one has none or it takes longer.
    """
    asked = [_Question(name) for name in names]
    deadline = time.monotonic() + seconds
    return {question.name: question.answer(deadline) for question in asked}


class _Question:
    """One name, asked in a thread of its own: getaddrinfo(3) cannot be called off."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._found: tuple[str, ...] = ()
        self._why: str = ""
        self._thread = threading.Thread(target=self._ask, name=f"resolve {name}", daemon=True)
        self._thread.start()

    def answer(self, deadline: float) -> tuple[str, ...]:
        self._thread.join(max(0.0, deadline - time.monotonic()))
        why = "no answer in time" if self._thread.is_alive() else self._why
        if why:
            remedy = "name an address instead, or look at the host's nameservers"
            step = f"allow connections to {self.name}"
            raise PrivateNetworkError(errno.EHOSTUNREACH, step, why, remedy)
        return self._found

    def _ask(self) -> None:
        try:
            answers = socket.getaddrinfo(self.name, None, socket.AF_INET, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self._why = getattr(error, "strerror", None) or str(error)
        else:
            found = dict.fromkeys(str(answer[4][0]) for answer in answers)
            # Those that the job finds in its /etc/hosts; a zone may name thousands.
            self._found = tuple(found)[:_MOST_PINNED]
