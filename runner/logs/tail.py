"""Wakes whoever follows a log when it may have grown: inotify, in the daemon's event loop.

One inotify instance for the daemon, two kernel watches for each followed directory. It never
reads a log and doesn't know its format; `runner.logs.reader` does the reading, when followers
are called is `runner.logs.followed`'s, and the exit record of the job, which ends a follow, is
somebody else's to watch.

The watch of a directory is one-shot: the kernel removes it with its first event. That of a file
stays until it is dropped, as it is when events come faster than the followers look: so a job
that prints 100,000 times a second costs the daemon one event for each look of its followers,
not one for each write, and costs the monitor nothing (a standing watch doubles the price of a
small append).
"""

from __future__ import annotations

import logging
import os
import struct
from typing import TYPE_CHECKING, Final

from inotify_simple import INotify, flags

from runner.event_loop import Loop
from runner.logs.followed import Followed, Watch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

__all__ = ["LogWatcher", "Watch"]

_logger: Final = logging.getLogger(__name__)

_OVERFLOW: Final = int(flags.Q_OVERFLOW)
_IGNORED: Final = int(flags.IGNORED)
# inotify(7), inotify_event: descriptor, mask, cookie, and the length of a name that follows.
_EVENT: Final = struct.Struct("iIII")
_READ_BYTES: Final = 16 * 1024


class LogWatcher:
    """The daemon's one inotify instance, in `loop`. Make it once, at the daemon's start.

    Where the kernel gives no instance (fs.inotify.max_user_instances) or no watch
    (max_user_watches), or the directory is not there, followers poll every 50 ms and try
    again each time; the log says so once. Nobody is shown an error.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._inotify: INotify | None = None
        self._directories: dict[str, Followed] = {}
        # By watch descriptor: of what it is. A list, because two names of one directory share
        # one descriptor.
        self._armed: dict[int, list[tuple[Followed, str]]] = {}
        self._complained = False
        self._closed = False
        # Seconds, by the loop's clock.
        self.now = loop.time
        # Now rather than when first used: inotify_simple looks for the C library by running
        # ldconfig, and the daemon must not fork later.
        try:
            self._start()
        except OSError as error:
            self._complain(error)

    def watch(self, path: str | bytes | os.PathLike[str]) -> Watch:
        """Watch the directory `path` from now on; changed() misses nothing that comes later.

        Raises RuntimeError when the watcher is closed.
        """
        if self._closed:
            raise RuntimeError("the watcher is closed")
        key = os.fsdecode(path)
        directory = self._directories.get(key)
        if directory is None:
            directory = self._directories[key] = Followed(self, key)
        return directory.join()

    def close(self) -> None:
        """Close every watch and the inotify instance. Again is harmless."""
        self._closed = True
        for directory in list(self._directories.values()):
            directory.close()
        if self._inotify is not None:
            if isinstance(self._loop, Loop):
                self._loop.forget(self._inotify.fd)
            self._loop.remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None

    # What a followed directory asks

    def arm(self, directory: Followed, name: str, mask: int) -> int | None:
        """Set the watch of a file of it, or the one-shot watch of itself, which has no name.

        Its descriptor, or None when the kernel refuses.
        """
        try:
            inotify = self._inotify or self._start()
            path = f"{directory.path}/{name}" if name else directory.path
            descriptor = int(inotify.add_watch(path, mask))
        except OSError as error:
            if not (name and isinstance(error, FileNotFoundError)):
                self._complain(error)
            return None
        armed = self._armed.setdefault(descriptor, [])
        if (directory, name) not in armed:
            armed.append((directory, name))
        return descriptor

    def later(self, seconds: float, look: Callable[[], None]) -> asyncio.TimerHandle:
        """Have followers called after a while."""
        return self._loop.call_later(seconds, look)

    def forget(self, directory: Followed, descriptors: Iterable[int]) -> None:
        """Nobody follows `directory` any more; these are its watches that are set."""
        del self._directories[directory.path]
        for descriptor in descriptors:
            self.drop(directory, descriptor)

    def drop(self, directory: Followed, descriptor: int) -> None:
        """Take a watch back, unless it is that of another name of the directory too."""
        others = [one for one in self._armed.get(descriptor, ()) if one[0] is not directory]
        if others:
            self._armed[descriptor] = others
            return
        self._armed.pop(descriptor, None)
        if self._inotify is None:
            return
        try:
            self._inotify.rm_watch(descriptor)
        except OSError:
            # EINVAL: it fired, or the file was removed, and that event is still queued.
            return

    # Events

    def _start(self) -> INotify:
        inotify = INotify(nonblocking=True)
        self._loop.add_reader(inotify.fd, self._read_events)
        if isinstance(self._loop, Loop):
            self._loop.read_at_once(inotify.fd, self._read_at_once)
        self._inotify = inotify
        return inotify

    def _read_at_once(self) -> bool:
        try:
            self._read_events()
        except Exception:
            _logger.exception("a defect while followers of logs were called")
        return True

    def _read_events(self) -> None:
        if self._inotify is None:
            return
        try:
            # What is more than that is read in the next turn.
            events = os.read(self._inotify.fd, _READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(events):
            descriptor, mask, _, length = _EVENT.unpack_from(events, at)
            at += _EVENT.size + length
            if mask & _OVERFLOW:
                for one in list(self._armed):
                    self._fired(one, is_gone=False)
            else:
                # IN_IGNORED, which follows each one-shot event, counts too: it comes alone when
                # the directory is removed, and when a watch was set again on the descriptor that
                # the kernel was just taking away. Numbers are not used again soon (inotify(7)).
                self._fired(descriptor, is_gone=bool(mask & _IGNORED))

    def _fired(self, descriptor: int, *, is_gone: bool) -> None:
        for one in tuple(self._armed.get(descriptor, ())):
            directory, name = one
            if is_gone or not name:
                self._armed[descriptor].remove(one)
                directory.gone(name)
            directory.fired(has_names=not name)
        if not self._armed.get(descriptor, True):
            del self._armed[descriptor]

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            _logger.warning("no inotify watch (%s): polling instead, every 50 ms", error)
