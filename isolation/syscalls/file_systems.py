"""What concerns a whole file system. Lean: the monitor calls it when a log ends."""

from __future__ import annotations

from isolation.syscalls.common import check, libc_unlocked


def sync_file_system(fd: int) -> None:
    """Wait until all that was written to the file system of `fd` is on disk. syncfs(2)."""
    check(libc_unlocked.syncfs(fd), f"syncfs({fd})")
