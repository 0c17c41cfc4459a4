"""What a service manager is told: ready, stopping, alive. The protocol of sd_notify(3).

A few datagrams, and no library. Nothing depends on whether they arrive: without a manager,
or when it does not listen, everything here does nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_logger: Final = logging.getLogger(__name__)

_NAMES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_MICROSECONDS: Final = 1_000_000
# While an end takes its time: each message is good for so long, and is renewed earlier.
_EXTENSION: Final = f"EXTEND_TIMEOUT_USEC={60 * _MICROSECONDS}"
_RENEWAL_SECONDS: Final = 15.0


class Notifier:
    """Sends to the manager's socket, a path or an abstract name ("@…"); None: nobody asked.

    `watchdog_seconds`: how often the manager wants to hear that we live, None for never.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self.watchdog_seconds = watchdog_seconds
        self._address = _address(address)

    def ready(self, status: str) -> None:
        """Clients are served now."""
        self._send("READY=1", f"STATUS={_line(status)}")

    def status(self, status: str) -> None:
        """What `systemctl status` shows."""
        self._send(f"STATUS={_line(status)}")

    def stopping(self, status: str) -> None:
        """We are on our way out, and `keep_extending` says when it takes longer."""
        self._send("STOPPING=1", f"STATUS={_line(status)}", _EXTENSION)

    async def keep_extending(self) -> None:
        """Ask for more time to end in, again and again, until cancelled."""
        while True:
            self._send(_EXTENSION)
            await asyncio.sleep(_RENEWAL_SECONDS)

    async def keep_alive(self) -> None:
        """Feed the manager's watchdog from the event loop, so that it proves that one turns.

        Returns at once when there is no watchdog; else goes on until cancelled.
        """
        while self.watchdog_seconds is not None:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                # A manager that does not read must not hold us up.
                sock.setblocking(False)  # noqa: FBT003 - its only spelling
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            _logger.warning("the service manager cannot be told %s: %s", lines[0], error)


def from_environment(environ: MutableMapping[str, str]) -> Notifier:
    """The notifier that the environment asks for, which is then taken out of it.

    No child may inherit it: what a job says there would be taken for our word.
    """
    address, interval, pid = (environ.pop(name, None) for name in _NAMES)
    return Notifier(address, _watchdog_seconds(interval, pid))


def _watchdog_seconds(interval: str | None, pid: str | None) -> float | None:
    """WATCHDOG_USEC for this process: sd_watchdog_enabled(3)."""
    if pid is not None and pid != str(os.getpid()):
        return None
    if interval is None or not (interval.isascii() and interval.isdecimal()):
        return None
    return int(interval) / _MICROSECONDS or None


def _address(name: str | None) -> str | None:
    if not name:
        return None
    if name.startswith("@"):
        # unix(7): a name that begins with NUL is abstract.
        return f"\0{name[1:]}"
    if name.startswith("/"):
        return name
    _logger.warning("NOTIFY_SOCKET is neither a path nor an abstract name: %s", ascii(name))
    return None


def _line(text: str) -> str:
    """A status is one line: what follows a line break would be a message of its own."""
    return " ".join(text.split())
