"""What the configuration says of queues, quotas and capacity, on this host.

Names of users and groups become numbers here, once, at the start of the daemon; what is not
configured of the capacity is what the machine has. Nothing of it changes while the daemon
runs: what an admin changes of a queue is kept in the store and told the scheduler
(`runner.queueing`). What a request may ask for is checked in `runner.submission_queue`.
"""

from __future__ import annotations

import copy
import logging
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from runner import policy
from runner.config_queues import HOOKS_QUEUE
from runner.rows import DEFAULT_QUEUE
from runner.scheduling.kinds import Capacity, Needs, Queue, Quota
from runner.users import group_id, uid_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runner.config import Config
    from runner.config_queues import QueueConfig, QuotaConfig
    from runner.policy import Decision, Members, Peer

_logger: Final = logging.getLogger(__name__)

# Where the jobs of hooks wait (`runner.hook_calls`): before all others, and beside them. They take
# no slot, so a host full of endless jobs runs hooks, and no stream of hooks keeps a job waiting.
HOOKS: Final = HOOKS_QUEUE
_HOOKS_PRIORITY: Final = 1_000_000
_GROUP_MARK: Final = "@"
_MILLI: Final = 1000


class UserQuota(NamedTuple):
    """What one user may have; None is no bound.

    Jobs that run are held to `running` by the scheduler. `max_queued` and `max_log_bytes`, of
    jobs that ended and their output, are looked at when a job is submitted.
    """

    running: Quota = Quota()
    max_queued: int | None = None
    max_log_bytes: int | None = None


UNBOUNDED: Final = UserQuota()


class Rules:
    """Queues, who may use them, quotas and capacity. One for the daemon, and it never changes."""

    def __init__(  # noqa: PLR0913 - each table of the configuration
        self,
        capacity: Capacity,
        queues: Iterable[Queue] = (),
        *,
        members: Mapping[str, Members] | None = None,
        max_priorities: Mapping[str, int] | None = None,
        quota: UserQuota = UNBOUNDED,
        quotas: Mapping[int, UserQuota] | None = None,
        admin_gid: int | None = None,
        max_hooks: int | None = None,
    ) -> None:
        """`members` of the queues that are not open to everybody; `quotas` of single users."""
        found = {queue.name: queue for queue in queues}
        self.capacity = capacity
        self.queues: Mapping[str, Queue] = {
            DEFAULT_QUEUE: Queue(DEFAULT_QUEUE),
            **found,
            HOOKS: _hooks(max_hooks),
        }
        self._takes_hooks = False
        self._members = members or {}
        self._max_priorities = max_priorities or {}
        self._quota = quota
        self._quotas = quotas or {}
        self._admin_gid = admin_gid

    @classmethod
    def of(cls, config: Config) -> Self:
        """The rules on this host. Looks up users and groups, which may take a while.

        A name that there is not is warned about, and counts for nobody.
        """
        members = {
            name: _members(name, queue.allow)
            for name, queue in config.queues.items()
            if queue.allow is not None
        }
        return cls(
            _capacity(config),
            [_queue(name, queue) for name, queue in config.queues.items()],
            members=members,
            max_priorities={name: queue.max_priority for name, queue in config.queues.items()},
            quota=_quota(config.quotas),
            quotas=_quotas(config),
            admin_gid=None if config.admin_group is None else _gid(config.admin_group),
            max_hooks=config.hooks.max_running,
        )

    def for_hooks(self) -> Rules:
        """The same for what hooks run: the one thing that may be put into their queue."""
        found = copy.copy(self)
        found._takes_hooks = True  # noqa: SLF001 - it is one of these
        return found

    def quota_of(self, uid: int) -> UserQuota:
        """The quota of who submits as `uid`. Root has none."""
        if uid == policy.ROOT_UID:
            return UNBOUNDED
        return self._quotas.get(uid, self._quota)

    def may_use(self, peer: Peer, name: str) -> Decision:
        """Whether the peer may put jobs into the queue, which need not exist.

        Into that of hooks nobody may, not even root: it goes before everything that is promised
        something, and what is there is counted by `runner.hook_calls`.
        """
        if name == HOOKS:
            why = "only hooks are put into this queue, by runnerd"
            return policy.Decision(allowed=self._takes_hooks, why=why)
        return policy.may_use_queue(peer, name, self._members.get(name), self._admin_gid)

    def max_priority(self, name: str) -> int:
        """The highest priority of a member's job in the queue; admins may have any."""
        return self._max_priorities.get(name, 0)

    def may_have_priority(self, peer: Peer, name: str, priority: int) -> Decision:
        """Whether a job of the peer may have that priority in the queue."""
        most = self.max_priority(name)
        return policy.may_have_priority(peer, name, priority, most, self._admin_gid)


def promised(limits: Mapping[str, Any], capacity: Needs) -> Needs:
    """What a job is promised that asks for nothing: what its limits let it use.

    `limits` as in its spec. At most the capacity, and nothing of what has no limit.
    """
    return Needs(
        min(limits.get("cpu_max_millicpus") or 0, capacity.millicpus),
        min(limits.get("memory_max_bytes") or 0, capacity.memory_bytes),
    )


def time_limit_ms(spec: Mapping[str, Any]) -> int | None:
    """How long a job may run at most, pauses not counted; None when nobody knows.

    Its time limit, and the grace between SIGTERM and SIGKILL that comes after it.
    """
    seconds = spec["limits"].get("timeout_seconds")
    return None if seconds is None else round((seconds + spec["stop_grace_seconds"]) * _MILLI)


def _capacity(config: Config) -> Capacity:
    """As configured, else CPUs that runnerd may use (sched_getaffinity(2)) and all memory."""
    cpus, memory = config.capacity.cpus, config.capacity.memory
    millicpus = _millicpus(len(os.sched_getaffinity(0)) if cpus is None else cpus)
    if memory is None:
        # MemTotal of proc_meminfo(5).
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Capacity(config.jobs.max_running, Needs(millicpus, memory))


def _hooks(most: int | None) -> Queue:
    """The queue of hooks. One user has a quarter of it at most: a hook may take an hour."""
    user_cap = None if most is None else max(most // 4, 1)
    return Queue(HOOKS, _HOOKS_PRIORITY, most, apart=True, user_cap=user_cap)


def _queue(name: str, config: QueueConfig) -> Queue:
    return Queue(name, config.priority, config.max_running)


def _quota(config: QuotaConfig, other: UserQuota = UNBOUNDED) -> UserQuota:
    """The quota that a table says, `other` where it says nothing."""
    cpus = None if config.max_cpus is None else _millicpus(config.max_cpus)
    return UserQuota(
        Quota(
            _first(config.max_running, other.running.max_running),
            _first(cpus, other.running.max_millicpus),
            _first(config.max_memory, other.running.max_memory_bytes),
        ),
        _first(config.max_queued, other.max_queued),
        _first(config.max_log_bytes, other.max_log_bytes),
    )


def _quotas(config: Config) -> dict[int, UserQuota]:
    general = _quota(config.quotas)
    found = {}
    for name, table in config.quotas.users.items():
        uid = uid_named(name)
        if uid is None:
            _logger.warning("quotas.users.%s: there is no such user", name)
        else:
            found[uid] = _quota(table, general)
    return found


def _members(queue: str, names: Iterable[str]) -> Members:
    uids: set[int] = set()
    gids: set[int] = set()
    for name in names:
        is_group = name.startswith(_GROUP_MARK)
        bare = name.removeprefix(_GROUP_MARK)
        number = _gid(bare) if is_group else uid_named(bare)
        if number is None:
            kind = "group" if is_group else "user"
            _logger.warning("queues.%s.allow: there is no %s %s", queue, kind, bare)
        else:
            (gids if is_group else uids).add(number)
    return policy.Members(frozenset(uids), frozenset(gids))


def _gid(name: str) -> int | None:
    """The number of a group; what is a number already needs no group."""
    return int(name) if name.isdecimal() else group_id(name)


def _millicpus(cpus: float) -> int:
    return round(cpus * _MILLI)


def _first(value: int | None, other: int | None) -> int | None:
    return other if value is None else value
