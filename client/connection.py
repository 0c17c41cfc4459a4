"""One blocking connection to runnerd: greeting, requests, streams with credit.

It knows frames and ids, not what the operations mean: that is `client.api`'s. It uses
nothing heavier than `socket`, because `runctl ps` pays for each import; TLS to a gateway is
`client.remote`'s. Not for use by several threads at once; `client.api` gives each its own.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from client import __version__, protocol
from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused
from client.framing import encode_request
from client.text import printable

if TYPE_CHECKING:
    from client.contexts import Context, Target

# A daemon that is alive answers in milliseconds; one whose disk is slow, in seconds.
ANSWER_SECONDS: Final = 60.0
GREETING_SECONDS: Final = 10.0
# Most answers come with their length in one call.
_AHEAD_BYTES: Final = 4 * 1024

_START_IT: Final = (
    "start it with `sudo runnerd`, or name its socket with --socket or RUNNERD_SOCKET"
)


class Channel(Protocol):
    """What a connection needs of a socket; one of Linux has it, with nothing in between.

    What is waited for longer than SO_RCVTIMEO and SO_SNDTIMEO say raises BlockingIOError.
    """

    def sendall(self, data: bytes, /) -> None: ...  # noqa: D102  those of socket.socket
    def recv_into(self, room: memoryview, /) -> int: ...  # noqa: D102
    def recv(self, size: int, flags: int, /) -> bytes: ...  # noqa: D102
    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...  # noqa: D102
    def shutdown(self, how: int, /) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Connection:
    """A greeted connection to the runnerd at a socket's path, or through a gateway to one.

    Raises DaemonUnavailable when nobody can be reached, NotTrusted when one side does not accept
    the other's certificate, RequestRefused when the greeting is refused, ProtocolError when what
    answers is not runnerd. `hello` is its greeting.
    """

    def __init__(self, target: Target) -> None:
        self._where = target if isinstance(target, str) else target.address
        self._peer = "runnerd" if isinstance(target, str) else f"the gateway at {self._where}"
        self._last_id = 0
        # What came in one call, and how much of it was given.
        self._ahead, self._given = b"", 0
        self._room = memoryview(bytearray(_AHEAD_BYTES))
        self._socket: Channel = _connect(target) if isinstance(target, str) else _remote(target)
        # No other can be: what Python bounds itself costs it a poll(2) before each call.
        self._timeout: float | None = None
        try:
            args = _greeting(None if isinstance(target, str) else target.user)
            self.hello = self.request("hello", args, timeout=GREETING_SECONDS)
        except RequestRefused as refused:
            self.close()
            if not isinstance(target, str) and refused.detail:
                # Which of several gateways it was.
                refused.detail = f"{target}: {refused.detail}"
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it; repeating is harmless. Streams on it end, jobs do not notice."""
        self._socket.close()

    def abort(self) -> None:
        """Let a `receive` of another thread end with ConnectionLost, now or when it begins."""
        # close(2) would not wake it. ENOTCONN: the other side was faster.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def request(
        self, op: str, args: protocol.Message, *, timeout: float | None = ANSWER_SECONDS
    ) -> protocol.Message:
        """The `ok` of one request. `timeout` in seconds for each wait; None waits for ever.

        Raises RequestRefused, ConnectionLost (also when the time has passed), ProtocolError.
        """
        self._wait_at_most(timeout)
        request_id = self.start(op, args)
        message = self.receive(request_id)
        if "ok" not in message:
            raise ProtocolError(f"runnerd sent an event in answer to {op}")
        return _map(message["ok"], f"the answer to {op}")

    def start(self, op: str, args: protocol.Message) -> int:
        """Send a request and return its id; `receive` gives what comes for it."""
        self._last_id = self._last_id % protocol.MAX_REQUEST_ID + 1
        self.notify(self._last_id, op, args)
        return self._last_id

    def start_stream(self, op: str, args: protocol.Message) -> int:
        """`start` for a request that may rightly be silent for as long as a job runs."""
        self._wait_at_most(None)
        return self.start(op, args)

    def notify(self, request_id: int, op: str, args: protocol.Message) -> None:
        """Send `op` for that id: a request, or `credit` and `cancel`, which have no answer."""
        frame = encode_request(request_id, op, args)
        try:
            self._socket.sendall(frame)
        except BlockingIOError:
            raise ConnectionLost(f"{self._peer} did not take the {op} request in time") from None
        except OSError:
            # What the daemon said before it closed is still to be read; after that, its end.
            return

    def receive(self, request_id: int) -> protocol.Message:
        """The next message for that id: one with `event`, or the last one, with `ok`.

        Raises RequestRefused for an error; an answer to another id is left out (it belongs
        to a stream that was cancelled).
        """
        while True:
            message = self._read_frame()
            answered = message.get("id")
            if answered not in (request_id, 0):
                continue
            if "error" in message:
                raise RequestRefused.from_wire(message["error"])
            if answered == request_id and ("event" in message or "ok" in message):
                return message
            raise ProtocolError(f"runnerd sent a frame without an answer: {_keys(message)}")

    def is_idle(self) -> bool:
        """Whether nothing has come since the last answer: not even the end of the connection."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return self._given == len(self._ahead)
        except OSError:
            return False
        return False

    def _wait_at_most(self, seconds: float | None) -> None:
        """Let the kernel end each wait: SO_RCVTIMEO and SO_SNDTIMEO of socket(7)."""
        if seconds == self._timeout:
            return
        micros = 0 if seconds is None else max(round(seconds * 1e6), 1)
        span = struct.pack("ll", *divmod(micros, 1_000_000))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, span)
        self._timeout = seconds

    def _read_frame(self) -> protocol.Message:
        try:
            length = protocol.frame_length(self._read(protocol.HEADER.size))
            return protocol.decode_body(self._read(length))
        except protocol.FrameError as error:
            where = printable(self._where)
            raise ProtocolError(
                f"what answers on {where} does not speak runnerd's protocol: {error}"
            ) from None

    def _read(self, size: int) -> bytes | bytearray:
        if self._given == len(self._ahead) and size <= _AHEAD_BYTES:
            self._ahead, self._given = bytes(self._room[: self._receive(self._room)]), 0
        end = self._given + size
        data = self._ahead[self._given : end]
        self._given = min(end, len(self._ahead))
        return data if len(data) == size else self._rest(data, size)

    def _rest(self, begun: bytes, size: int) -> bytearray:
        data = bytearray(size)
        data[: len(begun)] = begun
        view = memoryview(data)[len(begun) :]
        while view:
            view = view[self._receive(view) :]
        return data

    def _receive(self, room: memoryview) -> int:
        """How many bytes came, at least one. Raises ConnectionLost."""
        try:
            count = self._socket.recv_into(room)
        except BlockingIOError:
            seconds = self._timeout or 0
            raise ConnectionLost(f"{self._peer} did not answer within {seconds:g} s") from None
        except OSError as error:
            raise ConnectionLost(f"the connection broke ({error.strerror})") from None
        if count == 0:
            raise ConnectionLost(f"{self._peer} closed the connection")
        return count


def _greeting(user: str | None) -> protocol.Message:
    args: protocol.Message = {
        "protocol": protocol.PROTOCOL_VERSION,
        "client": f"runctl {__version__}",
    }
    return args if user is None else {**args, "act_for": {"user": user}}


def _remote(context: Context) -> Channel:
    from client.remote import connect

    return connect(context)


def _connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A full backlog makes connect(2) wait; SO_SNDTIMEO bounds that wait (unix(7)), while
        # a non-blocking connect would fail at once.
        seconds = struct.pack("ll", int(GREETING_SECONDS), 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        sock.connect(path)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 0))
    except (OSError, ValueError) as error:
        sock.close()
        raise unavailable(path, error) from None
    return sock


def unavailable(path: str, error: OSError | ValueError) -> DaemonUnavailable:
    """Why nobody could be reached at a socket, and what to do about it; `error` is connect(2)'s."""
    name = printable(path)
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOENT, errno.ENOTDIR):
        text = f"runnerd is not running: there is no socket {name}"
        return DaemonUnavailable("missing", path, text, _START_IT)
    if code == errno.ECONNREFUSED and _is_socket(path):
        text = f"runnerd is not running: nobody listens on {name}, which an earlier one left"
        return DaemonUnavailable("refused", path, text, _START_IT)
    if code in (errno.EACCES, errno.EPERM) and not _is_other_file(path):
        text = f"permission denied on runnerd's socket {name}"
        return DaemonUnavailable("denied", path, text, _how_to_join(path))
    if code in (errno.EAGAIN, errno.ETIMEDOUT):
        text = f"runnerd does not accept connections on {name}"
        return DaemonUnavailable("silent", path, text, "it is overloaded or stuck: see its log")
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if code == errno.ECONNREFUSED or _is_other_file(path):
        why = "it is not a socket"
    return DaemonUnavailable("other", path, f"cannot connect to {name}: {why}", _START_IT)


def _is_socket(path: str) -> bool:
    import stat

    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _is_other_file(path: str) -> bool:
    """Whether there is something at `path`, to our knowledge, that is no socket."""
    return os.path.exists(path) and not _is_socket(path)


def _how_to_join(path: str) -> str:
    """Which group may use the socket and how to become a member."""
    import grp
    import pwd

    try:
        status = os.stat(path)
    except OSError:
        return "its directory is closed to you: ask whoever runs it"
    if not status.st_mode & 0o020:
        return "only its owner may use it: ask whoever runs it"
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    if status.st_gid in (os.getegid(), *os.getgroups()):
        return f"its group {group} is yours, so its directory or a security module denies it"
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"#{os.getuid()}"
    return (
        f"members of the group {group} may use it: `sudo usermod -aG {group} {user}`, "
        "then log in again"
    )


def _map(value: object, what: str) -> protocol.Message:
    if isinstance(value, dict):
        return value
    raise ProtocolError(f"{what} is not a map")


def _keys(message: protocol.Message) -> str:
    return printable(sorted(map(str, message)))[:200]
