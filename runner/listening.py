"""The daemon's socket: made for its group alone, and taken away again at the end.

A socket that a killed runnerd left is replaced, one that somebody listens on never. What
is said on it is `runner.server`'s.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from runner.ground import StartError
from runner.server.connection import LINGER_SECONDS, Connection
from runner.users import group_id

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from runner.config import Config
    from runner.server.service import Service

_logger: Final = logging.getLogger(__name__)

_BACKLOG: Final = 512


async def open_socket(config: Config, service: Service, stack: AsyncExitStack) -> None:
    """Listen for clients, once group and mode are set. Raises StartError, OSError."""
    os.makedirs(os.path.dirname(config.socket), 0o755, exist_ok=True)
    await _remove_stale(config.socket)
    sock = _bind(config)
    identity = _identity(config.socket)
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: Connection(service), sock=sock, backlog=_BACKLOG)
    stack.push_async_callback(_close_server, server, service, config.socket, identity)


def _bind(config: Config) -> socket.socket:
    """The socket, bound and not listening: nobody can connect while its group is being set."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The name takes the mode of the socket's own inode (unix(7)); a umask would be that
        # of every thread, and jobs are being launched by some.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(config.socket)
        _open_to_group(config)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_to_group(config: Config) -> None:
    gid = group_id(config.group)
    if gid is None:
        os.chmod(config.socket, 0o600)
        _logger.warning(
            "there is no group %s: only root may connect (groupadd --system %s makes it)",
            config.group, config.group,
        )  # fmt: skip
        return
    os.chown(config.socket, 0, gid)
    os.chmod(config.socket, 0o660)


async def _remove_stale(path: str) -> None:
    """Remove a socket that a killed runnerd left; one that somebody listens on stays."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise StartError(f"{path} is there and is no socket; remove it, or give --socket")
        _reader, writer = await asyncio.open_unix_connection(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
        return
    writer.close()
    raise StartError(f"another runnerd listens on {path}; stop it, or give another --socket")


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


async def _close_server(
    server: asyncio.Server, service: Service, path: str, identity: tuple[int, int]
) -> None:
    server.close()
    service.close()
    # From Python 3.12 on this waits for every connection, also one that came too late to be told.
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS + 1):
            await server.wait_closed()
    with suppress(FileNotFoundError):
        # Only our own: somebody may have put another there.
        if _identity(path) == identity:
            os.unlink(path)
