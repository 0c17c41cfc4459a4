"""How many calls and connections each certificate's bearer has at once, and what it sends.

Whom to let in is `gateway.rpc.guard`'s, how often somebody asks `gateway.rates`'.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from client.errors import RequestRefused

if TYPE_CHECKING:
    import grpc

    from gateway.identity import Certificate
    from gateway.rpc.bounds import Bounds
    from gateway.session import Gate

    _Context = grpc.aio.ServicerContext[Any, Any]


class Crowd:
    """How many calls each certificate's bearer has, and by which connections.

    There is no bound of all: whoever reaches one would reach it for everybody. A connection counts
    as long as it has a call: gRPC does not say when others come and go. A call that was cut off for
    not being read counts until its caller has seen that, or is gone.
    """

    def __init__(self, gate: Gate, bounds: Bounds) -> None:
        self._gate = gate
        self._most = bounds.calls_each
        self._reads_each = bounds.reads_each
        self._reading: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._calls: Counter[str] = Counter()
        self._peers: Counter[str] = Counter()

    def join(self, certificate: Certificate, context: _Context) -> None:
        """A call more, until it is over for its caller too. Raises RequestRefused: too many."""
        subject, peer = certificate.subject, context.peer()
        if self._calls[subject] >= self._most:
            detail = f"{self._most} calls at once are allowed to you"
            raise RequestRefused("too-many-requests", allowed=self._most, detail=detail)
        if not self._peers[peer]:
            self._gate.connect(certificate)
        self._calls[subject] += 1
        self._peers[peer] += 1

        def leave(_context: object) -> None:
            self._leave(certificate, peer)

        context.add_done_callback(leave)  # type: ignore[arg-type]  # its stubs want another context

    def reading(self, certificate: Certificate) -> asyncio.Semaphore:
        """For whoever reads a message: what does not fit waits, and gRPC takes no more of it."""
        found = self._reading.get(certificate.subject)
        if found is None:
            found = self._reading[certificate.subject] = asyncio.Semaphore(self._reads_each)
        return found

    def _leave(self, certificate: Certificate, peer: str) -> None:
        _less(self._calls, certificate.subject)
        _less(self._peers, peer)
        if peer not in self._peers:
            self._gate.disconnect(certificate)


def _less(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
