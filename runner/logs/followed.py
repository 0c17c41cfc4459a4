"""A directory that is followed, and its followers, who share its kernel watches.

When they are called, in which order, and how often: that is decided here. The inotify instance
is `runner.logs.tail`'s, what a follower does when it is called `runner.server.handlers.logs`'s.

Each append ends with a write to one file, the index; a follower names that of the segment that
it has read to its end. So it is woken once for each append, when all of it is there; a watch of
the directory tells of new names. What is not set is set right before the followers are called:
what comes later wakes them again, what came earlier they find.

A follower is called right where the event is read: a line is on its way before anything else is
done. What that takes is counted: after a burst a log's followers wait, so that they take a
part of the daemon's time and not all of it, and find larger pieces.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from inotify_simple import flags

from runner.logs.cuts import Cuts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from runner.logs.tail import LogWatcher

    Serve = Callable[[bool], bool]

# Where the kernel's limits leave us without a watch.
_POLL_SECONDS: Final = 0.05
# The time between two looks is so many times what a look takes, but for a burst; at most a
# pause. The selector counts in milliseconds.
_SHARE: Final = 3
# What a turn of the loop takes besides, and what a follower that hands over.
_TURN_SECONDS: Final = 0.00002
_TASK_SECONDS: Final = 0.0001
_BURST_SECONDS: Final = 0.001
_PAUSE_SECONDS: Final = 0.001

# The directory's own name.
_ITSELF: Final = ""
_ONCE: Final = int(flags.ONESHOT)
_FILE: Final = flags.MODIFY | flags.DONT_FOLLOW
# Two names of one directory share one kernel watch: neither may take from the other's.
_NAMES: Final = flags.CREATE | flags.MOVED_TO | flags.ONLYDIR | flags.MASK_ADD | _ONCE
_ALL: Final = _NAMES | flags.MODIFY


class Watch:
    """One follower's view of one directory. Made by LogWatcher.watch; close it when done."""

    def __init__(self, directory: Followed) -> None:
        self._directory = directory
        self._grown = asyncio.Event()
        self._serve: Serve | None = None
        self._failure: Exception | None = None
        self._closed = False
        # Whether its follower waits to be called.
        self.is_served = False
        # What each append ends with; None: any file.
        self.file: str | None = None

    @property
    def cuts(self) -> Cuts:
        """What those who follow this log now share."""
        return self._directory.cuts

    async def changed(self, serve: Serve | None = None, file: str | None = None) -> None:
        """Return when the log may have grown since the last call, or since the watch was made.

        May return when it has not; never fails to when it has. So: read until nothing is left,
        await changed(), read again. Returns at once when the watch is closed meanwhile.
        Raises RuntimeError when it already was.

        `file` is the name of the one in the directory that is written last for whatever is
        appended, as long as no new names come; None when that is not known.

        `serve` is called instead, at once and by the event loop itself, so it must not take
        long. It is told whether names may have come, looks at everything that is there, and
        says whether it is to be called again. With False it hands over, and changed() returns;
        what it raises is raised here.
        """
        if self._closed:
            raise RuntimeError("the watch is closed")
        self._serve, self.file = serve, file
        self.is_served = serve is not None and not self._grown.is_set()
        try:
            if self._grown.is_set() or self._directory.arm(self):
                await self._grown.wait()
            else:
                await self._poll()
        finally:
            self._serve, self.is_served = None, False
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

    def look(self, *, names: bool) -> None:
        """Call the follower, else wake it."""
        if self._serve is None or not self.is_served:
            self.wake()
            return
        try:
            goes_on = self._serve(names)
        except Exception as error:  # noqa: BLE001 - it is the follower's, and others wait
            self._failure, goes_on = error, False
        if not goes_on:
            self.wake()

    def wake(self) -> None:
        """Let changed() return: now, or when it is next called."""
        self.is_served = False
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


class Followed:
    """The directory `path` and those who follow it."""

    def __init__(self, watcher: LogWatcher, path: str) -> None:
        self.path = path
        self.cuts = Cuts()
        self._watcher = watcher
        self._watches: set[Watch] = set()
        # Kernel watches that are set, by what they are of.
        self._set: dict[str, int] = {}
        # Whether that of the directory tells of writes too.
        self._tells_all = False
        # Whether names may have come since the last look.
        self._has_names = False
        # When the next look may be, and what will look then.
        self._due = 0.0
        self._later: asyncio.TimerHandle | None = None

    def join(self) -> Watch:
        """One more follower; the kernel watch is set before it can read anything."""
        self._set_for(None)
        watch = Watch(self)
        self._watches.add(watch)
        return watch

    def leave(self, watch: Watch) -> None:
        """One less."""
        self._watches.remove(watch)
        if not self._watches:
            if self._later is not None:
                self._later.cancel()
            self._watcher.forget(self, self._set.values())

    def close(self) -> None:
        """Close every watch."""
        for watch in list(self._watches):
            watch.close()

    def arm(self, watch: Watch) -> bool:
        """Have kernel watches set for one follower, unless a look is due. False: can't be.

        When they were not, everybody looks: what was written before is not known.
        """
        if self._later is not None or not self._lacks(watch.file):
            return True
        names = _ITSELF not in self._set
        if not self._set_for(watch.file):
            return False
        self._drop_all_but([one.file for one in self._watches])
        self._look(names=names)
        return True

    def gone(self, name: str) -> None:
        """The kernel removed the watch of that: for its one event, or with the file."""
        self._set.pop(name, None)

    def fired(self, *, has_names: bool) -> None:
        """Something has come."""
        self._has_names |= has_names
        if self._later is not None:
            return
        now = self._watcher.now()
        if now >= self._due:
            self._round(now)
        else:
            self._drop_all_but(())
            self._later = self._watcher.later(self._due - now, self._on_time)

    def _on_time(self) -> None:
        self._later = None
        self._round(self._watcher.now())

    def _round(self, began: float) -> None:
        names, self._has_names = self._has_names, False
        served, files, is_set = [], set(), True
        for watch in self._watches:
            if watch.is_served:
                served.append(watch)
                files.add(watch.file)
        if not files:
            # They set it again when they have read everything.
            self._drop_all_but(())
        for file in files:
            is_set = self._set_for(file) and is_set
        self._look(names=names)
        if not is_set:
            for watch in self._watches:
                watch.wake()
        now = self._watcher.now()
        tasks = sum([not watch.is_served for watch in served])
        spent = now - began + _TURN_SECONDS + tasks * _TASK_SECONDS
        due = max(self._due, began - _BURST_SECONDS) + _SHARE * spent
        self._due = min(due, now + _PAUSE_SECONDS)

    def _look(self, *, names: bool) -> None:
        """Call all, one after the other; what one finds is all that was there for the others."""
        self.cuts.newest = None
        for watch in list(self._watches):
            watch.look(names=names)
        self.cuts.newest = None

    def _lacks(self, file: str | None) -> bool:
        return _ITSELF not in self._set or not (self._tells_all or file in self._set)

    def _set_for(self, file: str | None) -> bool:
        """Set what is not set. False when the kernel refuses."""
        if not self._lacks(file):
            return True
        if _ITSELF not in self._set or file is None:
            self._tells_all = file is None
            if not self._set_one(_ITSELF, _ALL if file is None else _NAMES):
                return False
        if file is None or file in self._set or self._set_one(file, _FILE):
            return True
        # It has been removed, or there are too many watches.
        self._tells_all = True
        return self._set_one(_ITSELF, _ALL)

    def _set_one(self, name: str, mask: int) -> bool:
        descriptor = self._watcher.arm(self, name, mask)
        if descriptor is None:
            return False
        self._set[name] = descriptor
        return True

    def _drop_all_but(self, files: Iterable[str | None]) -> None:
        """Have only these files watched."""
        for name in self._set.keys() - {_ITSELF, *files}:
            self._watcher.drop(self, self._set.pop(name))
