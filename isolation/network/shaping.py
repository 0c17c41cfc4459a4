"""Bandwidth limits as messages of traffic control: encoded here, read back here. tc(8).

Pure. What a job receives is queued on the host's end of its link. What it sends comes in
there, where nothing can be queued, so it is redirected to a device of its own (ifb) and
queued on that. Both are the host's: no capability inside of the job's network reaches them.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Final

from isolation.network.netlink import (
    CREATE,
    EXCL,
    REPLACE,
    Message,
    attribute,
    attributes,
    message,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

# linux/rtnetlink.h
_NEWQDISC: Final = 36
_DELQDISC: Final = 37
GET_QDISCS: Final = 38
_NEWFILTER: Final = 44
# linux/pkt_sched.h
_ROOT: Final = 0xFFFFFFFF
_CLSACT: Final = 0xFFFFFFF1
_CLSACT_HANDLE: Final = 0xFFFF0000
_ON_INGRESS: Final = 0xFFFFFFF2
_OUR_HANDLE: Final = 0x10000
_ALL_PROTOCOLS: Final = 0x0003  # ETH_P_ALL
_KIND: Final = 1
_OPTIONS: Final = 2
_TBF_PARMS: Final = 1
_TBF_RATE64: Final = 4
_TBF_BURST: Final = 6
_LINKLAYER_ETHERNET: Final = 1
# linux/pkt_cls.h, linux/tc_act/tc_mirred.h
_MATCHALL_ACTIONS: Final = 2
_ACTION_KIND: Final = 1
_ACTION_OPTIONS: Final = 2
_MIRRED_PARMS: Final = 2
_ACTION_STOLEN: Final = 4
_EGRESS_REDIRECT: Final = 1

_HEADER: Final = struct.Struct("=BxxxiIII")
_RATESPEC: Final = struct.Struct("=BBHhHI")
_NO_PEAK: Final = bytes(_RATESPEC.size)
_MESSAGE_HEADER: Final = 16
_LARGEST_U32: Final = 2**32 - 1

BITS_PER_BYTE: Final = 8
# A queue is served by a timer that may be as slow as 100 a second, and late; four times that is
# kept in hand, and never less than a few packets.
_BURST_PARTS: Final = 25
_LEAST_BURST: Final = 8192
# A tenth of a second of packets wait; more are dropped, and senders slow down.
_QUEUE_PARTS: Final = 10
_LEAST_QUEUE: Final = 32_768


def _traffic(index: int, handle: int, parent: int, info: int = 0) -> bytes:
    """A struct tcmsg."""
    return _HEADER.pack(socket.AF_UNSPEC, index, handle, parent, info)


def limit(index: int, bits_per_second: int) -> Message:
    """Make, or change without losing what waits, the limit on what an interface sends.

    A token bucket, tc-tbf(8). Raises ValueError when the rate is below a byte a second.
    """
    rate = bits_per_second // BITS_PER_BYTE
    if rate < 1:
        raise ValueError(f"{bits_per_second} bits a second is no rate")
    burst = min(max(rate // _BURST_PARTS, _LEAST_BURST), _LARGEST_U32)
    queue = min(max(rate // _QUEUE_PARTS, _LEAST_QUEUE) + burst, _LARGEST_U32)
    shown = min(rate, _LARGEST_U32)
    spec = _RATESPEC.pack(0, _LINKLAYER_ETHERNET, 0, 0, 0, shown)
    options = attribute(_TBF_PARMS, spec + _NO_PEAK + struct.pack("=III", queue, 0, 0))
    if rate > _LARGEST_U32:
        options += attribute(_TBF_RATE64, struct.pack("=Q", rate))
    options += attribute(_TBF_BURST, struct.pack("=I", burst))
    body = _traffic(index, _OUR_HANDLE, _ROOT) + attribute(_KIND, b"tbf\0")
    body += attribute(_OPTIONS, options)
    return Message("limit its bandwidth", message(_NEWQDISC, CREATE | REPLACE, body))


def lift(index: int) -> Message:
    """Remove the limit on what an interface sends. ENOENT or EINVAL where there is none."""
    body = _traffic(index, _OUR_HANDLE, _ROOT)
    return Message("lift its limit of bandwidth", message(_DELQDISC, 0, body))


def redirect(index: int, to_index: int) -> tuple[Message, Message]:
    """Send what comes in at one interface through another one first. tc-mirred(8)."""
    hook = _traffic(index, _CLSACT_HANDLE, _CLSACT) + attribute(_KIND, b"clsact\0")
    info = 1 << 16 | socket.htons(_ALL_PROTOCOLS)
    action = attribute(_ACTION_KIND, b"mirred\0")
    parms = struct.pack("=IIiiiiI", 0, 0, _ACTION_STOLEN, 0, 0, _EGRESS_REDIRECT, to_index)
    action += attribute(_ACTION_OPTIONS, attribute(_MIRRED_PARMS, parms))
    options = attribute(_MATCHALL_ACTIONS, attribute(1, action))
    matched = _traffic(index, 0, _ON_INGRESS, info) + attribute(_KIND, b"matchall\0")
    matched += attribute(_OPTIONS, options)
    return (
        Message("look at what it sends", message(_NEWQDISC, CREATE | EXCL, hook)),
        Message("queue what it sends", message(_NEWFILTER, CREATE | EXCL, matched)),
    )


def stop_redirecting(index: int) -> Message:
    """Undo `redirect`."""
    body = _traffic(index, _CLSACT_HANDLE, _CLSACT)
    return Message("stop looking at what it sends", message(_DELQDISC, 0, body))


def every_interface() -> bytes:
    """The body of a dump of `GET_QDISCS`."""
    return _traffic(0, 0, 0)


def bits_per_second(dumped: Iterable[bytes], index: int) -> int | None:
    """The limit on what an interface sends, from a dump; None when there is none."""
    for frame in dumped:
        body = frame[_MESSAGE_HEADER:]
        if len(body) < _HEADER.size:
            continue
        _, found_index, _, parent, _ = _HEADER.unpack_from(body)
        found = attributes(body[_HEADER.size :])
        is_ours = (found_index, parent) == (index, _ROOT)
        if is_ours and found.get(_KIND, b"").rstrip(b"\0") == b"tbf":
            return _rate(attributes(found.get(_OPTIONS, b""))) * BITS_PER_BYTE
    return None


def _rate(options: dict[int, bytes]) -> int:
    wide = options.get(_TBF_RATE64)
    if wide is not None:
        return int(struct.unpack("=Q", wide)[0])
    parms = options.get(_TBF_PARMS, b"")
    if len(parms) < _RATESPEC.size:
        raise OSError(errno.EBADMSG, "the kernel's description of a token bucket is too short")
    return int(_RATESPEC.unpack_from(parms)[-1])


def agrees(wanted: int | None, read: int | None) -> bool:
    """Whether a limit reads back as asked for: the kernel counts whole bytes."""
    if wanted is None or read is None:
        return wanted is read
    return read == wanted // BITS_PER_BYTE * BITS_PER_BYTE
