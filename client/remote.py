"""A socket to a gateway: TCP and TLS 1.3 with certificates on both sides.

The frames on it are `client.connection`'s; here is what is between them and the network, and the
prose for what certificates can be wrong in. Imported only where a context is in force: `ssl` takes
longer to import than all of runctl.
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from client.errors import ConnectionLost, DaemonUnavailable, NotTrusted
from client.text import printable
from client.tls_faults import not_trusted, own_fault, refused_later, said_nothing, unavailable

if TYPE_CHECKING:
    from client.contexts import Context

# The name of this protocol in ALPN: the same port speaks HTTP.
ALPN: Final = "runnerd/1"
CONNECT_SECONDS: Final = 10.0
# A network that is gone is noticed after 30 s: of silence, or after something was sent.
_TCP_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)
_RECORDS_BYTES: Final = 64 * 1024
# Of a key that is ours, and of root's, which a group may have been given to read.
_OTHERS: Final = 0o077
_OTHERS_THAN_A_GROUP: Final = 0o037


class TlsSocket:
    """What `client.connection` needs of a socket, over TLS; made by `connect`.

    The socket below it is a blocking one whose waits the kernel bounds (SO_RCVTIMEO), and only one
    thread speaks on it; another may shut it down.
    """

    def __init__(self, sock: socket.socket, context: Context, tls: ssl.SSLContext) -> None:
        self._socket = sock
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._tls = tls.wrap_bio(
                self._incoming, self._outgoing, server_hostname=context.host.partition("%")[0]
            )
        except ValueError as error:
            raise DaemonUnavailable(
                "other", context.address, f"{context}: {error}", "give another host"
            ) from None
        self._records = memoryview(bytearray(_RECORDS_BYTES))
        self._heard = False

    def handshake(self) -> None:
        """Become TLS. Raises NotTrusted, ConnectionLost, and OSError of the socket."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._pull():
                    raise ConnectionLost(said_nothing(self._context)) from None
            except ssl.SSLError as error:
                # Let it know why, as far as it can still be told.
                with suppress(OSError):
                    self._flush()
                raise not_trusted(self._context, error) from None
            else:
                break
        self._flush()
        if self._tls.selected_alpn_protocol() != ALPN:
            raise NotTrusted(
                f"what answers at {self._context.address} is not a gateway of runnerd that takes "
                "runctl: see the port"
            )

    def sendall(self, data: bytes) -> None:
        """Send it all. Raises OSError; BlockingIOError when the time is up."""
        self._tls.write(data)
        self._flush()

    def recv_into(self, room: memoryview) -> int:
        """How many bytes came; 0 at the end. Raises OSError, NotTrusted."""
        while True:
            try:
                count = self._tls.read(len(room), room)
            except ssl.SSLWantReadError:
                if not self._pull():
                    return self._ended()
            except ssl.SSLZeroReturnError:
                return self._ended()
            except ssl.SSLError as error:
                raise refused_later(self._context, error) from None
            else:
                self._heard = True
                return int(count)

    def recv(self, size: int, flags: int) -> bytes:
        """For a look ahead with MSG_PEEK and MSG_DONTWAIT alone: whether something has come."""
        if self._tls.pending() or self._incoming.pending:
            return b"\0"
        return self._socket.recv(size, flags)

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        """That of the socket below."""
        self._socket.setsockopt(level, option, value)

    def shutdown(self, how: int) -> None:
        """That of the socket below: no word of TLS is said any more."""
        self._socket.shutdown(how)

    def close(self) -> None:
        """Close it; repeating is harmless."""
        self._socket.close()

    def _flush(self) -> None:
        # A signal handler may send on it too, between two calls of ours but never in one.
        if self._outgoing.pending:
            self._socket.sendall(self._outgoing.read())

    def _pull(self) -> int:
        """Take what has come from the network; 0: nothing will come any more. Raises OSError."""
        try:
            count = self._socket.recv_into(self._records)
        except ConnectionResetError:
            if not self._heard:
                return 0
            raise
        self._incoming.write(self._records[:count])
        return count

    def _ended(self) -> int:
        # In TLS 1.3 a client's part of the handshake is over before its certificate was looked at.
        if not self._heard:
            raise ConnectionLost(said_nothing(self._context))
        return 0


def connect(context: Context) -> TlsSocket:
    """A socket to the gateway of a context.

    Raises DaemonUnavailable when nobody can be reached, NotTrusted when one side does not accept
    the other's certificate, ConnectionLost.
    """
    known_by = client_tls(context)
    sock = _connected(context)
    try:
        for level, option, value in _TCP_OPTIONS:
            sock.setsockopt(level, option, value)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _span(CONNECT_SECONDS))
        tls = TlsSocket(sock, context, known_by)
        tls.handshake()
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, _span(0))
    except BlockingIOError:
        sock.close()
        raise unavailable(context, TimeoutError()) from None
    except OSError as error:
        sock.close()
        raise ConnectionLost(
            f"the connection to {context.address} broke ({error.strerror or error})"
        ) from None
    except BaseException:
        sock.close()
        raise
    return tls


def client_tls(context: Context) -> ssl.SSLContext:
    """How we are known to a gateway and how we know it. Raises NotTrusted: a file is not usable."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.set_alpn_protocols([ALPN])
    for path, what in (
        (context.ca, "the authority's certificate"),
        (context.certificate, "the certificate"),
        (context.key, "the key"),
    ):
        _check_readable(context, path, what, is_secret=path == context.key)
    try:
        tls.load_verify_locations(cafile=context.ca)
    except (ssl.SSLError, OSError):
        raise NotTrusted(
            f"{context}: {printable(context.ca)} holds no certificate of an authority (PEM)"
        ) from None
    try:
        tls.load_cert_chain(context.certificate, context.key, password=_no_password)
    except (ssl.SSLError, OSError) as error:
        raise NotTrusted(f"{context}: {own_fault(context, error)}") from None
    return tls


def _no_password() -> str:
    # Or OpenSSL would ask the terminal. What is raised here becomes an error of the key.
    return ""


def _check_readable(context: Context, path: str, what: str, *, is_secret: bool) -> None:
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
    except OSError as error:
        raise NotTrusted(
            f"{context}: cannot read {what}, {printable(path)}: {error.strerror}"
        ) from None
    is_lent = found.st_uid == 0 and os.geteuid() != 0
    if is_secret and found.st_mode & (_OTHERS_THAN_A_GROUP if is_lent else _OTHERS):
        mode = stat.S_IMODE(found.st_mode)
        raise NotTrusted(
            f"{context}: {printable(path)} is a key that others can read (mode {mode:04o}); "
            f"run chmod 600 {printable(path)}"
        )


# Connecting


def _connected(context: Context) -> socket.socket:
    """To the first of its addresses where somebody listens. Raises DaemonUnavailable."""
    failed: OSError | UnicodeError = OSError("it has no address")
    try:
        found = socket.getaddrinfo(context.host, context.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise unavailable(context, error) from None
    for family, kind, proto, _, address in found:
        sock = socket.socket(family, kind, proto)
        try:
            # The kernel bounds it, as on a local socket (socket(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _span(CONNECT_SECONDS))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failed = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise unavailable(context, failed)


def _span(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), 0)
