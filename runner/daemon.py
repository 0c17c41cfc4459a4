"""Puts the daemon together, serves until it is told to end, and takes it apart again.

Order matters: locks before anything is read, the launcher before anything heavy is done,
reconciliation before the socket exists. What fails on the way up is a `StartError` with
text for people.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from isolation.cgroups.root import LIMIT_CONTROLLERS, find_root
from isolation.cgroups.tree import CgroupTree
from isolation.errors import CgroupError, CgroupRootError
from isolation.network.loopback import LoopbackNetworks
from isolation.network.private import NetworkSettings, PrivateNetworks
from isolation.user_namespaces import Ranges
from runner import limits, statedir
from runner.execing import Execs
from runner.hooks import Hooks
from runner.jobdirs import JobDirectories
from runner.launcher_client import LauncherClient
from runner.launching import Launching
from runner.lifecycle import State
from runner.logs.tail import LogWatcher
from runner.paths import UserPaths
from runner.provisions import Provisioning
from runner.server.connection import LINGER_SECONDS, Connection
from runner.server.service import SERVER_NAME, Service, group_id
from runner.store import Store, StoreError
from runner.submission import Submissions
from runner.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from runner.config import Config

_logger: Final = logging.getLogger(__name__)

_T = TypeVar("_T")

_POOL_THREADS: Final = 4
_BACKLOG: Final = 512


class StartError(Exception):
    """runnerd cannot start. The text says why and what to do."""


async def serve(config: Config) -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises StartError."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with AsyncExitStack() as stack:
        try:
            supervisor = await _unless(ended, _start(config, stack))
        except (CgroupError, CgroupRootError, OSError, StoreError, statedir.InUseError) as error:
            raise StartError(str(error)) from error
        if supervisor is None:
            _logger.info("told to stop before it was ready; jobs go on without me")
            return
        counts = supervisor.store.counts()
        _logger.info(
            "%s ready on %s: %d running, %d queued",
            SERVER_NAME, config.socket, counts[State.RUNNING], counts[State.QUEUED],
        )  # fmt: skip
        await ended.wait()
        running = supervisor.store.counts()[State.RUNNING]
        _logger.info("stopping; %d running jobs go on without me", running)


async def _unless(ended: asyncio.Event, work: Coroutine[Any, Any, _T]) -> _T | None:
    """What `work` gives, or None when the end comes first: it is cancelled then."""
    task = asyncio.ensure_future(work)
    end = asyncio.ensure_future(ended.wait())
    await asyncio.wait((task, end), return_when=asyncio.FIRST_COMPLETED)
    end.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait((task,))
    return None


async def _start(config: Config, stack: AsyncExitStack) -> Supervisor:
    """Everything up to the first client."""
    supervisor, service = await _assemble(config, stack)
    await _open_socket(config, service, stack)
    return supervisor


async def _assemble(config: Config, stack: AsyncExitStack) -> tuple[Supervisor, Service]:
    loop = asyncio.get_running_loop()
    _raise_descriptor_limit()
    tree, locks = _lock_and_prepare(config, stack)
    store = Store.open(os.path.join(config.state_dir, "runnerd.sqlite3"))
    stack.callback(store.close)
    launcher = LauncherClient(loop, locks)
    stack.callback(launcher.close)
    directories = JobDirectories(config.state_dir)
    stack.callback(directories.close)
    pool = stack.enter_context(ThreadPoolExecutor(_POOL_THREADS, "jobs"))
    paths = UserPaths()
    provisions = _provisioning(config, paths, tree, directories, stack)
    launching = Launching(
        directories=directories,
        tree=tree,
        provisions=provisions,
        launcher=launcher,
        pool=pool,
        paths=paths,
        monitor_bytes=_monitor_bytes(config, tree),
    )
    supervisor = Supervisor(
        config=config,
        store=store,
        directories=directories,
        tree=tree,
        launching=launching,
        pool=pool,
        hooks=Hooks(
            find_devices=paths.find_devices,
            set_bandwidth=provisions.set_bandwidth,
            set_scratch=provisions.set_scratch,
            release=provisions.release,
        ),
    )
    stack.push_async_callback(supervisor.close)
    watcher = LogWatcher(loop)
    stack.callback(watcher.close)
    for remark in await provisions.recover(store.launched()):
        _logger.warning("%s", remark)
    await supervisor.reconcile()
    admin_gid = group_id(config.admin_group)
    if admin_gid is None and config.admin_group is not None:
        _logger.warning("there is no group %s: only root acts for others", config.admin_group)
    submissions = Submissions(config, admin_gid, tree, paths, provisions)
    execs = Execs(store, tree, provisions, launcher)
    service = Service(config, supervisor, submissions, watcher, provisions, execs, admin_gid)
    return supervisor, service


def _provisioning(
    config: Config,
    paths: UserPaths,
    tree: CgroupTree,
    directories: JobDirectories,
    stack: AsyncExitStack,
) -> Provisioning:
    """Networks, ranges of user ids, filters: made here, handed out to each job."""
    loopbacks = LoopbackNetworks()
    stack.callback(loopbacks.close)
    loopbacks.start()
    settings = NetworkSettings(
        identity=config.state_dir,
        subnet=config.network.subnet,
        nameservers=config.network.nameservers,
        linger_seconds=config.network.linger_seconds,
    )
    networks = PrivateNetworks(settings)
    stack.push_async_callback(networks.close)
    ranges = Ranges(base=config.sandbox.userns_base)
    return Provisioning(loopbacks, networks, ranges, paths, tree, directories)


def _lock_and_prepare(config: Config, stack: AsyncExitStack) -> tuple[CgroupTree, list[int]]:
    """The locks of the state directory and the cgroup root, and the root made ready."""
    statedir.prepare(config.state_dir)
    state_lock = statedir.lock_file(os.path.join(config.state_dir, "lock"))
    stack.callback(os.close, state_lock)
    root = find_root(config.cgroup_root, needs_limits=bool(config.required_controllers))
    tree = CgroupTree(root.path)
    tree.prepare(LIMIT_CONTROLLERS)
    missing = tree.missing(config.required_controllers)
    if missing:
        reasons = "; ".join(f"{why}: {remedy}" for why, remedy in missing)
        raise StartError(f"{reasons}. (required_controllers in the configuration names them.)")
    root_lock = statedir.lock_directory(root.path)
    stack.callback(os.close, root_lock)
    _logger.info("cgroup root %s (%s), controllers: %s", root.path, root.source,
                 ", ".join(sorted(tree.available)) or "none")  # fmt: skip
    return tree, [state_lock, root_lock]


def _monitor_bytes(config: Config, tree: CgroupTree) -> int | None:
    if "memory" not in tree.available:
        return None
    kept = config.logs.keep_bytes + config.logs.segment_bytes
    return limits.monitor_memory_bytes(config.state_dir, kept)


def _raise_descriptor_limit() -> None:
    """A running job costs one descriptor, a follower three, a connection one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _open_socket(config: Config, service: Service, stack: AsyncExitStack) -> None:
    """Listen for clients, once group and mode are set."""
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
