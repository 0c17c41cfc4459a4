"""The tables of the configuration that the queue is about: capacity, queues and quotas.

Keys, bounds and defaults only, as in `runner.config`, which reads them. What they come to on
this host, users and groups by their numbers, is `runner.queues`'.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from runner.config_kinds import (
    Named,
    cpus,
    queue_name,
    size,
    user_name,
    users_and_groups,
    whole_number,
)
from runner.message_queue import HIGHEST_PRIORITY, LOWEST_PRIORITY

MOST_QUEUES: Final = 256
# Not one that is configured: `runner.queues`.
HOOKS_QUEUE: Final = "hooks"
_MOST_USERS: Final = 10_000
# What docs/PROTOCOL.md allows to be reserved.
_CPUS: Final = cpus(0.01, 1024)
_MEMORY: Final = size(4 * 2**20, 2**50)
_DISK: Final = size(4 * 2**10, 2**50)
_PRIORITY: Final = whole_number(LOWEST_PRIORITY, HIGHEST_PRIORITY)


class CapacityConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[capacity]`: what jobs may be promised in all; without a key what the machine has."""

    cpus: Annotated[float | None, _CPUS] = None
    memory: Annotated[int | None, _MEMORY] = None


class QueueConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[queues.NAME]`: a queue. `max_priority` is a member's; an admin's job may have any."""

    priority: Annotated[int, _PRIORITY] = 0
    max_running: Annotated[int | None, whole_number(0)] = None
    allow: Annotated[tuple[str, ...] | None, users_and_groups()] = None
    max_priority: Annotated[int, _PRIORITY] = 0


class QuotaConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[quotas.users.NAME]`: what one user may have; without a key as `[quotas]` says."""

    max_queued: Annotated[int | None, whole_number(0)] = None
    max_running: Annotated[int | None, whole_number(1)] = None
    max_cpus: Annotated[float | None, _CPUS] = None
    max_memory: Annotated[int | None, _MEMORY] = None
    max_log_bytes: Annotated[int | None, _DISK] = None


class QuotasConfig(QuotaConfig, frozen=True, kw_only=True):
    """`[quotas]`: what every user may have, root excepted; without a key no bound."""

    users: Annotated[dict[str, QuotaConfig], Named(user_name(), _MOST_USERS)] = {}


QUEUE_NAMES: Final = Named(queue_name(), MOST_QUEUES)
