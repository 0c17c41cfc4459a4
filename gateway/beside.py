"""The `check` of `serve --check`: a process beside the gateway, whose end is said and kept."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_logger: Final = logging.getLogger(__name__)


class Beside:
    """At most one `runner-gateway check`. It shares our standard output and error."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self, words: Sequence[str]) -> None:
        """Run it with those words. The log says when it fails. Raises OSError."""
        command = [sys.executable, "-m", "gateway.program", "check", *words]
        self._process = subprocess.Popen(command)
        self._thread = threading.Thread(target=_follow, args=(self._process,), daemon=True)
        self._thread.start()

    def has_failed(self) -> bool:
        """At the end: whether it did not work, or has not come to an end, which it does now."""
        if self._process is None or self._thread is None:
            return False
        if self._process.poll() is None:
            self._process.terminate()
        self._thread.join()
        return self._process.wait() != 0


def _follow(process: subprocess.Popen[bytes]) -> None:
    status = process.wait()
    if status:
        _logger.error("the check failed (exit status %d); the gateway goes on serving", status)
