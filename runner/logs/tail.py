"""Wakes whoever follows a log when it may have grown: inotify, in the daemon's event loop.

One inotify instance for the daemon, one kernel watch for each followed directory. It never
reads a log and doesn't know its format; `runner.logs.reader` does the reading, and the exit
record of the job, which ends a follow, is somebody else's to watch.

A follower is called right where the event is read, and the watch is set again after that: a line
is on its way before anything else is done. Where output comes faster than it is sent, the
followers of a log are called once a millisecond, and find larger pieces.

A watch is one-shot: the kernel removes it with its first event, and it is set again when a
follower has read everything and waits. So a job that prints 100,000 times a second costs the
daemon one event for each round of a follower, not one for each write, and costs the monitor
nothing (a standing watch doubles the price of a small append). The price is a wake-up too many
now and then: what was written between the event and the new watch cannot be known.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final, Self

from inotify_simple import INotify, flags

from runner.logs.cuts import Cuts

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    Serve = Callable[[], bool | None]

_logger: Final = logging.getLogger(__name__)

# Where the kernel's limits leave us without a watch.
_POLL_SECONDS: Final = 0.05
# After something was sent. The selector counts in milliseconds.
_PAUSE_SECONDS: Final = 0.001
_OVERFLOW: Final = int(flags.Q_OVERFLOW)
_MASK: Final = flags.MODIFY | flags.CREATE | flags.MOVED_TO | flags.ONLYDIR | flags.ONESHOT


class Watch:
    """One follower's view of one directory. Made by LogWatcher.watch; close it when done."""

    def __init__(self, directory: _Directory) -> None:
        self._directory = directory
        self._grown = asyncio.Event()
        self._serve: Serve | None = None
        self._failure: Exception | None = None
        self._closed = False

    @property
    def cuts(self) -> Cuts:
        """What those who follow this log now share."""
        return self._directory.cuts

    async def changed(self, serve: Serve | None = None) -> None:
        """Return when the log may have grown since the last call, or since the watch was made.

        May return when it has not; never fails to when it has. So: read until nothing is left,
        await changed(), read again. Returns at once when the watch is closed meanwhile.
        Raises RuntimeError when it already was.

        `serve` is called instead, at once and by the event loop itself, so it must not take
        long: it says whether it found something (True, False) and is called again when there may
        be more. With None it hands over, and changed() returns; what it raises is raised here.
        """
        if self._closed:
            raise RuntimeError("the watch is closed")
        self._serve = serve
        try:
            if self._grown.is_set() or self._directory.arm():
                await self._grown.wait()
            else:
                await self._poll()
        finally:
            self._serve = None
        self._grown.clear()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Stop watching. Again is harmless."""
        if not self._closed:
            self._closed = True
            self._directory.leave(self)
            self.wake()

    @property
    def is_served(self) -> bool:
        """Whether its follower waits to be called."""
        return self._serve is not None and not self._grown.is_set()

    def look(self) -> bool:
        """Call the follower, else wake it. Whether it found something while it was called."""
        if self._serve is None or self._grown.is_set():
            self.wake()
            return False
        try:
            found = self._serve()
        except Exception as error:  # noqa: BLE001 - it is the follower's, and others wait
            self._failure, found = error, None
        if found is None:
            self.wake()
        return bool(found)

    def wake(self) -> None:
        """Let changed() return: now, or when it is next called."""
        self._grown.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def _poll(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._grown.wait()
        except TimeoutError:
            return


class LogWatcher:
    """The daemon's one inotify instance, in `loop`. Make it once, at the daemon's start.

    Where the kernel gives no instance (fs.inotify.max_user_instances) or no watch
    (max_user_watches), or the directory is not there, followers poll every 50 ms and try
    again each time; the log says so once. Nobody is shown an error.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._inotify: INotify | None = None
        self._directories: dict[str, _Directory] = {}
        # By watch descriptor. A list, because two names of one directory share one descriptor.
        self._armed: dict[int, list[_Directory]] = {}
        self._complained = False
        self._closed = False
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
            directory = self._directories[key] = _Directory(self, key)
        return directory.join()

    def close(self) -> None:
        """Close every watch and the inotify instance. Again is harmless."""
        self._closed = True
        for directory in list(self._directories.values()):
            directory.close()
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None

    def arm(self, directory: _Directory) -> int | None:
        """Set the one-shot watch; its descriptor, or None when the kernel refuses."""
        try:
            inotify = self._inotify or self._start()
            descriptor = int(inotify.add_watch(directory.path, _MASK))
        except OSError as error:
            self._complain(error)
            return None
        self._armed.setdefault(descriptor, []).append(directory)
        return descriptor

    def later(self, seconds: float, look: Callable[[], None]) -> asyncio.TimerHandle:
        """Have followers called after a while."""
        return self._loop.call_later(seconds, look)

    def now(self) -> float:
        """Seconds, by the loop's clock."""
        return self._loop.time()

    def forget(self, directory: _Directory, descriptor: int | None) -> None:
        """Nobody watches `directory` any more; `descriptor` is its watch, if one is set."""
        del self._directories[directory.path]
        if descriptor is None or self._inotify is None:
            return
        # Its IN_IGNORED, read later, clears `_armed`, and wakes another name of the directory.
        try:
            self._inotify.rm_watch(descriptor)
        except OSError:
            # EINVAL: it fired, or the directory was removed, and that event is still queued.
            return

    def _start(self) -> INotify:
        inotify = INotify(nonblocking=True)
        self._loop.add_reader(inotify.fd, self._read_events)
        self._inotify = inotify
        return inotify

    def _read_events(self) -> None:
        if self._inotify is None:
            return
        for event in self._inotify.read(timeout=0):
            if event.mask & _OVERFLOW:
                for descriptor in list(self._armed):
                    self._fired(descriptor)
            else:
                # IN_IGNORED, which follows each one-shot event, counts too: it comes alone when
                # the directory is removed, and when a watch was set again on the descriptor that
                # the kernel was just taking away. Numbers are not used again soon (inotify(7)).
                self._fired(event.wd)

    def _fired(self, descriptor: int) -> None:
        for directory in self._armed.pop(descriptor, ()):
            directory.fired()

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            _logger.warning("no inotify watch (%s): polling instead, every 50 ms", error)


class _Directory:
    """A directory and its followers, who share one kernel watch."""

    def __init__(self, watcher: LogWatcher, path: str) -> None:
        self.path = path
        self._watcher = watcher
        self.cuts = Cuts()
        self._watches: set[Watch] = set()
        self._descriptor: int | None = None
        # When something was sent last; and what will look again, instead of the kernel's watch.
        self._found_at = 0.0
        self._later: asyncio.TimerHandle | None = None

    def join(self) -> Watch:
        """One more follower; the kernel watch is set before it can read anything."""
        self.arm()
        watch = Watch(self)
        self._watches.add(watch)
        return watch

    def leave(self, watch: Watch) -> None:
        self._watches.remove(watch)
        if not self._watches:
            if self._later is not None:
                self._later.cancel()
            self._watcher.forget(self, self._descriptor)

    def close(self) -> None:
        for watch in list(self._watches):
            watch.close()

    def arm(self) -> bool:
        """Have the kernel watch set, unless a look is due. False when it can't be.

        When it was not, everybody looks: what was written since it fired is not known.
        """
        if self._descriptor is None and self._later is None:
            self._descriptor = self._watcher.arm(self)
            if self._descriptor is None:
                return False
            self._look()
        return True

    def fired(self) -> None:
        """The kernel removed the watch: for its first event, or with the directory."""
        self._descriptor = None
        early = self._found_at + _PAUSE_SECONDS - self._watcher.now()
        if early <= 0:
            self._look_and_arm()
        elif self._later is None:
            self._later = self._watcher.later(early, self._look_and_arm)

    def _look_and_arm(self) -> None:
        self._later = None
        self._look()
        if any(watch.is_served for watch in self._watches) and not self.arm():
            for watch in self._watches:
                watch.wake()

    def _look(self) -> None:
        found = [watch.look() for watch in self._watches]
        if any(found):
            self._found_at = self._watcher.now()
