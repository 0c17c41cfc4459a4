"""The monitor's count of system calls that the job was refused. Lean.

For a job that asked for it: its filter has a listener, which the payload sends through a
socket once it is installed. What a refused call is answered with is `isolation.seccomp.denials`'s.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from isolation.seccomp.denials import Denials, receive_listener
from isolation.seccomp.filters import read_program
from runner import records

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_COUNTED: Final = 2**32 - 1


class Denied:
    """A listener in a run loop, which lends its `watch` and `unwatch`.

    `program_fd` is open on the filter of the job; it is read here and stays the caller's.
    """

    def __init__(
        self,
        program_fd: int,
        watch: Callable[[int, Callable[[], None]], None],
        unwatch: Callable[[int], None],
    ) -> None:
        self._program = read_program(program_fd)
        self._watch = watch
        self._unwatch = unwatch
        self._denials: Denials | None = None

    def expect(self) -> int:
        """The payload's end of the socket; the caller closes it after the fork."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel = ours.detach()
        self._watch(channel, lambda: self._receive(channel))
        return theirs.detach()

    def counts(self) -> list[list[int]]:
        """Pairs of a system call's number and how often it was refused, the most refused first."""
        counts = [] if self._denials is None else self._denials.counts()
        pairs = [[entry["number"], min(entry["count"], _MOST_COUNTED)] for entry in counts]
        return pairs[: records.MAX_DENIED]

    def _receive(self, channel: int) -> None:
        """The listener, or the end of a payload that never had one."""
        try:
            listener = receive_listener(channel)
        except OSError:
            listener = None
        self._unwatch(channel)
        os.close(channel)
        if listener is not None:
            self._denials = denials = Denials(listener, self._program)
            self._watch(listener, lambda: self._answer(denials))

    def _answer(self, denials: Denials) -> None:
        try:
            goes_on = denials.on_readable()
        except OSError:
            # Nobody answers then: the kernel refuses such a call by itself, with ENOSYS.
            goes_on = False
        if not goes_on:
            self._unwatch(denials.fileno())
            denials.close()
