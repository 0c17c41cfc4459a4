"""Whether jobs are taken and started, or the daemon is being drained for maintenance.

Said by a file, so that it holds over a restart and a reboot: its presence alone counts. Who
may ask is `runner.server.handlers.drain`'s, what runs meanwhile `runner.supervisor`'s. That
a daemon is about to end is another thing: `runner.shutdown`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_logger: Final = logging.getLogger(__name__)

NAME: Final = "draining"


class Draining:
    """The mark of one state directory. `on`: no job is taken, and none is started."""

    def __init__(self, state_dir: str) -> None:
        self._dir = state_dir
        self._path = os.path.join(state_dir, NAME)
        # Whatever it is that has this name.
        self.on = os.path.lexists(self._path)

    def begin(self) -> None:
        """Take and start no more jobs; on disk when this returns. Raises OSError: as before."""
        self._put(on=True)
        self._sync_or_undo()
        self.on = True

    def cancel(self) -> None:
        """Take jobs again; on disk when this returns. Raises OSError: as before."""
        self._put(on=False)
        self._sync_or_undo()
        self.on = False

    def _put(self, *, on: bool) -> None:
        if on:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with suppress(FileExistsError):
                os.close(os.open(self._path, flags, 0o600))
        else:
            with suppress(FileNotFoundError):
                os.unlink(self._path)

    def _sync_or_undo(self) -> None:
        try:
            _sync(self._dir)
        except OSError:
            try:
                self._put(on=self.on)
            except OSError as error:
                now = "draining" if os.path.lexists(self._path) else "not draining"
                _logger.error(  # noqa: TRY400 - the text says it
                    "%s cannot be put back as it was: %s; the next start finds: %s",
                    self._path, error, now,
                )  # fmt: skip
            raise


class Pulse:
    """Wakes whoever waits for something of the whole daemon. For the event loop's thread."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        """Something has changed: look again."""
        self._event.set()
        self._event.clear()

    async def until(self, condition: Callable[[], bool], seconds: float | None) -> None:
        """Until the condition holds, looked at after each beat, or the time has passed.

        None: however long it takes.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._event.wait()


def _sync(path: str) -> None:
    """Put the directory's names on disk: fsync(2)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
