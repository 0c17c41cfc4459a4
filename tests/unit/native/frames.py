"""Asks a driver that stays (`frames.h`): bytes there, bytes back. One that dies fails the test."""

from __future__ import annotations

import os
import struct
import subprocess
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

_LENGTH: Final = struct.Struct("=I")


class Driver:
    """One driver process. A context manager."""

    def __init__(self, path: str, arguments: Sequence[str] = (), fds: Sequence[int] = ()) -> None:
        self._process = subprocess.Popen(
            [path, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(fds),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        errors = self._process.communicate()[1]
        assert self._process.returncode == 0, os.fsdecode(errors)

    def ask(self, question: bytes) -> bytes:
        """The driver's answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(_LENGTH.pack(len(question)) + question)
            stdin.flush()
        except BrokenPipeError:
            return self._died()
        head = stdout.read(_LENGTH.size)
        if len(head) != _LENGTH.size:
            return self._died()
        (length,) = _LENGTH.unpack(head)
        return stdout.read(length)

    def _died(self) -> bytes:
        stderr = self._process.stderr
        assert stderr is not None
        raise AssertionError(f"the driver died: {os.fsdecode(stderr.read())}")
