"""Connections that were refused, told once a second at most: by reason, with one example each.

A flood of them must cost neither the log nor the disk. Metrics count each one (`count`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG: Final = logging.getLogger(__name__)
_EVERY_SECONDS: Final = 1.0


class Refusals:
    """Of one door. `count` is called with the reason of each."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._waiting: dict[str, tuple[int, str]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reason: str, remote: str, sentence: str) -> None:
        """One more. The first after a quiet second is told at once."""
        self._count(reason)
        times, example = self._waiting.get(reason, (0, f"{remote}: {sentence}"))
        self._waiting[reason] = (times + 1, example)
        if self._timer is None:
            self._tell()

    def close(self) -> None:
        """Tells what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._tell()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _tell(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        for reason, (times, example) in self._waiting.items():
            more = f" ({times} such in a second)" if times > 1 else ""
            _LOG.warning("refused a connection, %s, from %s%s", reason, example, more)
        self._waiting.clear()
        self._timer = asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._tell)
