"""Questions about paths, asked as somebody else: what that user may not see, we don't tell.

Safety argument: a question runs in a thread whose credentials alone are changed, once, before its
first question. The thread is used again only for questions of the very same caller, and nothing
else ever runs in it; a path on a dead network file system hangs only that thread.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from isolation.syscalls import (
    AT_FDCWD,
    ResolveFlags,
    openat2,
    set_capabilities,
    set_thread_file_identity,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_Asked: TypeAlias = "tuple[Future[Any], Callable[[], Any]]"

# How long a thread waits for the next question, and how many do so at once.
IDLE_SECONDS: Final = 10.0
MOST_IDLE: Final = 16
# As the payload will open it: links in /proc lead where path permissions don't count.
_AS_PAYLOAD: Final = ResolveFlags.NO_MAGICLINKS
_AT_ONCE: Final = ResolveFlags.NO_MAGICLINKS | ResolveFlags.CACHED


class Caller(NamedTuple):
    """The credentials that count for file permissions."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def ask_as(caller: Caller, question: Callable[[], _T]) -> Future[_T]:
    """The answer of `question`, run in another thread with the caller's file permissions.

    A path on a dead file system holds the thread for ever: bound how many you start. Raises
    RuntimeError when no thread can be started.
    """
    answer: Future[_T] = Future()
    asker = _idle.take(caller)
    if asker is not None:
        asker.ask(answer, question)
        return answer
    asker = _Asker(caller)
    asker.ask(answer, question)
    threading.Thread(target=asker.run, name=f"as-uid-{caller.uid}", daemon=True).start()
    return answer


class _Asker:
    """What one thread does, as one caller, until nothing is asked for a while."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self._asked: SimpleQueue[_Asked] = SimpleQueue()
        self._is_wanted = True

    def ask(self, answer: Future[Any], question: Callable[[], Any]) -> None:
        """The first question, or one more once the last was answered."""
        self._asked.put((answer, question))

    def run(self) -> None:
        """Nothing is asked unless the identity could be taken."""
        try:
            self._become_caller()
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
            self._is_wanted = False
            self._answer(*self._asked.get(), error)
        while self._is_wanted and (asked := self._next()) is not None:
            self._answer(*asked)
            del asked

    def _become_caller(self) -> None:
        caller = self.caller
        if caller.uid != 0:
            set_thread_file_identity(caller.uid, caller.gid, caller.groups)
            # Those that are not about files, too: CAP_SYS_PTRACE would open /proc/PID/root.
            set_capabilities(0)

    def _answer(
        self, answer: Future[Any], question: Callable[[], Any], why: BaseException | None = None
    ) -> None:
        # From here on a cancellation comes too late, and the answer can be set.
        if not answer.set_running_or_notify_cancel():
            self._rest()
            return
        try:
            found = _unless(why, question)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
            self._rest()
            answer.set_exception(error)
        else:
            self._rest()
            answer.set_result(found)

    def _rest(self) -> None:
        """Ready for another question, before who asked hears of the answer and asks again."""
        self._is_wanted = self._is_wanted and _idle.add(self)

    def _next(self) -> _Asked | None:
        try:
            return self._asked.get(timeout=IDLE_SECONDS)
        except Empty:
            # Else somebody has just taken it, and asks.
            return None if _idle.remove(self) else self._asked.get()


def _unless(error: BaseException | None, question: Callable[[], _T]) -> _T:
    if error is not None:
        raise error
    return question()


class _Idle:
    """Threads that wait for another question. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._askers: list[_Asker] = []

    def take(self, caller: Caller) -> _Asker | None:
        """The one of this caller that was used last, which is not idle any more."""
        with self._lock:
            for index in range(len(self._askers) - 1, -1, -1):
                if self._askers[index].caller == caller:
                    return self._askers.pop(index)
        return None

    def add(self, asker: _Asker) -> bool:
        """Whether there is room for it."""
        with self._lock:
            if len(self._askers) < MOST_IDLE:
                self._askers.append(asker)
                return True
        return False

    def remove(self, asker: _Asker) -> bool:
        """Whether it was idle still."""
        with self._lock, suppress(ValueError):
            self._askers.remove(asker)
            return True
        return False


_idle: Final = _Idle()


def may_be_entered_at_once(path: bytes) -> bool:
    """Whether this thread could make the directory its own, as far as nothing need be waited for.

    False: it may not, or the kernel would have to ask a disk or a server: `check_directory` tells.
    For root, which every question may be asked as; a loop need not fear for its time.
    """
    try:
        _enter(path, _AT_ONCE)
    except OSError:
        return False
    return True


def check_directory(path: bytes) -> None:
    """Whether a process could make this directory its own. Raises OSError if not: chdir(2)."""
    _enter(path, _AS_PAYLOAD)


def _enter(path: bytes, resolve: ResolveFlags) -> None:
    fd = openat2(AT_FDCWD, path, os.O_PATH | os.O_DIRECTORY, resolve)
    try:
        # Search permission on the directory itself: O_PATH has checked only those above.
        os.close(openat2(fd, b".", os.O_PATH, resolve))
    finally:
        os.close(fd)
