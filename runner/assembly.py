"""Puts the parts of the daemon together, on ground that is already its own.

Order matters: the launchers before anything heavy is done, and every job accounted for
before there is a service. Each part is taken apart again by the stack, last made first.
The socket is `runner.listening`'s, the daemon's life `runner.daemon`'s.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isolation.network.loopback import LoopbackNetworks
from isolation.network.private import NetworkSettings, PrivateNetworks
from isolation.user_namespaces import Ranges
from runner import hook_program, launchers
from runner.changes import Changes
from runner.draining import Draining, Pulse
from runner.event_stream import Bell
from runner.execing import Execs
from runner.hook_calls import HookCalls
from runner.jobdirs import JobDirectories
from runner.launching import Launching
from runner.limits import MonitorMemory
from runner.logs.searches import Searches
from runner.logs.tail import LogWatcher
from runner.outside import Outside
from runner.paths import UserPaths
from runner.problems import Problems
from runner.provisions import Provisioning
from runner.queues import Rules
from runner.realm import Realm
from runner.refusal import Refusal
from runner.salvage import open_store
from runner.schedules import Schedules
from runner.server.handlers.submit import accept, check_log_bytes
from runner.server.service import Service
from runner.settling import Settling
from runner.submission import Submissions
from runner.supervisor import Supervisor
from runner.users import account_for, group_id, with_group
from runner.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from isolation.cgroups.tree import CgroupTree
    from runner.config import Config
    from runner.ground import Ground
    from runner.launchers import Launchers
    from runner.messages import Submit
    from runner.policy import Peer
    from runner.rows import Job, NewJob
    from runner.store import Store

_logger: Final = logging.getLogger(__name__)

_POOL_THREADS: Final = 4
# When cycles are looked for. A job leaves none behind, a connection one of 20 objects. By default
# it is after every 700 objects, some two jobs: 0.1 ms, and each tenth time 2 to 4 ms, in which
# nobody is answered.
_COLLECTIONS: Final = (10_000, 20, 20)


class _Parts(NamedTuple):
    """What jobs are kept in and made with."""

    tree: CgroupTree
    store: Store
    settling: Settling
    launchers: Launchers
    directories: JobDirectories
    pool: Executor
    paths: UserPaths
    provisions: Provisioning
    problems: Problems
    rules: Rules
    cap_monitor: Callable[[dict[str, Any], dict[str, Any]], int] | None


async def assemble(config: Config, ground: Ground, pulse: Pulse, stack: AsyncExitStack) -> Service:
    """Everything but the socket: jobs of the last daemon are settled, queued ones start.

    Raises StoreError, CgroupError, OSError.
    """
    parts = _parts(config, ground, stack)
    supervisor = _supervisor(config, parts, pulse)
    stack.push_async_callback(supervisor.close)
    watcher = LogWatcher(asyncio.get_running_loop())
    stack.callback(watcher.close)
    searches = Searches()
    stack.callback(searches.close)
    await _recover(parts, supervisor)
    service = _service(config, parts, supervisor, watcher, searches)
    service.launchers, service.settling = parts.launchers, parts.settling
    service.schedules = _schedules(service)
    stack.push_async_callback(service.schedules.close)
    service.schedules.begin()
    calls = _hook_calls(config, parts, service)
    stack.push_async_callback(calls.close)
    calls.begin()
    return service


def _parts(config: Config, ground: Ground, stack: AsyncExitStack) -> _Parts:
    loop = asyncio.get_running_loop()
    both = launchers.start(loop, ground.locks, with_native=config.native_launcher)
    stack.callback(both.close)
    directories = JobDirectories(config.state_dir)
    stack.callback(directories.close)
    problems = Problems()
    path = os.path.join(config.state_dir, "runnerd.sqlite3")
    store = open_store(path, directories, ground.tree, problems)
    stack.callback(store.close)
    settling = Settling(store, loop)
    stack.callback(settling.close)
    pool = stack.enter_context(ThreadPoolExecutor(_POOL_THREADS, "jobs"))
    paths = UserPaths()
    provisions = _provisioning(config, paths, ground.tree, directories, both, stack)
    return _Parts(
        tree=ground.tree,
        store=store,
        settling=settling,
        launchers=both,
        directories=directories,
        pool=pool,
        paths=paths,
        provisions=provisions,
        problems=problems,
        rules=Rules.of(config),
        cap_monitor=_cap_monitor(config, ground.tree),
    )


def _cap_monitor(
    config: Config, tree: CgroupTree
) -> Callable[[dict[str, Any], dict[str, Any]], int] | None:
    if "memory" not in tree.available:
        return None
    return MonitorMemory.below(config.state_dir).cap


def _provisioning(
    config: Config,
    paths: UserPaths,
    tree: CgroupTree,
    directories: JobDirectories,
    both: Launchers,
    stack: AsyncExitStack,
) -> Provisioning:
    """Networks, ranges of user ids, filters: made here, handed out to each job."""
    loopbacks = LoopbackNetworks()
    stack.callback(loopbacks.close)
    # The native launcher has its own: with it, the first job that needs one of these begins.
    if both.why_no_native is not None:
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
    provisions = Provisioning(loopbacks, networks, ranges, paths, tree, directories, both.takes)
    stack.callback(provisions.close)
    return provisions


def _supervisor(config: Config, parts: _Parts, pulse: Pulse) -> Supervisor:
    return Supervisor(
        config=config,
        rules=parts.rules,
        realm=_realm(parts),
        launching=_launching(parts),
        draining=Draining(config.state_dir),
        pulse=pulse,
    )


def _realm(parts: _Parts) -> Realm:
    provisions = parts.provisions
    outside = Outside(
        find_devices=parts.paths.find_devices,
        set_bandwidth=provisions.set_bandwidth,
        set_scratch=provisions.set_scratch,
        release=provisions.release,
        holds=provisions.holds,
        cap_monitor=parts.cap_monitor,
    )
    return Realm(
        parts.store, parts.directories, parts.tree, Changes(), Work(parts.pool), outside,
        parts.problems, parts.settling,
    )  # fmt: skip


def _launching(parts: _Parts) -> Launching:
    return Launching(
        directories=parts.directories,
        tree=parts.tree,
        provisions=parts.provisions,
        launchers=parts.launchers,
        pool=parts.pool,
        paths=parts.paths,
        cap_monitor=parts.cap_monitor,
    )


async def _recover(parts: _Parts, supervisor: Supervisor) -> None:
    """Find out what became of the jobs of the last daemon, and go on with them."""
    if supervisor.draining:
        _logger.warning("draining: no job is taken or started until `runnerd drain --cancel`")
    for remark in await parts.provisions.recover(parts.store.launched()):
        _logger.warning("%s", remark)
    # Of 100,000 queued jobs there are a million objects, and they stay: looking through them for
    # cycles takes longer than making them, and later would hold up everybody.
    gc.disable()
    try:
        await supervisor.reconcile()
    finally:
        gc.freeze()
        gc.set_threshold(*_COLLECTIONS)
        gc.enable()


def _service(
    config: Config,
    parts: _Parts,
    supervisor: Supervisor,
    watcher: LogWatcher,
    searches: Searches,
) -> Service:
    admin_gid = group_id(config.admin_group)
    if admin_gid is None and config.admin_group is not None:
        _logger.warning("there is no group %s: only root acts for others", config.admin_group)
    bell = Bell()
    parts.store.on_events = bell.ring
    parts.store.is_followed = bell.is_heard
    provisions = parts.provisions
    return Service(
        config,
        supervisor,
        Submissions(config, admin_gid, parts.tree, parts.paths, provisions, parts.rules),
        watcher,
        provisions,
        Execs(parts.store, parts.tree, provisions, parts.launchers),
        admin_gid,
        problems=parts.problems,
        pruning=supervisor.pruning,
        searches=searches,
        bell=bell,
    )


def _schedules(service: Service) -> Schedules:
    """Its runs are submitted like anything that a client submits."""
    supervisor = service.supervisor

    async def submitted(peer: Peer, request: Submit) -> Job:
        job, _ = await accept(service, peer, request)
        return job

    return Schedules(supervisor.store, submitted, partial(_may_submit, supervisor))


def _hook_calls(config: Config, parts: _Parts, service: Service) -> HookCalls:
    """Its calls are checked like anything that a client submits, and have a queue of their own."""
    supervisor = service.supervisor
    submissions = Submissions(
        config, service.admin_gid, parts.tree, parts.paths, parts.provisions,
        parts.rules.for_hooks(),
    )  # fmt: skip

    async def prepared(peer: Peer, request: Submit, is_address: bool) -> NewJob:  # noqa: FBT001
        await check_log_bytes(service, peer.uid)
        if is_address:
            account = account_for(peer, request.user, service.admin_gid)
            account = with_group(account, request.group, peer, service.admin_gid)
            await hook_program.check(parts.paths, account, "url")
        return await submissions.prepare(request, peer, partial(service.find_job, peer))

    may_run = partial(_may_submit, supervisor)
    return HookCalls(parts.store, prepared, supervisor.submit_call, supervisor.wait_ended, may_run)


def _may_submit(supervisor: Supervisor) -> bool:
    """Whether jobs are taken now."""
    try:
        supervisor.refuse_if_ending()
    except Refusal:
        return False
    return not supervisor.draining
