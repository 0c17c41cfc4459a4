"""Questions about paths, asked as somebody else: what that user may not see, we don't tell.

Safety argument: each question runs in a thread of its own whose credentials alone are
changed, for the thread's whole short life; it is never reused, so no other code can run
with them, and a path on a dead network file system hangs only that thread.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from isolation.syscalls import (
    AT_FDCWD,
    ResolveFlags,
    openat2,
    set_capabilities,
    set_thread_file_identity,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")


class Caller(NamedTuple):
    """The credentials that count for file permissions."""

    uid: int
    gid: int
    groups: Sequence[int]


def ask_as(caller: Caller, question: Callable[[], _T]) -> Future[_T]:
    """The answer of `question`, run in a new thread with the caller's file permissions.

    A path on a dead file system holds the thread for ever: bound how many you start.
    """
    answer: Future[_T] = Future()

    def run() -> None:
        # From here on a cancellation comes too late, and the answer can be set.
        if not answer.set_running_or_notify_cancel():
            return
        try:
            if caller.uid != 0:
                set_thread_file_identity(caller.uid, caller.gid, caller.groups)
                # Those that are not about files, too: CAP_SYS_PTRACE would open /proc/PID/root.
                set_capabilities(0)
            answer.set_result(question())
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
            answer.set_exception(error)

    threading.Thread(target=run, name=f"as-uid-{caller.uid}", daemon=True).start()
    return answer


def check_directory(path: bytes) -> None:
    """Whether a process could make this directory its own. Raises OSError if not: chdir(2)."""
    # As the payload will open it: links in /proc lead where path permissions don't count.
    fd = openat2(AT_FDCWD, path, os.O_PATH | os.O_DIRECTORY, ResolveFlags.NO_MAGICLINKS)
    try:
        # Search permission on the directory itself: O_PATH has checked only those above.
        os.close(os.open(".", os.O_PATH | os.O_CLOEXEC, dir_fd=fd))
    finally:
        os.close(fd)
