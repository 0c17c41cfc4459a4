"""Network namespaces with nothing but a loopback interface, made ahead and handed out.

Everything happens in one thread of its own: a namespace belongs to a thread, and nothing here
forks. It works beside every launch, so it does little: no library, which would cost 1.5 ms of
the interpreter for each. Entering a namespace is the payload's step.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, TypeVar

from isolation import syscalls
from isolation.errors import NetworkError
from isolation.syscalls import CloneFlags

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

DEFAULT_READY = 2
_CLOSE_SECONDS = 5.0
# netdevice(7): the request, its flag, and struct ifreq of 64-bit machines, name and flags first.
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_IFREQ: Final = struct.Struct("16sh22x")


def make_namespace() -> int:
    """Make one, with its loopback up, and go back to the main thread's. A descriptor of it.

    Changes the calling thread's namespace meanwhile: never call it on a thread that does
    anything else. Raises NetworkError.
    """
    # /proc/self is the main thread: right even when a failure left this thread elsewhere.
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _step("unshare(CLONE_NEWNET)", lambda: syscalls.unshare(CloneFlags.NEWNET))
        _step("bring lo up", _loopback_up)
        fd = _step("open /proc/thread-self/ns/net", _current_namespace)
        try:
            _step("setns to the host's", lambda: syscalls.setns(home, CloneFlags.NEWNET))
        except NetworkError:
            os.close(fd)
            raise
        return fd
    finally:
        os.close(home)


def _loopback_up() -> None:
    """By ioctl. Raises OSError."""
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    # A socket belongs to the namespace that it is made in.
    with socket.socket(socket.AF_UNIX, kind) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", _IFF_UP))


def _current_namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _step(name: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except OSError as error:
        raise NetworkError(error.errno or 0, name) from error


def _closed() -> NetworkError:
    return NetworkError(errno.ECANCELED, "take", "the daemon is closing")


class LoopbackNetworks:
    """Keeps `ready` namespaces prepared, so that taking one takes no time.

    A namespace exists while somebody holds its descriptor or a process is in it. Safe to
    use from any thread; needs CAP_SYS_ADMIN. `make` is what makes one.
    """

    def __init__(
        self, ready: int = DEFAULT_READY, make: Callable[[], int] = make_namespace
    ) -> None:
        self._wanted_ready = ready
        self._make = make
        self._changed = threading.Condition()
        self._ready: deque[int] = deque()
        self._waiting: deque[Future[int]] = deque()
        self._thread: threading.Thread | None = None
        self._closing = False
        # After a failure nothing is made ahead: the next who asks tries again and hears it.
        self._failed = False

    def start(self) -> None:
        """Begin to prepare now rather than at the first `take`. Harmless to repeat."""
        with self._changed:
            self._start()

    def take(self) -> Future[int]:
        """A descriptor of a namespace, close-on-exec; whoever takes it closes it.

        The future is done already when one was ready. It fails with NetworkError when none
        can be made (ENOSPC: /proc/sys/user/max_net_namespaces; EPERM), or when this object
        is closed. A future that is cancelled in time takes nothing.
        """
        future: Future[int] = Future()
        with self._changed:
            if self._closing:
                future.set_exception(_closed())
            elif self._ready:
                future.set_result(self._ready.popleft())
            else:
                self._waiting.append(future)
            self._start()
            self._changed.notify_all()
        return future

    async def acquire(self) -> int:
        """`take` for a coroutine: nothing is lost when it is cancelled while it waits."""
        future = self.take()
        if future.done():
            return future.result()
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(self._take_back)
            raise

    def close(self) -> None:
        """End the thread and close what is ready. Who waits gets NetworkError."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(_CLOSE_SECONDS)
        with self._changed:
            self._drop_all()

    def _start(self) -> None:
        if self._thread is None and not self._closing:
            self._thread = threading.Thread(target=self._run, name="networks", daemon=True)
            self._thread.start()

    def _take_back(self, future: Future[int]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._give(future.result())

    def _run(self) -> None:
        """The thread."""
        while self._wait_for_work():
            try:
                fd = self._make()
            except Exception as error:  # noqa: BLE001  whoever waits hears of it, whatever it is
                self._fail(error)
            else:
                self._give(fd)

    def _wait_for_work(self) -> bool:
        """Wait until a namespace is wanted; False when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._is_wanted())
            return not self._closing

    def _is_wanted(self) -> bool:
        ahead = len(self._ready) < self._wanted_ready and not self._failed
        return bool(self._waiting) or ahead

    def _give(self, fd: int) -> None:
        """To the first who still waits; else it is kept ready, or closed at the end."""
        with self._changed:
            self._failed = False
            while self._waiting:
                future = self._waiting.popleft()
                if future.set_running_or_notify_cancel():
                    future.set_result(fd)
                    return
            if self._closing:
                os.close(fd)
            else:
                self._ready.append(fd)

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failed = True
            while self._waiting:
                future = self._waiting.popleft()
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)

    def _drop_all(self) -> None:
        while self._ready:
            os.close(self._ready.popleft())
        while self._waiting:
            future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                future.set_exception(_closed())
