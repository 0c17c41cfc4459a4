"""The daemon's event loop: asyncio's, where some descriptors are read as soon as they are seen.

Between the kernel's word that a request has come and its answer asyncio makes a list of events,
finds their handles, queues and runs them: that takes as long as most requests. What asks for it
here is called by the selector itself, in the same thread and at the same point of a turn.
"""

from __future__ import annotations

import asyncio
import math
import select
import selectors
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE, SelectorKey
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from _typeshed import FileDescriptorLike

__all__ = ["Loop"]

# Those that epoll(7) reports unasked, too, as `selectors` has them: whoever reads or writes finds
# out what it is.
_NOT_READ: Final = ~select.EPOLLOUT
_NOT_WRITE: Final = ~select.EPOLLIN


class _Selector(selectors.BaseSelector):
    """epoll(7) that tells of events but those which were dealt with by the way."""

    def __init__(self) -> None:
        self.at_once: dict[int, Callable[[], bool]] = {}
        self._keys: dict[int, SelectorKey] = {}
        self._epoll = select.epoll()

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> SelectorKey:  # noqa: ANN401
        """As in `selectors`."""
        fd = _number(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        self._epoll.register(fd, _bits(events))
        return self._keep(SelectorKey(fileobj, fd, events, data))

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> SelectorKey:  # noqa: ANN401
        """As in `selectors`, without a system call where the events are the same."""
        fd = _number(fileobj)
        if self._keys[fd].events != events:
            self._epoll.modify(fd, _bits(events))
        return self._keep(SelectorKey(fileobj, fd, events, data))

    def _keep(self, key: SelectorKey) -> SelectorKey:
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> SelectorKey:
        """As in `selectors`."""
        key = self._keys.pop(_number(fileobj))
        # Closed before, it has left the set by itself.
        with suppress(OSError):
            self._epoll.unregister(key.fd)
        return key

    def get_map(self) -> Mapping[FileDescriptorLike, SelectorKey]:
        """What is registered, by number."""
        return cast("Mapping[FileDescriptorLike, SelectorKey]", MappingProxyType(self._keys))

    def get_key(self, fileobj: FileDescriptorLike) -> SelectorKey:
        """As in `selectors`."""
        return self._keys[_number(fileobj)]

    def close(self) -> None:
        """As in `selectors`."""
        self._epoll.close()
        self._keys.clear()
        self.at_once.clear()

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """As in `selectors`, of what was not read at once."""
        # epoll_wait(2) counts milliseconds: rounded up, or the loop would turn until it is time.
        span = -1 if timeout is None else 0 if timeout <= 0 else math.ceil(timeout * 1e3) * 1e-3
        events = []
        for fd, bits in self._epoll.poll(span, len(self._keys) or 1):
            # What was read just before may have ended or paused this one.
            key = self._keys.get(fd)
            if key is None:
                continue
            if bits == select.EPOLLIN and key.events & EVENT_READ:
                read = self.at_once.get(fd)
                if read is not None and read():
                    continue
            seen = EVENT_READ if bits & _NOT_READ else 0
            seen |= EVENT_WRITE if bits & _NOT_WRITE else 0
            events.append((key, seen & key.events))
        return events


def _number(fileobj: FileDescriptorLike) -> int:
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()


def _bits(events: int) -> int:
    reads = select.EPOLLIN if events & EVENT_READ else 0
    return reads | (select.EPOLLOUT if events & EVENT_WRITE else 0)


class Loop(asyncio.SelectorEventLoop):
    """asyncio's, with `read_at_once`."""

    # asyncio's own is a call of this one.
    time = staticmethod(monotonic)

    def __init__(self) -> None:
        self._seeing = _Selector()
        super().__init__(self._seeing)

    def read_at_once(self, fd: int, read: Callable[[], bool]) -> None:
        """Call `read` when there is something to be read from a descriptor.

        Only while the loop has a reader for it. That is called where `read` gives False: at the
        end of what is sent, for one. `read` raises nothing, and closes no descriptor before the
        next turn.
        """
        self._seeing.at_once[fd] = read

    def forget(self, fd: int) -> None:
        """Leave a descriptor to its reader. Again is harmless."""
        self._seeing.at_once.pop(fd, None)
