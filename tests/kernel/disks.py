"""Disks that are too small, for tests of what a daemon and its jobs do when there is no room."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.harness import Daemon

_PAGE = 4096


@contextmanager
def small_disk(daemon: Daemon, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own below the daemon's state directory; call it to change the size."""
    os.makedirs(daemon.state_dir)
    options = f"size={size},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", daemon.state_dir], check=True)

    def resize(new: str) -> None:
        remount = ["mount", "-o", f"remount,size={new}", daemon.state_dir]
        subprocess.run(remount, check=True)

    try:
        yield resize
        resize("256m")
        daemon.forget_all_jobs()
        daemon.stop()
    finally:
        if daemon.running:
            daemon.kill()
        subprocess.run(["umount", "--lazy", daemon.state_dir], check=True)


def fill_up(daemon: Daemon) -> None:
    """Take what is free: not one more page is."""
    with suppress(OSError), open(_filler(daemon), "ab", 0) as filler:
        while True:
            filler.write(bytes(_PAGE))


def make_room(daemon: Daemon) -> None:
    """Give back what `fill_up` took."""
    os.unlink(_filler(daemon))


def free_bytes(daemon: Daemon) -> int:
    """What is free on the disk of the daemon's state directory."""
    found = os.statvfs(daemon.state_dir)
    return found.f_bavail * found.f_frsize


def _filler(daemon: Daemon) -> str:
    return f"{daemon.state_dir}/filler"
